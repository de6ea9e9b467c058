"""Saliency (Simonyan et al., 2014); equation 2 of Llorente et al. (2023), the "original" of its five maps."""

from collections.abc import Iterator

from seewhy.explainers.gradient.gradient_sum import GradientSum
from seewhy.explainers.gradients import Point, largest_magnitude
from seewhy.types import Images


class Saliency(GradientSum, name="saliency", family="gradient", paper="simonyan2014deep", merge=largest_magnitude):
    """The largest absolute gradient of the target's logit over the color channels of a pixel. Not negative."""

    def points(self, images: Images) -> Iterator[Point]:
        yield Point(images, 1.0)
