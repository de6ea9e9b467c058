"""Positive saliency (Llorente et al., 2023), equation 3."""

from collections.abc import Iterator

from seewhy.explainers.gradient.gradient_sum import GradientSum
from seewhy.explainers.gradient.signs import GradientMethod, points_of
from seewhy.explainers.gradients import Point, largest_positive
from seewhy.types import Images


class PositiveSaliency(
    GradientSum, name="positive_saliency", family="gradient", paper="llorente2023positive", merge=largest_positive
):
    """Where more intensity raises the target's logit: the largest positive gradient of a pixel (eq. 3). Not negative."""

    of: GradientMethod = "saliency"

    def points(self, images: Images) -> Iterator[Point]:
        return points_of(self.of, self.classifier, images)
