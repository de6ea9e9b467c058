"""iGOS++ (Khorram, Lawson & Li, 2021), on I-GOS (Qi, Khorram & Li, 2020)."""

from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from seewhy.explainers.base import Method
from seewhy.explainers.gradients import attached
from seewhy.explainers.optimized.smooth_masks import blur, coarse_size, scaled, size_of
from seewhy.explainers.options import BatchSize, CoarseCells, PrecisionOption, Seed, SelectorOption
from seewhy.explainers.selectors import Wanted, scores_of, with_similar
from seewhy.maps import upsample
from seewhy.masking.baselines import blend
from seewhy.options import Above, AtLeast
from seewhy.types import Attribution, Images, Scores, Targets

MaskPair = Float[Tensor, "2 gh gw"]
"""The mask of deletion and the mask of insertion, 1 where nothing is done."""


class IGOSPlusPlus(Method, name="igos_pp", family="optimized", paper="khorram2021igospp"):
    """What removes the target's probability when it is blurred and brings it back when it alone is shown. Not negative.

    The map is 1 - m in [0, 1], m the product of a mask for deletion and one for insertion. Descent follows integrated
    gradients, along the line from the fully blurred (or whole) image to the masked one, and a line search finds each step.

    Settings are those of the released code. This differs where the code is not sound:

    - Edges of the image count alike in both directions, as the mean square over channels. (The code squares a mean in one
      direction and averages exponentials in the other.)
    - The line search judges the very loss that the gradient belongs to, under the same noise. (In the code it sees the
      scores at twice their weight, with new noise each time.) It asks for a decrease in proportion to the way that the
      masks, which end at 0 and 1, really go.
    - The L1 norm has its one-sided slope where nothing is changed yet. (The code: 0.)
    - The product of the masks is made on their grid, and the mask that the network sees is the map.
    - Corners are not aligned when the mask is enlarged.

    Args:
        iterations: steps of descent.
        path_steps: points of the integrated gradient.
        sparsity: weight of the mean of 1 - m.
        variation: weight of the total variation, half of it on the grid, half of it in pixels and weak at the image's edges.
        edge: squared difference of neighboring pixels, in units of the network's normalized input, at which an edge lets
            the mask change at 1/e of the cost.
        noise: standard deviation of the noise on the masked images, in units of the network's normalized input.
        longest: first step that the line search tries. Each next one is a fifth of the last.
        max_blur: standard deviation of the blur that removes, in pixels of an image of 224 pixels. It scales with the
            shorter side, and so does ``blur_reach``.
        blur_reach: reach of the kernel of that blur, in pixels of an image of 224 pixels.
    """

    selector: SelectorOption = "probability"
    cells: CoarseCells = 28
    iterations: Annotated[int, AtLeast(1)] = 20
    path_steps: Annotated[int, AtLeast(1)] = 15
    sparsity: Annotated[float, AtLeast(0)] = 1.0
    variation: Annotated[float, AtLeast(0)] = 20.0
    edge: Annotated[float, Above(0)] = 0.01
    noise: Annotated[float, AtLeast(0)] = 0.2
    longest: Annotated[float, AtLeast(0)] = 1000.0
    max_blur: Annotated[float, AtLeast(0)] = 50.0
    blur_reach: Annotated[float, AtLeast(0)] = 25.0
    seed: Seed = 0
    precision: PrecisionOption = "fp32"
    batch_size: BatchSize = 32

    def explain(self, images: Images, targets: Targets) -> Attribution:
        self.classifier.check(images, targets)
        images, size = images.detach(), size_of(images)
        removed = blur(images, scaled(self.max_blur, size), round(scaled(self.blur_reach, size)))
        wanted = with_similar(self.classifier, images, targets[:, None], self.selector, self.batch_size)
        alone = zip(images.split(1), removed.split(1), wanted.split(1), strict=True)
        with self.classifier.running(self.precision):
            return torch.cat([_Search(self, *one).map() for one in alone])


@dataclass(frozen=True, eq=False)
class _Search:
    """The descent for one image: its four paths fill a batch, and no other image has a say in its steps."""

    options: IGOSPlusPlus
    image: Images
    removed: Images
    wanted: Wanted

    def map(self) -> Attribution:
        options, (h, w) = self.options, size_of(self.image)
        generator = torch.Generator().manual_seed(options.seed)
        spread = options.noise * self.image.new_tensor(options.classifier.std)[:, None, None]
        shape = (options.path_steps, *self.image.shape[1:])
        dtype = torch.promote_types(self.image.dtype, torch.float32)
        m = self.image.new_ones(2, *coarse_size((h, w), options.cells), dtype=dtype)
        for _ in range(options.iterations):
            noise = spread * torch.randn(shape, generator=generator, dtype=torch.float32).to(self.image)
            m = self.step(m, noise)
        return (1 - upsample(m.prod(0, keepdim=True), (h, w))).to(self.image.dtype)

    def step(self, m: MaskPair, noise: Tensor) -> MaskPair:
        """Down the integrated gradient, by the first length that lowers the loss enough (Armijo's rule)."""
        (loss, gradient), length = self.slope(m, noise), self.options.longest
        while True:
            there = (m - length * gradient).clamp(0, 1)
            if length < 1e-5 or self.reaches(there, noise, loss - 1e-4 * (gradient * (m - there)).sum()):
                return there
            length *= 0.2

    def reaches(self, m: MaskPair, noise: Tensor, enough: Tensor) -> bool:
        """Is the loss at most ``enough``? Probabilities add -1 at best: most long steps need no pass to be refused."""
        hopeless = self.options.selector == "probability" and bool(self.simplicity(m) - 1 > enough)
        return not hopeless and bool(self.loss(m, noise) <= enough)

    def loss(self, m: MaskPair, noise: Tensor) -> Tensor:
        kept, weights = self.paths(m)
        scores = torch.cat([self.scores(kept[r], noise[r % len(noise)]) for r in self.rows(kept)])
        return (weights * scores).sum() + self.simplicity(m)

    def slope(self, m: MaskPair, noise: Tensor) -> tuple[Tensor, MaskPair]:
        """The loss, and its gradient: through the network for some points of the paths at a time, then through the paths."""
        with torch.enable_grad():
            m = m.detach().requires_grad_()
            kept, weights = self.paths(m)
            losses, slopes = [self.simplicity(m)], list[Tensor]()
            for r in self.rows(kept):
                part = kept[r].detach().requires_grad_()
                losses.append((weights[r] * attached(self.scores(part, noise[r % len(noise)]))).sum())
                slopes += torch.autograd.grad(losses[-1], part)
            (gradient,) = torch.autograd.grad((kept * torch.cat(slopes)).sum() + losses[0], m)
        return torch.stack(losses).detach().sum(), gradient

    def paths(self, m: MaskPair) -> tuple[Attribution, Scores]:
        """What is kept of the image at each point of the four paths, and the weight of the score there.

        Deletion and insertion by their own masks, and both by the product; insertion is to raise the score.
        """
        alone, both = upsample(m, size_of(self.image)), upsample(m.prod(0, keepdim=True), size_of(self.image))
        s = self.options.path_steps
        along = torch.arange(1, s + 1).to(m)[:, None, None] / s
        deletion, insertion = ([along * alone[i], along * both[0]] for i in (0, 1))
        kept = torch.cat([*deletion, *(1 - path for path in insertion)])
        return kept, torch.tensor([0.5 / s] * (2 * s) + [-0.5 / s] * (2 * s)).to(m)

    def rows(self, kept: Attribution) -> tuple[Tensor, ...]:
        return torch.arange(len(kept), device=kept.device).split(self.options.batch_size)

    def scores(self, kept: Attribution, noise: Tensor) -> Scores:
        classifier, n = self.options.classifier, len(kept)
        seen = blend(self.image.expand(n, -1, -1, -1), kept.to(noise.dtype), self.removed.expand(n, -1, -1, -1)) + noise
        return scores_of(classifier, seen, self.wanted.expand(n, -1, -1), self.options.selector)[:, 0]

    def simplicity(self, m: MaskPair) -> Tensor:
        """L1 of what is changed, and the total variation, on the grid and, bilateral, in pixels."""
        both = m.prod(0, keepdim=True)
        fine, normal = upsample(both, size_of(self.image)), self.options.classifier.normalize(self.image)
        variation = m.new_zeros(())
        for d in (1, 2):
            if both.shape[d] == 1:  # one cell has no neighbor, and the mean of nothing is NaN
                continue
            flat = (-normal.diff(dim=d + 1).square().mean(1) / self.options.edge).exp()
            variation = variation + both.diff(dim=d).square().mean() + (flat * fine.diff(dim=d).square()).mean()
        return self.options.sparsity * (1 - both).mean() + self.options.variation * 0.5 * variation
