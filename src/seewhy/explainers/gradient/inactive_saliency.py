"""Inactive saliency (Llorente et al., 2023), equation 6."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.explainers.base import EXPLAINERS, Family, HasPoints
from seewhy.explainers.classes import column, for_each
from seewhy.explainers.gradient.signs import points_of
from seewhy.explainers.gradients import class_extremes
from seewhy.types import Attribution, ClassAttribution, Classes, Images, Targets


@EXPLAINERS.register("inactive_saliency")
@dataclass(frozen=True)
class InactiveSaliency:
    """Where less intensity helps the target more than any other class: its gradient is the lowest of all classes'.

    Args:
        classifier: what is explained.
        reading: "magnitude" ranks by how much dimming helps: the maximum over the color channels of minus the gradient
            where it is the lowest of all classes, else 0. "equation" is equation 6 to the letter: the maximum of such
            gradients and zeros, which is nowhere positive where they are negative, so that it ranks the pixels that
            matter last and fails the paper's own white deletion. "released" is what the paper's code does: ties lose,
            and the absolute value is taken before the maximum.
        of: the gradient method that is compared between classes, by name or as an explainer.
        batch_size: gradients that are computed at a time.
    """

    family: ClassVar[Family] = "gradient"
    class_specific: ClassVar[bool] = True
    paper: ClassVar[str] = "llorente2023positive"

    classifier: Classifier
    reading: Literal["magnitude", "equation", "released"] = "magnitude"
    of: str | HasPoints = "saliency"
    batch_size: int = 32

    def explain(self, images: Images, targets: Targets) -> Attribution:
        return self._maps(images, column(targets))[:, 0]

    def explain_classes(self, images: Images, classes: Classes) -> ClassAttribution:
        return self._maps(images, for_each(images, classes))

    def _maps(self, images: Images, classes: Tensor) -> ClassAttribution:
        points = points_of(self.of, self.classifier)
        g, _, lowest, _, runner_up = class_extremes(self.classifier, images, classes, points, self.batch_size)
        inactive = torch.where(g == lowest[:, None], g, 0)
        if self.reading == "magnitude":
            return (-inactive).amax(2)
        if self.reading == "equation":
            return inactive.amax(2)  # eq. 6
        return torch.where(g < runner_up[:, None], inactive, 0).abs().amax(2)
