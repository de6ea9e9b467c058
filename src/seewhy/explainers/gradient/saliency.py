"""Saliency (Simonyan et al., 2014); equation 2 of Llorente et al. (2023), the "original" of its five maps."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from seewhy.classifier.classifier import Classifier
from seewhy.explainers.base import EXPLAINERS, Family
from seewhy.explainers.gradients import Point, class_maps, input_gradients
from seewhy.types import Attribution, ChannelAttribution, ClassAttribution, Classes, Images, Targets


@EXPLAINERS.register("saliency")
@dataclass(frozen=True)
class Saliency:
    """The largest absolute gradient of the target's logit over the color channels of a pixel. Not negative.

    Args:
        classifier: what is explained.
        batch_size: images that are differentiated at a time.
    """

    family: ClassVar[Family] = "gradient"
    class_specific: ClassVar[bool] = True
    paper: ClassVar[str] = "simonyan2014deep"

    classifier: Classifier
    batch_size: int = 32

    def points(self, images: Images) -> Iterator[Point]:
        yield Point(images, 1.0)

    def explain(self, images: Images, targets: Targets) -> Attribution:
        return merged(input_gradients(self.classifier, images, targets, self.points, self.batch_size))

    def explain_classes(self, images: Images, classes: Classes) -> ClassAttribution:
        return class_maps(self.classifier, images, classes, self.points, merged, self.batch_size)


def merged(gradient: ChannelAttribution) -> Attribution:
    """The largest absolute value over the color channels (eq. 2)."""
    return gradient.abs().amax(1)
