"""Grad-CAM (Selvaraju et al., 2017), equations 1 and 2."""

from dataclasses import dataclass
from typing import ClassVar

from seewhy.classifier.classifier import Classifier
from seewhy.explainers.base import EXPLAINERS, Family
from seewhy.explainers.cam.feature_cam import explain_all, explain_target
from seewhy.types import Attribution, ClassAttribution, Classes, CoarseMap, FeatureMap, Images, Targets


@EXPLAINERS.register("grad_cam")
@dataclass(frozen=True)
class GradCAM:
    """Features weighted by the spatial mean of the target's gradient, summed, negative sums cut. Not negative.

    Args:
        classifier: what is explained.
        layer: whose features are read; None is the classifier's feature layer.
        batch_size: images, or classes of an image, that are differentiated at a time.
    """

    family: ClassVar[Family] = "cam"
    class_specific: ClassVar[bool] = True
    paper: ClassVar[str] = "selvaraju2017gradcam"

    classifier: Classifier
    layer: str | None = None
    batch_size: int = 32

    def explain(self, images: Images, targets: Targets) -> Attribution:
        return explain_target(grad_cam, self.classifier, images, targets, self.layer, self.batch_size)

    def explain_classes(self, images: Images, classes: Classes) -> ClassAttribution:
        return explain_all(grad_cam, self.classifier, images, classes, self.layer, self.batch_size)


def grad_cam(features: FeatureMap, gradients: FeatureMap) -> CoarseMap:
    """The map on the layer's grid."""
    weights = gradients.mean((2, 3), keepdim=True)  # eq. 1
    return (weights * features).sum(1).relu()  # eq. 2
