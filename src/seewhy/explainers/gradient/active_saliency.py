"""Active saliency (Llorente et al., 2023), equation 5."""

from typing import Literal

import torch
from torch import Tensor

from seewhy.explainers.gradient.signs import SaliencyOfAllClasses
from seewhy.types import ClassAttribution, Images


class ActiveSaliency(SaliencyOfAllClasses, name="active_saliency", family="gradient", paper="llorente2023positive"):
    """The gradient of the target where it is the highest of all classes' ("argmax" in the paper means max), else 0.

    Costs one gradient per class, or per number of the embedding if that is smaller. All classes cost what one costs.

    Args:
        reading: "equation" follows equation 5 to the letter: a class that ties for the highest keeps its gradient, and a
            highest gradient that is negative stays so. "released" is what the paper's code does: ties lose, and the
            absolute value is taken before the maximum over the color channels.
    """

    reading: Literal["equation", "released"] = "equation"

    def maps(self, images: Images, classes: Tensor) -> ClassAttribution:
        g, highest, _, runner_up, _ = self.extremes(images, classes)
        if self.reading == "equation":
            return torch.where(g == highest[:, None], g, 0).amax(2)  # eq. 5
        return torch.where((g == highest[:, None]) & (g > runner_up[:, None]), g, 0).abs().amax(2)
