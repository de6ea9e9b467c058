"""Masks made of feature maps: what Opti-CAM and its fast form share (Zhang et al., 2024)."""

from abc import abstractmethod
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import interpolate

from seewhy.explainers.base import ClassMaps
from seewhy.explainers.options import (
    BaselineOption,
    BatchSize,
    LearningRate,
    PrecisionOption,
    Seed,
    SelectorOption,
    Steps,
)
from seewhy.explainers.selectors import Wanted, select, with_similar
from seewhy.maps import min_max, upsample
from seewhy.masking.baselines import baseline_images, blend
from seewhy.options import AtLeast, Doc
from seewhy.types import Attribution, ClassAttribution, CoarseMap, FeatureMap, Images, Scores

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


class FeatureMask(ClassMaps):
    """A mask that is a convex combination of feature maps. A subclass finds the weights, in ``optimized``."""

    layer: LayersOption = None
    objective: Objective = "mask"
    normalization: MaskNormalization = "range"
    selector: SelectorOption = "logit"
    negative: Negative = "keep"
    start: Start = "uniform"
    learning_rate: LearningRate = 0.1
    steps: Steps = 100
    tolerance: Tolerance = 1e-10
    baseline: BaselineOption = "black"
    seed: Seed = 0
    precision: PrecisionOption = "fp32"
    batch_size: BatchSize = 32

    @abstractmethod
    def optimized(
        self, images: Images, removed: Images, features: FeatureMap, wanted: Wanted, aim: Scores
    ) -> Float[Tensor, "n d"]:
        """The variable u of each image of a batch; softmax(u) are the weights. All but the features are for ``loss``."""

    def maps(self, images: Images, classes: Int[Tensor, "n k"]) -> ClassAttribution:
        """The masks n(up(S)), ``batch_size`` pairs of image and class at a time.

        The features depend on the image alone and are computed once for all of its classes.
        """
        k, masks = classes.shape[1], []
        together = max(1, self.batch_size // max(k, 1))
        removed = baseline_images(self.baseline, self.classifier, images)
        each = with_similar(self.classifier, images, classes, self.selector, self.batch_size)
        parts = zip(images.split(together), removed.split(together), each.split(together), strict=True)
        with self.classifier.running(self.precision, gradients=True):
            for some, gone, all_wanted in parts:
                with torch.no_grad():
                    features = self.features(some)
                for i in torch.arange(len(some) * k, device=images.device).split(self.batch_size):
                    seen, found, wanted = some[i // k], features[i // k], all_wanted.flatten(0, 1)[i, None]
                    u = self.optimized(seen, gone[i // k], found, wanted, self.aim(seen, wanted))
                    masks.append(self.mask(combination(found, u), images.shape[-2:]))
        return torch.cat(masks).to(images.dtype).unflatten(0, (len(images), k))

    def features(self, images: Images) -> FeatureMap:
        """All feature maps of the layers, on the finest of their grids."""
        names = [
            self.classifier.live_layer(name) for name in (self.layer if isinstance(self.layer, tuple) else (self.layer,))
        ]
        with self.classifier.capture(*names) as outputs:
            self.classifier.logits(images)
        dtype = torch.promote_types(images.dtype, torch.float32)  # Adam's own numbers vanish in float16
        grids = [self.classifier.as_grid(outputs[name], images, name).to(dtype) for name in names]
        size = max((grid.shape[-2:] for grid in grids), key=lambda s: s[0] * s[1])
        fine = [grid if grid.shape[-2:] == size else interpolate(grid, size, mode="bilinear") for grid in grids]
        features = torch.cat(fine, 1)
        return features.relu() if self.negative == "cut" else features

    def start_of(self, features: FeatureMap) -> Float[Tensor, "n d"]:
        """The variable u before the first step."""
        n, d = features.shape[:2]
        if self.start == "uniform":
            return features.new_zeros(n, d)
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randn(d, generator=generator, dtype=torch.float32).to(features).repeat(n, 1)

    def mask(self, maps: CoarseMap, size: torch.Size) -> Attribution:
        """n(up(S)), a mask in [0, 1]."""
        maps = upsample(maps, size)
        match self.normalization:
            case "range":
                return min_max(maps)  # eq. 16
            case "maximum":
                highest = maps.amax((1, 2), keepdim=True)
                return torch.where(highest > 0, maps / torch.where(highest > 0, highest, 1), 0).clamp_min(0)  # eq. 17
            case "sigmoid":
                return maps.sigmoid()  # eq. 18

    def aim(self, images: Images, wanted: Wanted) -> Scores:
        """The score of the whole image, for the objectives that keep it."""
        if self.objective in ("mask", "io_mask"):
            return images.new_zeros(len(images))
        with torch.no_grad():
            return select(self.classifier, self.classifier.logits(images), wanted, self.selector)[:, 0]

    def loss(self, images: Images, removed: Images, mask: Attribution, wanted: Wanted, aim: Scores) -> Scores:
        """The loss of each image under its mask: minus the objective F of the paper."""

        def score(mask: Attribution) -> Scores:
            masked = self.classifier.fast_layout(blend(images, mask.to(images.dtype), removed))
            return select(self.classifier, self.classifier.logits(masked), wanted, self.selector)[:, 0]

        match self.objective:
            case "mask":
                return -score(mask)  # eq. 10
            case "diff":
                return (aim - score(mask)).abs()  # eq. 19
            case "io_mask":
                return score(1 - mask) - score(mask)  # eq. A1
            case "io_diff":
                return (aim - score(mask)).abs() - (aim - score(1 - mask)).abs()  # eq. A2


def still_moves(change: Scores, tolerance: float) -> Bool[Tensor, "n"]:
    """The images that go on, each for itself; all where scores are too coarse to show what a step does."""
    return (change.abs() >= tolerance) | (torch.finfo(change.dtype).bits < 32)


def combination(features: FeatureMap, u: Float[Tensor, "n d"]) -> CoarseMap:
    """S(x; u) on the layer's grid, eq. 8 with h the identity."""
    with torch.autocast(u.device.type, enabled=False):  # bfloat16 could not tell weights apart that differ by little
        return torch.einsum("nd,ndhw->nhw", u.softmax(1), features)
