"""LayerCAM (Jiang et al., 2021), equations 5 to 7."""

from dataclasses import dataclass
from typing import ClassVar

from seewhy.classifier.classifier import Classifier
from seewhy.explainers.base import EXPLAINERS, Family
from seewhy.explainers.cam.feature_cam import explain_all, explain_target
from seewhy.types import Attribution, ClassAttribution, Classes, CoarseMap, FeatureMap, Images, Targets


@EXPLAINERS.register("layer_cam")
@dataclass(frozen=True)
class LayerCAM:
    """Features weighted by their own positive gradients, pixel by pixel. Not negative.

    Args:
        classifier: what is explained.
        layer: whose features are read; None is the classifier's feature layer.
        batch_size: images, or classes of an image, that are differentiated at a time.
    """

    family: ClassVar[Family] = "cam"
    class_specific: ClassVar[bool] = True
    paper: ClassVar[str] = "jiang2021layercam"

    classifier: Classifier
    layer: str | None = None
    batch_size: int = 32

    def explain(self, images: Images, targets: Targets) -> Attribution:
        return explain_target(layer_cam, self.classifier, images, targets, self.layer, self.batch_size)

    def explain_classes(self, images: Images, classes: Classes) -> ClassAttribution:
        return explain_all(layer_cam, self.classifier, images, classes, self.layer, self.batch_size)


def layer_cam(features: FeatureMap, gradients: FeatureMap) -> CoarseMap:
    """The map on the layer's grid."""
    return (gradients.relu() * features).sum(1).relu()
