"""Opti-CAM (Zhang et al., 2024), equations 8 to 11 and 16 to 19, A1 and A2."""

import torch
from torch import Tensor

from seewhy.explainers.base import ClassMaps
from seewhy.explainers.gradients import attached
from seewhy.explainers.optimized.feature_masks import (
    LayersOption,
    MaskLoss,
    MaskNormalization,
    Negative,
    Objective,
    Start,
    Tolerance,
    as_mask,
    combination,
    features_of,
    optimized_masks,
    start_of,
    still_moves,
)
from seewhy.explainers.options import (
    BaselineOption,
    BatchSize,
    LearningRate,
    PrecisionOption,
    Seed,
    SelectorOption,
    Steps,
)
from seewhy.maps import upsample
from seewhy.masking.baselines import baseline_images
from seewhy.types import Attribution, ClassAttribution, FeatureMap, Images, Targets


class OptiCAM(ClassMaps, name="opti_cam", family="optimized", paper="zhang2024opticam"):
    """The convex combination of feature maps that, as a mask, makes the target's logit highest, found by Adam. Not negative.

    The map is the mask in [0, 1] after the last step, so that nothing has to be rescaled to use it as one.

    Where the paper is silent or its code differs: masks act on pixels, before the network's own normalization, as in the
    released code (``baseline="mean_color"`` masks the normalized image). Each image stops for itself, as the text says; the
    code stops a batch when its summed loss rises. A constant map is a mask of zeros, where the code divides by zero.

    A batch gives what single images give, to 1e-11 in float64. In float32 the passes of another batch round differently, and
    a hundred steps of Adam can magnify that to a tenth of the mask at some pixels; the scores hardly differ.

    Args:
        normalization: of the map to a mask: by its "range" (eq. 16), its "maximum" (eq. 17) or "sigmoid" (eq. 18).
        learning_rate: Adam's.
        steps: passes of an image at most, each forward and backward.
        batch_size: images, or classes of an image, that are optimized at a time.
    """

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

    def maps(self, images: Images, classes: Tensor) -> ClassAttribution:
        removed = baseline_images(self.baseline, self.classifier, images)
        return optimized_masks(
            self.classifier, images, removed, classes, self._features, self._optimized, self.precision, self.batch_size
        )

    def _features(self, images: Images) -> FeatureMap:
        return features_of(self.classifier, images, self.layer, self.negative)

    def _optimized(self, images: Images, removed: Images, features: FeatureMap, targets: Targets) -> Attribution:
        """The masks n(up(S)) after the last step, for one batch."""
        size, loss_of = (images.shape[-2], images.shape[-1]), MaskLoss(self.classifier, self.objective, self.selector)
        u = start_of(features, self.start, self.seed).requires_grad_()
        adam = torch.optim.Adam([u], lr=self.learning_rate)
        aim = loss_of.aim(images, targets)
        active, before = torch.arange(len(images), device=images.device), torch.full_like(aim, torch.inf)
        for _ in range(self.steps):
            mask = as_mask(upsample(combination(features[active], u[active]), size), self.normalization)
            loss = loss_of(images[active], removed[active], mask, targets[active], aim[active])
            (u.grad,) = torch.autograd.grad(attached(loss).sum(), u)
            going = still_moves(loss.detach() - before, self.tolerance)
            kept, active, before = u.detach().clone(), active[going], loss.detach()[going]
            if not len(active):
                break
            adam.step()
            still = torch.ones(len(u), dtype=torch.bool, device=u.device)
            still[active] = False
            u.data[still] = kept[still]
        return as_mask(upsample(combination(features, u.detach()), size), self.normalization)
