"""Integrated gradients (Sundararajan et al., 2017), equation 1."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.explainers.base import EXPLAINERS, Family
from seewhy.explainers.gradients import Point, class_maps, input_gradients
from seewhy.masking.baselines import Baseline, baseline_images
from seewhy.types import Attribution, ChannelAttribution, ClassAttribution, Classes, Images, Targets


@EXPLAINERS.register("integrated_gradients")
@dataclass(frozen=True)
class IntegratedGradients:
    """Path integral of the gradient from a baseline to the image, summed over the color channels. Signed.

    Complete: a map sums to the target's logit for the image minus that for the baseline, up to the quadrature's error.

    Args:
        classifier: what is explained.
        steps: points of the quadrature.
        quadrature: "gauss_legendre" is the most exact rule for smooth paths; where many ReLUs switch on the way, "midpoint"
            can be closer. "trapezoid" is the classical rule, its weights summing to 1, of at least 2 steps.
        baseline: where the path begins, in pixel space (see ``masking.baseline_images``).
        batch_size: images that are differentiated at a time.
    """

    family: ClassVar[Family] = "gradient"
    class_specific: ClassVar[bool] = True
    paper: ClassVar[str] = "sundararajan2017axiomatic"

    classifier: Classifier
    steps: int = 50
    quadrature: Literal["gauss_legendre", "midpoint", "trapezoid"] = "gauss_legendre"
    baseline: Baseline | float | Tensor = "black"
    batch_size: int = 32

    def __post_init__(self) -> None:
        if self.steps < (2 if self.quadrature == "trapezoid" else 1):
            raise SeewhyError(f"integrated_gradients cannot integrate with {self.steps} steps of the rule {self.quadrature}")

    def points(self, images: Images) -> Iterator[Point]:
        start = baseline_images(self.baseline, self.classifier, images)
        for alpha, weight in zip(*self._rule(), strict=True):
            yield Point(start + float(alpha) * (images - start), float(weight) * (images - start))

    def explain(self, images: Images, targets: Targets) -> Attribution:
        return merged(input_gradients(self.classifier, images, targets, self.points, self.batch_size))

    def explain_classes(self, images: Images, classes: Classes) -> ClassAttribution:
        return class_maps(self.classifier, images, classes, self.points, merged, self.batch_size)

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


def merged(attribution: ChannelAttribution) -> Attribution:
    """The sum over the color channels, which keeps the sum over the image."""
    return attribution.sum(1)
