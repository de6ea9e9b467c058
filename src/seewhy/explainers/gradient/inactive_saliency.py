"""Inactive saliency (Llorente et al., 2023), equation 6."""

from typing import Literal

import torch
from torch import Tensor

from seewhy.explainers.gradient.signs import SaliencyOfAllClasses
from seewhy.types import ClassAttribution, Images


class InactiveSaliency(SaliencyOfAllClasses, name="inactive_saliency", family="gradient", paper="llorente2023positive"):
    """Where less intensity helps the target more than any other class: its gradient is the lowest of all classes'.

    Args:
        reading: "magnitude" ranks by how much dimming helps: the maximum over the color channels of minus the gradient
            where it is the lowest of all classes, else 0. "equation" is equation 6 to the letter: the maximum of such
            gradients and zeros. That is nowhere positive where they are negative: it ranks the pixels that matter last,
            and fails the paper's own white deletion. "released" is what the paper's code does: ties lose, and the
            absolute value is taken before the maximum.
    """

    reading: Literal["magnitude", "equation", "released"] = "magnitude"

    def maps(self, images: Images, classes: Tensor) -> ClassAttribution:
        g, _, lowest, _, runner_up = self.extremes(images, classes)
        inactive = torch.where(g == lowest[:, None], g, 0)
        if self.reading == "magnitude":
            return (-inactive).amax(2)
        if self.reading == "equation":
            return inactive.amax(2)  # eq. 6
        return torch.where(g < runner_up[:, None], inactive, 0).abs().amax(2)
