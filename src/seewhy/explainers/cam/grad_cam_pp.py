"""Grad-CAM++ (Chattopadhay et al., 2018), equations 10, 18 and 19."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from seewhy.classifier.classifier import Classifier
from seewhy.explainers.base import EXPLAINERS, Family
from seewhy.explainers.cam.feature_cam import explain_all, explain_target
from seewhy.types import Attribution, ClassAttribution, Classes, CoarseMap, FeatureMap, Images, Targets


@EXPLAINERS.register("grad_cam_pp")
@dataclass(frozen=True)
class GradCAMPlusPlus:
    """Grad-CAM with pixel-wise weights of the positive gradients. Not negative.

    As in the paper's own derivation the score is exp(logit), whose higher derivatives are powers of the logit's gradient
    times exp(logit); that last factor is the same for all pixels of an image and is left out.

    Args:
        classifier: what is explained.
        layer: whose features are read; None is the classifier's feature layer.
        batch_size: images, or classes of an image, that are differentiated at a time.
    """

    family: ClassVar[Family] = "cam"
    class_specific: ClassVar[bool] = True
    paper: ClassVar[str] = "chattopadhay2018gradcampp"

    classifier: Classifier
    layer: str | None = None
    batch_size: int = 32

    def explain(self, images: Images, targets: Targets) -> Attribution:
        return explain_target(grad_cam_pp, self.classifier, images, targets, self.layer, self.batch_size)

    def explain_classes(self, images: Images, classes: Classes) -> ClassAttribution:
        return explain_all(grad_cam_pp, self.classifier, images, classes, self.layer, self.batch_size)


def grad_cam_pp(features: FeatureMap, gradients: FeatureMap) -> CoarseMap:
    """The map on the layer's grid; the denominator sums the features over the grid, as in equation 19."""
    total = features.sum((2, 3), keepdim=True)
    denominator = 2 * gradients**2 + total * gradients**3
    # eq. 19 is 0/0 where the gradient is 0; such a pixel has no weight
    alpha = torch.where(denominator != 0, gradients**2 / torch.where(denominator != 0, denominator, 1), 0)
    weights = (alpha * gradients.relu()).sum((2, 3), keepdim=True)  # eq. 18
    return (weights * features).sum(1).relu()
