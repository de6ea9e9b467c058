"""Negative saliency (Llorente et al., 2023), equation 4."""

from collections.abc import Iterator

from seewhy.explainers.gradient.gradient_sum import GradientSum
from seewhy.explainers.gradient.signs import GradientMethod, points_of
from seewhy.explainers.gradients import Point, largest_negative
from seewhy.types import Images


class NegativeSaliency(
    GradientSum, name="negative_saliency", family="gradient", paper="llorente2023positive", merge=largest_negative
):
    """Where less intensity raises the target's logit: the largest negative gradient of a pixel (eq. 4). Not negative."""

    of: GradientMethod = "saliency"

    def points(self, images: Images) -> Iterator[Point]:
        return points_of(self.of, self.classifier, images)
