"""U-RELAX (Wickstrøm et al., 2023)."""

from typing import Literal

import torch

from seewhy.explainers.perturbation.relax import RelaxMaps
from seewhy.types import Attribution, Images, Targets


class URelax(RelaxMaps, name="u_relax", family="perturbation", paper="wickstrom2023relax", class_specific=False):
    """RELAX where its uncertainty is not above its own mean over the image, and 0 elsewhere. Not negative.

    The same for every class. ``relax`` says what differs from the paper.

    Args:
        threshold: highest uncertainty that is kept: its "mean" over the image, or its "median", as in the current
            released code, which keeps half of the pixels.
        samples: masks, as in ``relax``.
        batch_size: masked images that are run at a time. More than 256 have no effect.
    """

    threshold: Literal["mean", "median"] = "mean"

    def explain(self, images: Images, targets: Targets) -> Attribution:
        importance, uncertainty = self.explain_with_uncertainty(images, targets)
        flat = uncertainty.flatten(1)
        limit = flat.mean(1) if self.threshold == "mean" else flat.median(1).values
        return torch.where(uncertainty <= limit[:, None, None], importance, 0)
