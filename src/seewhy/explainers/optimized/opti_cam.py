"""Opti-CAM (Zhang et al., 2024), equations 8 to 11 and 16 to 19, A1 and A2."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import interpolate

from seewhy.classifier.classifier import Classifier
from seewhy.classifier.precision import Precision
from seewhy.explainers.base import EXPLAINERS, Family
from seewhy.explainers.classes import column, for_each
from seewhy.explainers.gradients import attached
from seewhy.explainers.selectors import Selector, select
from seewhy.maps import min_max, upsample
from seewhy.masking.baselines import Baseline, baseline_images, blend
from seewhy.types import Attribution, ClassAttribution, Classes, CoarseMap, FeatureMap, Images, Scores, Targets

Objective = Literal["mask", "diff", "io_mask", "io_diff"]
Normalization = Literal["range", "maximum", "sigmoid"]


@EXPLAINERS.register("opti_cam")
@dataclass(frozen=True)
class OptiCAM:
    """The convex combination of feature maps that, as a mask, makes the target's logit highest, found by Adam. Not negative.

    The map is the mask in [0, 1] after the last step, so that nothing has to be rescaled to use it as one.

    Where the paper is silent or its code differs: masks act on pixels, before the network's own normalization, as in the
    released code (``baseline="mean_color"`` masks the normalized image). Each image stops for itself, as the text says; the
    code stops a batch when its summed loss rises. A constant map is a mask of zeros, where the code divides by zero.

    A batch gives what single images give, to 1e-11 in float64. In float32 the passes of another batch round differently, and
    a hundred steps of Adam can magnify that to a tenth of the mask at some pixels; the scores hardly differ.

    Args:
        classifier: what is explained.
        layer: whose feature maps are combined; several share one softmax, on the finest of their grids. None is the
            classifier's feature layer.
        objective: "mask" raises the selected score of the masked image (eq. 10); "diff" keeps it where the image has it
            (eq. 19); "io_mask" and "io_diff" also lower it, or move it away, on the complement (eq. A1, A2).
        normalization: of the map to a mask: by its "range" (eq. 16), its "maximum" (eq. 17) or "sigmoid" (eq. 18).
        selector: the score: the target's "logit", "probability", "log_probability", "log_odds", or its "contrast" to the
            highest other.
        negative: what becomes of negative features: "keep" them, as the paper does for transformers, or "cut" them.
        start: of the variable u: "uniform" weights (u = 0, a constant as in the code), or "random" numbers (a normal
            distribution, by ``seed``).
        learning_rate: Adam's.
        steps: at most so many.
        tolerance: an image whose loss changes by less is done. Set it to 0 for "bf16" and a network whose logits come from
            no linear layer or convolution: they are too coarse then to see a step in.
        baseline: what removed pixels become (see ``masking.baseline_images``).
        seed: of the start.
        precision: "bf16" runs the network in bfloat16; the variable and the map stay in the images' type.
        batch_size: images, or classes of an image, that are optimized at a time.
    """

    family: ClassVar[Family] = "optimized"
    class_specific: ClassVar[bool] = True
    paper: ClassVar[str] = "zhang2024opticam"

    classifier: Classifier
    layer: str | tuple[str, ...] | None = None
    objective: Objective = "mask"
    normalization: Normalization = "range"
    selector: Selector = "logit"
    negative: Literal["keep", "cut"] = "keep"
    start: Literal["uniform", "random"] = "uniform"
    learning_rate: float = 0.1
    steps: int = 100
    tolerance: float = 1e-10
    baseline: Baseline | float | Tensor = "black"
    seed: int = 0
    precision: Precision = "fp32"
    batch_size: int = 32

    def explain(self, images: Images, targets: Targets) -> Attribution:
        return self._maps(images, column(targets))[:, 0]

    def explain_classes(self, images: Images, classes: Classes) -> ClassAttribution:
        return self._maps(images, for_each(images, classes))

    def _maps(self, images: Images, classes: Tensor) -> ClassAttribution:
        """Images and classes in pairs; what depends on the image alone, its features, is computed once."""
        self.classifier.check_classes(images, classes)
        images, k = images.detach(), classes.shape[1]
        removed = baseline_images(self.baseline, self.classifier, images)
        together = max(1, self.batch_size // max(k, 1))
        parts = zip(images.split(together), removed.split(together), classes.split(together), strict=True)
        with self.classifier.running(self.precision, gradients=True):
            masks = [mask for part in parts for mask in self._masks(*part)]
        return torch.cat(masks).to(images.dtype).unflatten(0, (len(images), k))

    def _masks(self, images: Images, removed: Images, classes: Tensor) -> Iterator[Attribution]:
        """Of the pairs of some images, ``batch_size`` pairs at a time."""
        k = classes.shape[1]
        with torch.no_grad():
            features = self._features(images)
        for i in torch.arange(len(images) * k, device=images.device).split(self.batch_size):
            yield self._optimized(images[i // k], removed[i // k], features[i // k], classes.flatten()[i])

    def _features(self, images: Images) -> FeatureMap:
        """All feature maps of the layers, on the finest of their grids."""
        layers = (self.layer,) if isinstance(self.layer, str | None) else self.layer
        names = [self.classifier.live_layer(name) for name in layers]
        with self.classifier.capture(*names) as outputs:
            self.classifier.logits(images)
        dtype = torch.promote_types(images.dtype, torch.float32)  # Adam's own numbers vanish in float16
        grids = [self.classifier.as_grid(outputs[name], images).to(dtype) for name in names]
        size = max((grid.shape[-2:] for grid in grids), key=lambda s: s[0] * s[1])
        fine = [grid if grid.shape[-2:] == size else interpolate(grid, size, mode="bilinear") for grid in grids]
        features = torch.cat(fine, 1)
        return features.relu() if self.negative == "cut" else features

    def _optimized(self, images: Images, removed: Images, features: FeatureMap, targets: Targets) -> Attribution:
        """The masks n(up(S)) after the last step, for one batch."""
        size = (images.shape[-2], images.shape[-1])
        u = self._start(features).requires_grad_()
        adam = torch.optim.Adam([u], lr=self.learning_rate)
        aim = self._aim(images, targets)
        active, before = torch.arange(len(images), device=images.device), torch.full_like(aim, torch.inf)
        for _ in range(self.steps):
            mask = normalized(upsample(combined(features[active], u[active]), size), self.normalization)
            loss = self._loss(images[active], removed[active], mask, targets[active], aim[active])
            (u.grad,) = torch.autograd.grad(attached(loss).sum(), u)
            going = self._moves(loss.detach() - before)
            kept, active, before = u.detach().clone(), active[going], loss.detach()[going]
            if not len(active):
                break
            adam.step()
            still = torch.ones(len(u), dtype=torch.bool, device=u.device)
            still[active] = False
            u.data[still] = kept[still]
        return normalized(upsample(combined(features, u.detach()), size), self.normalization)

    def _moves(self, change: Scores) -> Bool[Tensor, "n"]:
        """Which images go on, each for itself; all where scores are too coarse to show what a step does."""
        return (change.abs() >= self.tolerance) | (torch.finfo(change.dtype).bits < 32)

    def _start(self, features: FeatureMap) -> Float[Tensor, "n d"]:
        if self.start == "uniform":
            return features.new_zeros(features.shape[:2])
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randn(features.shape[1], generator=generator, dtype=torch.float32).to(features).repeat(len(features), 1)

    def _aim(self, images: Images, targets: Targets) -> Scores:
        """The score of the whole image, for the objectives that want to keep it."""
        if self.objective in ("mask", "io_mask"):
            return images.new_zeros(len(images))
        with torch.no_grad():
            return select(self.classifier, self.classifier.logits(images), targets, self.selector)

    def _loss(self, images: Images, removed: Images, mask: Attribution, targets: Targets, aim: Scores) -> Scores:
        """Minus the objective F of each image."""

        def score(mask: Attribution) -> Scores:
            masked = self.classifier.fast_layout(blend(images, mask.to(images.dtype), removed))
            return select(self.classifier, self.classifier.logits(masked), targets, self.selector)

        match self.objective:
            case "mask":
                return -score(mask)  # eq. 10
            case "diff":
                return (aim - score(mask)).abs()  # eq. 19
            case "io_mask":
                return score(1 - mask) - score(mask)  # eq. A1
            case "io_diff":
                return (aim - score(mask)).abs() - (aim - score(1 - mask)).abs()  # eq. A2


def combined(features: FeatureMap, u: Float[Tensor, "n d"]) -> CoarseMap:
    """S(x; u) on the layer's grid, eq. 8 with h the identity."""
    with torch.autocast(u.device.type, enabled=False):  # bfloat16 could not tell weights apart that differ by little
        return torch.einsum("nd,ndhw->nhw", u.softmax(1), features)


def normalized(maps: Attribution, normalization: Normalization) -> Attribution:
    """n(up(S)), a mask in [0, 1]."""
    match normalization:
        case "range":
            return min_max(maps)  # eq. 16
        case "maximum":
            highest = maps.amax((1, 2), keepdim=True)
            return torch.where(highest > 0, maps / torch.where(highest > 0, highest, 1), 0).clamp_min(0)  # eq. 17
        case "sigmoid":
            return maps.sigmoid()  # eq. 18
