"""HiResCAM (Draelos & Carin, 2020), equation 4."""

from dataclasses import dataclass
from typing import ClassVar

from seewhy.classifier.classifier import Classifier
from seewhy.explainers.base import EXPLAINERS, Family
from seewhy.explainers.cam.feature_cam import explain_all, explain_target
from seewhy.types import Attribution, ClassAttribution, Classes, CoarseMap, FeatureMap, Images, Targets


@EXPLAINERS.register("hires_cam")
@dataclass(frozen=True)
class HiResCAM:
    """Features times gradients, element by element, summed over the channels. Signed.

    The paper's map keeps its negative part, which speaks against the class; take ``.clamp_min(0)`` for the picture that
    other libraries show.

    Args:
        classifier: what is explained.
        layer: whose features are read; None is the classifier's feature layer.
        batch_size: images, or classes of an image, that are differentiated at a time.
    """

    family: ClassVar[Family] = "cam"
    class_specific: ClassVar[bool] = True
    paper: ClassVar[str] = "draelos2020hirescam"

    classifier: Classifier
    layer: str | None = None
    batch_size: int = 32

    def explain(self, images: Images, targets: Targets) -> Attribution:
        return explain_target(hires_cam, self.classifier, images, targets, self.layer, self.batch_size)

    def explain_classes(self, images: Images, classes: Classes) -> ClassAttribution:
        return explain_all(hires_cam, self.classifier, images, classes, self.layer, self.batch_size)


def hires_cam(features: FeatureMap, gradients: FeatureMap) -> CoarseMap:
    """The map on the layer's grid."""
    return (gradients * features).sum(1)
