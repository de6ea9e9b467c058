"""XGrad-CAM (Fu et al., 2020), equations 7 and 8."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from seewhy.classifier.classifier import Classifier
from seewhy.explainers.base import EXPLAINERS, Family
from seewhy.explainers.cam.feature_cam import explain_all, explain_target
from seewhy.types import Attribution, ClassAttribution, Classes, CoarseMap, FeatureMap, Images, Targets


@EXPLAINERS.register("x_grad_cam")
@dataclass(frozen=True)
class XGradCAM:
    """Grad-CAM whose channel weights are the gradients' mean weighted by the features themselves. Not negative.

    Args:
        classifier: what is explained.
        layer: whose features are read; None is the classifier's feature layer.
        batch_size: images, or classes of an image, that are differentiated at a time.
    """

    family: ClassVar[Family] = "cam"
    class_specific: ClassVar[bool] = True
    paper: ClassVar[str] = "fu2020axiom"

    classifier: Classifier
    layer: str | None = None
    batch_size: int = 32

    def explain(self, images: Images, targets: Targets) -> Attribution:
        return explain_target(x_grad_cam, self.classifier, images, targets, self.layer, self.batch_size)

    def explain_classes(self, images: Images, classes: Classes) -> ClassAttribution:
        return explain_all(x_grad_cam, self.classifier, images, classes, self.layer, self.batch_size)


def x_grad_cam(features: FeatureMap, gradients: FeatureMap) -> CoarseMap:
    """The map on the layer's grid."""
    total = features.sum((2, 3), keepdim=True)
    # a channel whose features sum to 0 has no share to weigh by
    share = torch.where(total != 0, features / torch.where(total != 0, total, 1), 0)
    weights = (share * gradients).sum((2, 3), keepdim=True)  # eq. 8
    return (weights * features).sum(1).relu()
