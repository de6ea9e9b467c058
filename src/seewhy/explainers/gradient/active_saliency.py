"""Active saliency (Llorente et al., 2023), equation 5."""

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


@EXPLAINERS.register("active_saliency")
@dataclass(frozen=True)
class ActiveSaliency:
    """The gradient of the target where it is the highest of all classes' ("argmax" in the paper means max), else 0.

    Costs one gradient per class, or per number of the embedding if that is smaller; all classes cost what one costs.

    Args:
        classifier: what is explained.
        reading: "equation" follows equation 5 to the letter: a class that ties for the highest keeps its gradient, and a
            highest gradient that is negative stays so. "released" is what the paper's code does: ties lose, and the
            absolute value is taken before the maximum over the color channels.
        of: the gradient method that is compared between classes, by name or as an explainer.
        batch_size: gradients that are computed at a time.
    """

    family: ClassVar[Family] = "gradient"
    class_specific: ClassVar[bool] = True
    paper: ClassVar[str] = "llorente2023positive"

    classifier: Classifier
    reading: Literal["equation", "released"] = "equation"
    of: str | HasPoints = "saliency"
    batch_size: int = 32

    def explain(self, images: Images, targets: Targets) -> Attribution:
        return self._maps(images, column(targets))[:, 0]

    def explain_classes(self, images: Images, classes: Classes) -> ClassAttribution:
        return self._maps(images, for_each(images, classes))

    def _maps(self, images: Images, classes: Tensor) -> ClassAttribution:
        points = points_of(self.of, self.classifier)
        g, highest, _, runner_up, _ = class_extremes(self.classifier, images, classes, points, self.batch_size)
        if self.reading == "equation":
            return torch.where(g == highest[:, None], g, 0).amax(2)  # eq. 5
        return torch.where((g == highest[:, None]) & (g > runner_up[:, None]), g, 0).abs().amax(2)
