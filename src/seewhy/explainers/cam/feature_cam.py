"""How every CAM of gradients runs: features and gradients of one layer, combined on its grid, upsampled to the image."""

from collections.abc import Callable

import torch

from seewhy.classifier.classifier import Classifier
from seewhy.explainers.classes import for_each
from seewhy.explainers.gradients import feature_gradients, feature_jacobian
from seewhy.maps import upsample
from seewhy.types import Attribution, ClassAttribution, Classes, CoarseMap, FeatureMap, Images, Targets

Combine = Callable[[FeatureMap, FeatureMap], CoarseMap]
"""(features, gradients) -> map on the grid; all that tells one of these methods from another."""


def explain_target(
    combine: Combine, classifier: Classifier, images: Images, targets: Targets, layer: str | None, batch_size: int
) -> Attribution:
    """One forward pass of the images, and one backward pass of what follows the layer."""
    classifier.check(images, targets)
    layer = classifier.live_layer(layer)
    maps = [
        combine(*feature_gradients(classifier, some, wanted, layer))
        for some, wanted in zip(images.split(batch_size), targets.split(batch_size), strict=True)
    ]
    return upsample(torch.cat(maps), (images.shape[-2], images.shape[-1]))


def explain_all(
    combine: Combine, classifier: Classifier, images: Images, classes: Classes, layer: str | None, batch_size: int
) -> ClassAttribution:
    """The same forward pass for all classes, and their batched vector-Jacobian products over what follows the layer."""
    classifier.check_classes(images, for_each(images, classes))
    layer = classifier.live_layer(layer)
    maps = [
        torch.stack([combine(*pair) for pair in feature_jacobian(classifier, some, classes, layer, batch_size)], 1)
        for some in images.split(batch_size)
    ]
    coarse = torch.cat(maps)
    fine = upsample(coarse.flatten(0, 1), (images.shape[-2], images.shape[-1]))
    return fine.unflatten(0, coarse.shape[:2])
