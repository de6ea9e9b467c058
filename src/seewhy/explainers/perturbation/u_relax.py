"""U-RELAX (Wickstrøm et al., 2023)."""

from dataclasses import fields
from typing import Literal

import torch

from seewhy.explainers.base import Method
from seewhy.explainers.options import BaselineOption, BatchSize, PrecisionOption, Samples, Seed
from seewhy.explainers.perturbation.random_masks import Border, Cells, KeepProbability, Normalization
from seewhy.explainers.perturbation.relax import Relax
from seewhy.types import Attribution, Images, Targets


class URelax(Method, name="u_relax", family="perturbation", paper="wickstrom2023relax", class_specific=False):
    """RELAX where its uncertainty is not above its own mean over the image, and 0 elsewhere. Not negative.

    The same for every class. ``relax`` says what differs from the paper.

    Args:
        threshold: highest uncertainty that is kept: its "mean" over the image, or its "median", as in the current
            released code, which keeps half of the pixels.
        samples: masks, as in ``relax``.
        batch_size: masked images that are run at a time. More than 256 have no effect.
    """

    threshold: Literal["mean", "median"] = "mean"
    samples: Samples = 3000
    cells: Cells = 7
    keep_probability: KeepProbability = 0.5
    normalization: Normalization = "own"
    border: Border = "repeat"
    baseline: BaselineOption = "mean_color"
    seed: Seed = 0
    precision: PrecisionOption = "fp32"
    batch_size: BatchSize = 32

    def explain(self, images: Images, targets: Targets) -> Attribution:
        relax = Relax(**{f.name: getattr(self, f.name) for f in fields(Relax)})
        importance, uncertainty = relax.explain_with_uncertainty(images, targets)
        flat = uncertainty.flatten(1)
        limit = flat.mean(1) if self.threshold == "mean" else flat.median(1).values
        return torch.where(uncertainty <= limit[:, None, None], importance, 0)
