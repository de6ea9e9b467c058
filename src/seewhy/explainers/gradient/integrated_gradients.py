"""Integrated gradients (Sundararajan et al., 2017), equation 1."""

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np

from seewhy.errors import SeewhyError
from seewhy.explainers.gradient.gradient_sum import GradientSum
from seewhy.explainers.gradients import Point, channel_sum
from seewhy.explainers.options import BaselineOption
from seewhy.masking.baselines import baseline_images
from seewhy.options import AtLeast
from seewhy.types import Images


class IntegratedGradients(
    GradientSum, name="integrated_gradients", family="gradient", paper="sundararajan2017axiomatic", merge=channel_sum
):
    """Path integral of the gradient from a baseline to the image, summed over the color channels. Signed.

    Complete: a map sums to the target's logit for the image minus that for the baseline, up to the quadrature's error.

    Args:
        steps: points of the quadrature.
        quadrature: "gauss_legendre" is the most exact rule for smooth paths. "midpoint" can be closer where many ReLUs
            switch on the path. "trapezoid" is the classical rule, its weights summing to 1, of at least 2 steps.
        baseline: image where the path begins (see ``masking.baselines.baseline_images``).
    """

    steps: Annotated[int, AtLeast(1)] = 50
    quadrature: Literal["gauss_legendre", "midpoint", "trapezoid"] = "gauss_legendre"
    baseline: BaselineOption = "black"

    def __post_init__(self) -> None:
        if self.quadrature == "trapezoid" and self.steps < 2:
            raise SeewhyError(f"integrated_gradients cannot integrate with {self.steps} steps of the rule {self.quadrature}")

    def points(self, images: Images) -> Iterator[Point]:
        start = baseline_images(self.baseline, self.classifier, images)
        for alpha, weight in zip(*self._rule(), strict=True):
            yield Point(start + float(alpha) * (images - start), float(weight) * (images - start))

    def _rule(self) -> tuple[np.ndarray, np.ndarray]:
        """Nodes in [0, 1] and weights that sum to 1."""
        if self.quadrature == "gauss_legendre":
            nodes, weights = np.polynomial.legendre.leggauss(self.steps)
            return (nodes + 1) / 2, weights / 2
        if self.quadrature == "midpoint":
            return (np.arange(self.steps) + 0.5) / self.steps, np.full(self.steps, 1 / self.steps)
        weights = np.full(self.steps, 1 / (self.steps - 1))
        weights[[0, -1]] /= 2
        return np.linspace(0, 1, self.steps), weights
