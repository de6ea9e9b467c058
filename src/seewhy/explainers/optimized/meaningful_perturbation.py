"""Meaningful perturbation (Fong & Vedaldi, 2017), equations 3 and 4."""

from math import ceil
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, pad

from seewhy.explainers.base import Method
from seewhy.explainers.gradients import attached
from seewhy.explainers.optimized.smooth_masks import Size, blur, coarse_size, scaled, size_of
from seewhy.explainers.options import BatchSize, CoarseCells, LearningRate, PrecisionOption, Seed, SelectorOption, Steps
from seewhy.explainers.selectors import Wanted, select, with_similar
from seewhy.maps import upsample
from seewhy.masking.baselines import blend, masked_logits
from seewhy.options import AtLeast
from seewhy.types import Attribution, CoarseMap, Images, Scores, Targets


class MeaningfulPerturbation(Method, name="meaningful_perturbation", family="optimized", paper="fong2017interpretable"):
    """What must be blurred so that the target's probability falls, and as little as possible, found by Adam. Not negative.

    The map is in [0, 1]: 1 - m, what is deleted, or m, what is preserved. Settings are the authors' (their code sums over
    the cells of the mask, which another implementation's weights of 0.01 and 0.2 do not). Lengths are for images of 224
    pixels and scale with the shorter side. The total variation is that of eq. 4, each difference for itself; the code takes
    the length of both. Shifts move the image both ways, so that the map is not displaced, and mirror it at the border;
    the code crops a larger picture. Each image is optimized by itself: passes of different batches round differently, and
    the descent, which has several places to go to, can magnify that until the masks are no longer alike.

    Args:
        game: "delete" (eq. 3, what destroys the score) or "preserve" (what alone suffices for it).
        start: start of the mask: the smallest blurred "circle" in the middle that does 99 % of what all pixels do, as in
            the paper, or "ones", the whole image kept.
        sparsity: lambda 1, weight of what is deleted (or preserved), summed over the cells.
        variation: lambda 2, weight of the total variation, summed over the cells.
        beta: power of the total variation, at least 1, as an edge has no slope below; the authors' is 3.
        max_blur: standard deviation of the blur that removes, in pixels.
        mask_blur: standard deviation of the blur of the enlarged mask, in pixels.
        jitter: pixels by which the image moves under the mask, from one end to the other.
        batch_size: disks of the start that are tried at a time.
    """

    game: Literal["delete", "preserve"] = "delete"
    selector: SelectorOption = "probability"
    start: Literal["circle", "ones"] = "circle"
    cells: CoarseCells = 28
    steps: Steps = 300
    learning_rate: LearningRate = 0.1
    sparsity: Annotated[float, AtLeast(0)] = 1e-4
    variation: Annotated[float, AtLeast(0)] = 1e-2
    beta: Annotated[float, AtLeast(1)] = 3.0
    max_blur: Annotated[float, AtLeast(0)] = 10.0
    mask_blur: Annotated[float, AtLeast(0)] = 5.0
    jitter: Annotated[float, AtLeast(0)] = 4.0
    seed: Seed = 0
    precision: PrecisionOption = "fp32"
    batch_size: BatchSize = 32

    def explain(self, images: Images, targets: Targets) -> Attribution:
        self.classifier.check(images, targets)
        wanted = with_similar(self.classifier, images.detach(), targets[:, None], self.selector, self.batch_size)
        with self.classifier.running(self.precision, gradients=True):
            alone = zip(images.detach().split(1), wanted.split(1), strict=True)
            kept = torch.cat([self._optimized(*one) for one in alone]).to(images.dtype)
        return (1 - kept if self.game == "delete" else kept).clamp(0, 1)  # rounding

    def _optimized(self, images: Images, wanted: Wanted) -> Attribution:
        """The mask m after the last step, for one image; 1 keeps a pixel."""
        (h, w), removed = size_of(images), blur(images, scaled(self.max_blur, size_of(images)))
        reach = min(round(scaled(self.jitter, (h, w)) / 2), h - 1, w - 1)  # mirroring allows no more
        wide, wide_removed = (pad(x, [reach] * 4, mode="reflect") if reach else x for x in (images, removed))
        start = self._start(images, removed, wanted)
        m = start.to(torch.promote_types(start.dtype, torch.float32)).requires_grad_()
        adam = torch.optim.Adam([m], lr=self.learning_rate)
        generator = torch.Generator().manual_seed(self.seed)
        for y, x in torch.randint(0, 2 * reach + 1, (self.steps, 2), generator=generator).tolist():
            moved, gone = (a[..., y : y + h, x : x + w] for a in (wide, wide_removed))
            score = self._score(moved, gone, self._fine(m, (h, w)), wanted)
            (m.grad,) = torch.autograd.grad((score + self._simplicity(m)).sum(), m)  # eq. 4
            adam.step()
            m.data.clamp_(0, 1)
        return self._fine(m.detach(), (h, w))

    def _fine(self, m: CoarseMap, size: Size) -> Attribution:
        return blur(upsample(m, size)[:, None], scaled(self.mask_blur, size))[:, 0]

    def _score(self, images: Images, removed: Images, masks: Attribution, wanted: Wanted) -> Scores:
        """What the mask minimizes: f_c of the masked image, or its negative if the mask preserves."""
        masked = self.classifier.fast_layout(blend(images, masks.to(images.dtype), removed))
        score = attached(select(self.classifier, self.classifier.logits(masked), wanted, self.selector))[:, 0]
        return score if self.game == "delete" else -score

    def _simplicity(self, m: CoarseMap) -> Scores:
        """lambda_1 || 1 - m ||_1 + lambda_2 sum | grad m |^beta, eq. 4."""
        area = 1 - m if self.game == "delete" else m
        down, right = (m.diff(dim=d).abs().pow(self.beta).sum((1, 2)) for d in (1, 2))
        return self.sparsity * area.sum((1, 2)) + self.variation * (down + right)

    @torch.no_grad()
    def _start(self, images: Images, removed: Images, wanted: Wanted) -> CoarseMap:
        coarse = coarse_size(size_of(images), self.cells)
        if self.start == "ones":
            return images.new_ones(1, *coarse)
        disks = blurred_disks(images)
        masks = 1 - disks if self.game == "delete" else disks
        logits = masked_logits(self.classifier, images, masks[None], removed, self.batch_size)[0]
        scores = select(self.classifier, logits, wanted.expand(len(masks), -1, -1), self.selector)[:, 0]
        left = (scores - scores[-1]) * (1 if self.game == "delete" else -1)
        done = left <= 0.01 * left[0]
        return adaptive_avg_pool2d(masks, coarse)[done.int().argmax()][None]


def blurred_disks(images: Images) -> Float[Tensor, "radii h w"]:
    """Disks in the middle of the image, from none to all of it, in steps of 5 pixels of 224, blurred by 10."""
    h, w = size_of(images)
    y, x = (torch.arange(s, device=images.device).to(images) - (s - 1) / 2 for s in (h, w))
    distance = (y[:, None] ** 2 + x**2).sqrt()
    wide = scaled(5.0, (h, w))
    radii = torch.arange(ceil(float(distance.max()) / wide) + 2, device=images.device) * wide
    disks = (distance < radii[:, None, None]).to(images)
    return blur(disks[:, None], scaled(10.0, (h, w)))[:, 0]
