"""Positive saliency (Llorente et al., 2023), equation 3."""

from dataclasses import dataclass
from typing import ClassVar

from seewhy.classifier.classifier import Classifier
from seewhy.explainers.base import EXPLAINERS, Family, HasPoints
from seewhy.explainers.gradient.signs import points_of
from seewhy.explainers.gradients import class_maps, input_gradients
from seewhy.types import Attribution, ChannelAttribution, ClassAttribution, Classes, Images, Targets


@EXPLAINERS.register("positive_saliency")
@dataclass(frozen=True)
class PositiveSaliency:
    """Where more intensity raises the target's logit: the largest positive gradient of a pixel. Not negative.

    Args:
        classifier: what is explained.
        of: the gradient method whose signs are read, by name or as an explainer; with "smooth_grad" or
            "integrated_gradients" its attribution of a color channel takes the gradient's place.
        batch_size: images that are differentiated at a time.
    """

    family: ClassVar[Family] = "gradient"
    class_specific: ClassVar[bool] = True
    paper: ClassVar[str] = "llorente2023positive"

    classifier: Classifier
    of: str | HasPoints = "saliency"
    batch_size: int = 32

    def explain(self, images: Images, targets: Targets) -> Attribution:
        points = points_of(self.of, self.classifier)
        return merged(input_gradients(self.classifier, images, targets, points, self.batch_size))

    def explain_classes(self, images: Images, classes: Classes) -> ClassAttribution:
        points = points_of(self.of, self.classifier)
        return class_maps(self.classifier, images, classes, points, merged, self.batch_size)


def merged(gradient: ChannelAttribution) -> Attribution:
    """Eq. 3."""
    return gradient.relu().amax(1)
