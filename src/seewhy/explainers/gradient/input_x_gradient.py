"""Input times gradient (Shrikumar et al., 2017)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from seewhy.classifier.classifier import Classifier
from seewhy.explainers.base import EXPLAINERS, Family
from seewhy.explainers.gradients import Point, class_maps, input_gradients
from seewhy.types import Attribution, ChannelAttribution, ClassAttribution, Classes, Images, Targets


@EXPLAINERS.register("input_x_gradient")
@dataclass(frozen=True)
class InputXGradient:
    """Pixel value times gradient, summed over the color channels. Signed. Black pixels get 0 whatever they do.

    Args:
        classifier: what is explained.
        batch_size: images that are differentiated at a time.
    """

    family: ClassVar[Family] = "gradient"
    class_specific: ClassVar[bool] = True
    paper: ClassVar[str] = "shrikumar2017learning"

    classifier: Classifier
    batch_size: int = 32

    def points(self, images: Images) -> Iterator[Point]:
        yield Point(images, images)

    def explain(self, images: Images, targets: Targets) -> Attribution:
        return merged(input_gradients(self.classifier, images, targets, self.points, self.batch_size))

    def explain_classes(self, images: Images, classes: Classes) -> ClassAttribution:
        return class_maps(self.classifier, images, classes, self.points, merged, self.batch_size)


def merged(attribution: ChannelAttribution) -> Attribution:
    """The sum over the color channels, which keeps the sum over the image."""
    return attribution.sum(1)
