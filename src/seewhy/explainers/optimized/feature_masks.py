"""Masks made of feature maps: what Opti-CAM and its fast form share (Zhang et al., 2024)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import interpolate

from seewhy.classifier.classifier import Classifier
from seewhy.classifier.precision import Precision
from seewhy.explainers.selectors import Selector, select
from seewhy.maps import min_max
from seewhy.masking.baselines import blend
from seewhy.options import AtLeast, Doc
from seewhy.types import Attribution, ClassAttribution, CoarseMap, FeatureMap, Images, Scores, Targets

LayersOption = Annotated[
    str | tuple[str, ...] | None,
    Doc(
        "Layer whose feature maps are combined. Several layers share one softmax, on the finest of their grids. None is the "
        "classifier's feature layer."
    ),
]
Objective = Annotated[
    Literal["mask", "diff", "io_mask", "io_diff"],
    Doc(
        '"mask" raises the selected score of the masked image (eq. 10). "diff" keeps it where the image has it (eq. 19). '
        '"io_mask" and "io_diff" also lower it, or move it away, on the complement (eq. A1, A2).'
    ),
]
Negative = Annotated[
    Literal["keep", "cut"], Doc('"keep" negative features, as the paper does for transformers, or "cut" them.')
]
Start = Annotated[
    Literal["uniform", "random"],
    Doc(
        'Start of the variable u: "uniform" weights (u = 0, a constant as in the code), or "random" numbers (a normal '
        "distribution, by ``seed``)."
    ),
]
Tolerance = Annotated[
    float,
    AtLeast(0),
    Doc(
        'An image whose loss changes by less is done. Set it to 0 for "bf16" and a network whose logits come from no linear '
        "layer or convolution: they are too coarse then to see a step in."
    ),
]
MaskNormalization = Literal["range", "maximum", "sigmoid"]
Optimize = Callable[[Images, Images, FeatureMap, Targets], Attribution]
"""Masks of some images, from the images, the removed images, their features and their targets."""


@dataclass(frozen=True)
class MaskLoss:
    """The loss of a mask: minus the objective F of the paper."""

    classifier: Classifier
    objective: Objective
    selector: Selector

    def aim(self, images: Images, targets: Targets) -> Scores:
        """The score of the whole image, for the objectives that keep it."""
        if self.objective in ("mask", "io_mask"):
            return images.new_zeros(len(images))
        with torch.no_grad():
            return select(self.classifier, self.classifier.logits(images), targets, self.selector)

    def __call__(self, images: Images, removed: Images, mask: Attribution, targets: Targets, aim: Scores) -> Scores:
        """The loss of each image under its mask."""

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


def optimized_masks(
    classifier: Classifier,
    images: Images,
    removed: Images,
    classes: Tensor,
    features: Callable[[Images], FeatureMap],
    optimize: Optimize,
    precision: Precision,
    batch_size: int,
) -> ClassAttribution:
    """The masks of each image for its own classes, ``batch_size`` pairs of image and class at a time.

    The features depend on the image alone and are computed once for all of its classes.
    """
    k = classes.shape[1]
    together = max(1, batch_size // max(k, 1))
    parts = zip(images.split(together), removed.split(together), classes.split(together), strict=True)
    masks = []
    with classifier.running(precision, gradients=True):
        for some, gone, wanted in parts:
            with torch.no_grad():
                found = features(some)
            for i in torch.arange(len(some) * k, device=images.device).split(batch_size):
                masks.append(optimize(some[i // k], gone[i // k], found[i // k], wanted.flatten()[i]))
    return torch.cat(masks).to(images.dtype).unflatten(0, (len(images), k))


def features_of(
    classifier: Classifier, images: Images, layers: str | tuple[str, ...] | None, negative: Negative
) -> FeatureMap:
    """All feature maps of the layers, on the finest of their grids."""
    names = [classifier.live_layer(name) for name in ((layers,) if isinstance(layers, str | None) else layers)]
    with classifier.capture(*names) as outputs:
        classifier.logits(images)
    dtype = torch.promote_types(images.dtype, torch.float32)  # Adam's own numbers vanish in float16
    grids = [classifier.as_grid(outputs[name], images).to(dtype) for name in names]
    size = max((grid.shape[-2:] for grid in grids), key=lambda s: s[0] * s[1])
    fine = [grid if grid.shape[-2:] == size else interpolate(grid, size, mode="bilinear") for grid in grids]
    features = torch.cat(fine, 1)
    return features.relu() if negative == "cut" else features


def start_of(features: FeatureMap, start: Start, seed: int) -> Float[Tensor, "n d"]:
    """The variable u before the first step."""
    if start == "uniform":
        return features.new_zeros(features.shape[:2])
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(features.shape[1], generator=generator, dtype=torch.float32).to(features).repeat(len(features), 1)


def still_moves(change: Scores, tolerance: float) -> Bool[Tensor, "n"]:
    """The images that go on, each for itself; all where scores are too coarse to show what a step does."""
    return (change.abs() >= tolerance) | (torch.finfo(change.dtype).bits < 32)


def combination(features: FeatureMap, u: Float[Tensor, "n d"]) -> CoarseMap:
    """S(x; u) on the layer's grid, eq. 8 with h the identity."""
    with torch.autocast(u.device.type, enabled=False):  # bfloat16 could not tell weights apart that differ by little
        return torch.einsum("nd,ndhw->nhw", u.softmax(1), features)


def as_mask(maps: Attribution, normalization: MaskNormalization) -> Attribution:
    """n(up(S)), a mask in [0, 1]."""
    match normalization:
        case "range":
            return min_max(maps)  # eq. 16
        case "maximum":
            highest = maps.amax((1, 2), keepdim=True)
            return torch.where(highest > 0, maps / torch.where(highest > 0, highest, 1), 0).clamp_min(0)  # eq. 17
        case "sigmoid":
            return maps.sigmoid()  # eq. 18
