"""Active saliency (Llorente et al., 2023), equation 5."""

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from seewhy.explainers.base import ClassMaps
from seewhy.explainers.gradient.signs import GradientMethod, points_of
from seewhy.explainers.gradients import class_extremes
from seewhy.explainers.options import BatchSize
from seewhy.types import ClassAttribution, Images


class ActiveSaliency(ClassMaps, name="active_saliency", family="gradient", paper="llorente2023positive"):
    """The gradient of the target where it is the highest of all classes' ("argmax" in the paper means max), else 0.

    Costs one gradient per class, or per number of the embedding if that is smaller. All classes cost what one costs.

    Args:
        reading: "equation" follows equation 5 to the letter: a class that ties for the highest keeps its gradient, and a
            highest gradient that is negative stays so. "released" is what the paper's code does: ties lose, and the
            absolute value is taken before the maximum over the color channels.
    """

    reading: Literal["equation", "released"] = "equation"
    of: GradientMethod = "saliency"
    batch_size: BatchSize = 32

    def maps(self, images: Images, classes: Tensor) -> ClassAttribution:
        points = partial(points_of, self.of, self.classifier)
        g, highest, _, runner_up, _ = class_extremes(self.classifier, images, classes, points, self.batch_size)
        if self.reading == "equation":
            return torch.where(g == highest[:, None], g, 0).amax(2)  # eq. 5
        return torch.where((g == highest[:, None]) & (g > runner_up[:, None]), g, 0).abs().amax(2)
