"""Extremal perturbations with smooth masks (Fong, Patrick & Vedaldi, 2019)."""

from math import ceil, sqrt
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from seewhy.errors import SeewhyError
from seewhy.explainers.base import Method
from seewhy.explainers.gradients import attached
from seewhy.explainers.optimized.smooth_masks import Size, blend_levels, pyramid, scaled, size_of, smooth_maximum
from seewhy.explainers.options import BatchSize, Flip, LearningRate, PrecisionOption, SelectorOption, Steps
from seewhy.explainers.selectors import Wanted, select, with_similar
from seewhy.options import Above, AtLeast
from seewhy.types import Attribution, ClassAttribution, CoarseMap, Images, Scores, Targets


class ExtremalPerturbation(Method, name="extremal_perturbation", family="optimized", paper="fong2019extremal"):
    """The smooth region of a given area that keeps the target's score highest while the rest is blurred. Not negative.

    The map is a mask in [0, 1] whose mean is the area. Lengths are for images of 224 pixels and scale with the shorter
    side. Settings are those of the released code (TorchRay), which this differs from in five points:

    - The area is measured within the image, as the text says. The code counts a margin around it.
    - Points stand in the middle of their cells and go on beyond the border. So the border has no advantage, and a mirrored
      image has the mirrored mask (moved by half a pixel where the cells stand an odd number of pixels over the border).
    - Blurs mirror the image at its border. The code lets black in.
    - Pixels that tie at the border of the area share it. In the code rounding decides.
    - The mask returned is that after the last step, its bumps a little narrower or wider, and to a power where that is not
      enough, so that it has the area that was asked for. (The constraint leaves a mask with soft edges too large: by a
      tenth to a fifth of an area of 5 or 10 % of an image, and by much more in fewer steps, as its weight grows from step
      to step. No step of the descent could move an edge to the very place.)

    Rounding is magnified over hundreds of steps: in float32 an image may end at another mask in a batch than alone, as one
    of eight did on built-in pictures, or with another ``batch_size``.

    Args:
        areas: parts of the image that are kept, between 0 and 1 and rising; one mask each.
        combine: how the masks of several areas become one map: their "mean", or the "first_sufficient". That is the mask
            of the smallest area whose image has a logit not below the whole image's, or the last if none is.
        selector: the reward: the target's "logit", "probability", "log_probability", "log_odds", its "contrast" to the
            highest other logit (the paper's contrastive reward), or "finer".
        game: "preserve" blurs where the mask is 0 and raises the reward. "delete" blurs where it is 1 and lowers it.
        steps: steps of gradient descent. In some tens of steps a mask hardly forms: it has its area, as a lattice of dots.
        learning_rate: learning rate of gradient descent, whose momentum and dampening are 0.9.
        area_weight: weight of the area's constraint at the first step. It grows by 0.35 % a step.
        step: pixels between the points of the mask.
        sigma: radius of a point's bump, in pixels.
        max_blur: standard deviation of the strongest blur, in pixels.
        levels: number of blurs, from none to the strongest.
        batch_size: masks that are optimized at a time.
    """

    areas: tuple[float, ...] = (0.1,)
    combine: Literal["mean", "first_sufficient"] = "mean"
    selector: SelectorOption = "logit"
    game: Literal["preserve", "delete"] = "preserve"
    flip: Flip = True
    steps: Steps = 800
    learning_rate: LearningRate = 0.01
    area_weight: Annotated[float, AtLeast(0)] = 300.0
    step: Annotated[float, Above(0)] = 7.0
    sigma: Annotated[float, Above(0)] = 21.0
    max_blur: Annotated[float, AtLeast(0)] = 20.0
    levels: Annotated[int, AtLeast(2)] = 8
    precision: PrecisionOption = "fp32"
    batch_size: BatchSize = 32

    def __post_init__(self) -> None:
        if list(self.areas) != sorted(set(self.areas)) or not all(0 < a < 1 for a in self.areas):
            raise SeewhyError(
                f"areas are parts of the image between 0 and 1, rising; not {list(self.areas)}: give [0.05, 0.1]"
            )

    def explain(self, images: Images, targets: Targets) -> Attribution:
        masks = self.masks(images, targets)
        if self.combine == "mean" or len(self.areas) == 1:
            return masks.mean(1)
        first = self._first_sufficient(images.detach(), masks, targets)
        return masks[torch.arange(len(masks), device=masks.device), first]

    def masks(self, images: Images, targets: Targets) -> Float[Tensor, "n areas h w"]:
        """One mask for each image and area."""
        self.classifier.check(images, targets)
        images, k = images.detach(), len(self.areas)
        areas = torch.tensor(self.areas, dtype=torch.promote_types(images.dtype, torch.float32), device=images.device)
        rows = torch.arange(len(images) * k, device=images.device).split(self.batch_size)
        wanted = with_similar(self.classifier, images, targets[:, None], self.selector, self.batch_size)
        with self.classifier.running(self.precision, gradients=True):
            masks = [self._optimized(images[i // k], wanted[i // k], areas[i % k]) for i in rows]
        return torch.cat(masks).to(images.dtype).unflatten(0, (len(images), k))

    def _optimized(self, images: Images, wanted: Wanted, areas: Scores) -> Attribution:
        """The masks after the last step, for one batch of images, each with one area."""
        points, size = self._points(images, wanted, areas), size_of(images)
        fitted = [self._fitted(*one, size) for one in zip(points.split(1), areas.tolist(), strict=True)]
        return of_area(torch.cat(fitted), areas)

    def _points(self, images: Images, wanted: Wanted, areas: Scores) -> CoarseMap:
        """The points of the masks after the last step."""
        size = size_of(images)
        blurs = pyramid(images, scaled(self.max_blur, size), self.levels)
        step = self._step(size)
        points = areas.new_ones(len(images), ceil(size[0] / step), ceil(size[1] / step)).requires_grad_()
        descent = torch.optim.SGD([points], lr=self.learning_rate, momentum=0.9, dampening=0.9)
        for t in range(self.steps):
            masks = self._smooth(points, size)
            weight = self.area_weight * 1.0035**t
            energy = self._reward(blurs, masks, wanted, self.flip and t % 2 == 0) - weight * area_error(masks, areas)
            (points.grad,) = torch.autograd.grad(-energy.sum(), points)
            descent.step()
            points.data.clamp_(0, 1)
        return points.detach()

    def _smooth(self, points: CoarseMap, size: Size, wider: float = 1.0) -> Attribution:
        """The paper's smooth max-convolution of the points, at temperature 1/20."""
        return smooth_maximum(points, size, self._step(size), wider * scaled(self.sigma, size), 20.0)

    def _fitted(self, points: CoarseMap, area: float, size: Size) -> Attribution:
        """One mask, whose bumps have the radius, from 0.7 of sigma to twice it, that gives it its area, or nearly does.

        Smaller bumps would be a mask of dots, which has its area and shows nothing.
        """
        low, high = 0.7, 2.0
        for _ in range(12):
            middle = sqrt(low * high)
            low, high = (low, middle) if self._smooth(points, size, middle).mean() > area else (middle, high)
        return self._smooth(points, size, sqrt(low * high))

    def _step(self, size: Size) -> int:
        return max(1, round(scaled(self.step, size)))

    def _reward(self, blurs: Tensor, masks: Attribution, wanted: Wanted, mirrored: bool) -> Scores:
        """Phi(m * x), or its negative if the mask is deleted."""
        seen = blend_levels(blurs, (masks if self.game == "preserve" else 1 - masks).to(blurs.dtype))
        logits = self.classifier.logits(self.classifier.fast_layout(seen.flip(3) if mirrored else seen))
        score = attached(select(self.classifier, logits, wanted, self.selector))[:, 0]
        return score if self.game == "preserve" else -score

    def _first_sufficient(self, images: Images, masks: ClassAttribution, targets: Targets) -> Targets:
        """Index of the first area whose image's logit is not below the image's, or of the last."""
        enough = []
        with self.classifier.running(self.precision):
            for some, seen, wanted in zip(
                images.split(self.batch_size), masks.split(self.batch_size), targets.split(self.batch_size), strict=True
            ):
                blurs = pyramid(some, scaled(self.max_blur, size_of(some)), self.levels)
                aim = self.classifier.scores(self.classifier.fast_layout(some), wanted)
                kept = [self.classifier.fast_layout(blend_levels(blurs, m)) for m in seen.unbind(1)]
                enough.append(torch.stack([self.classifier.scores(one, wanted) >= aim for one in kept], 1))
        found = torch.cat(enough)
        found[:, -1] = True
        return found.int().argmax(1)


def area_error(masks: Attribution, areas: Scores) -> Scores:
    """|| vecsort(m) - r_a ||^2, as a mean over the pixels; r_a has zeros, then ones in the part a.

    Values that tie at the place where ones begin have the mean of their zeros and ones, whichever came first.
    """
    values = masks.flatten(1)
    n = values.shape[1]
    zeros = [min(max(round((1 - area) * n), 1), n - 1) for area in areas.tolist()]
    # of the sorted values only the one where ones begin is needed, which is found in a tenth of the time of sorting
    border = torch.stack([v.kthvalue(k + 1).values for v, k in zip(values.detach(), zeros, strict=True)])[:, None]
    tied = (values.detach() - border).abs() < 1e-5
    above = (values.detach() > border) & ~tied
    ones = n - torch.tensor(zeros, device=masks.device)[:, None]
    shared = (ones - above.sum(1, keepdim=True)).to(values) / tied.sum(1, keepdim=True)
    return (values - torch.where(tied, shared, above.to(values))).square().mean(1)


def of_area(masks: Attribution, areas: Scores) -> Attribution:
    """The masks to the power, found by bisection, that gives each the mean that was asked for.

    (max_v K(u - v) p(v))^gamma = max_v K(u - v)^gamma p(v)^gamma: so the mask is still one of soft bumps, whose flanks are
    steeper and whose soft points are lower where gamma is above 1. What was 0 or 1 remains, and so does the order of pixels.
    """
    logs = masks.log()
    low, high = (areas.new_full((len(areas), 1, 1), power) for power in (-10.0, 10.0))
    for _ in range(30):
        middle = (low + high) / 2
        large = (middle.exp2() * logs).exp().mean((1, 2), keepdim=True) > areas[:, None, None]
        low, high = torch.where(large, middle, low), torch.where(large, high, middle)
    return (high.exp2() * logs).exp()
