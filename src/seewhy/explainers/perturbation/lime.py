"""LIME (Ribeiro et al., 2016), equations 1 and 2."""

from dataclasses import field
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from seewhy.explainers.options import SelectorOption
from seewhy.explainers.perturbation.regression import CoalitionScores, Kept, PlayerRegression, Weights, least_squares
from seewhy.options import Above, AtLeast


class Lime(PlayerRegression, name="lime", family="perturbation", paper="ribeiro2016lime"):
    """Weights of a linear model that predicts the target's score from which superpixels are kept, near the image. Signed.

    The model is a weighted ridge regression with an intercept, in closed form and for all classes at once: several classes
    come for the passes of one. Equal masks are run once.

    Defaults are those of the released package for images: the first mask keeps all, the others each superpixel with
    probability 1/2; weights exp(-d^2 / (2 width^2)) of the distance d between masks (the paper's kernel has no 2); all
    superpixels stay in the model (the paper keeps K of them by lasso). Two things differ from the package: removed
    superpixels get the mean color of the training images, not their own mean (``baseline``), and superpixels are SLICO's,
    not quickshift's.

    Args:
        samples: masks, of which the first keeps all.
        distance: "cosine" distance of a mask to the full one, 1 - sqrt(part kept); or "l2", sqrt(part removed).
        width: width of the kernel, 0.25 in the released package. Large widths weigh all masks alike.
        ridge: penalty on the squared weights. 0 is plain weighted least squares.
    """

    distance: Literal["cosine", "l2"] = "cosine"
    width: Annotated[float, Above(0)] = 0.25
    ridge: Annotated[float, AtLeast(0)] = 1.0
    selector: SelectorOption = field(default="probability", kw_only=True)

    def coalitions(self, p: int) -> tuple[Kept, Weights]:
        """Random masks, and the weights of the loss, eq. 2."""
        kept = torch.rand(self.samples, p, generator=torch.Generator().manual_seed(self.seed), dtype=torch.float32) < 0.5
        kept[0] = True
        part = kept.double().mean(1)
        d = 1 - part.sqrt() if self.distance == "cosine" else (1 - part).sqrt()
        return kept, (-(d**2) / (2 * self.width**2)).exp()

    def solved(self, kept: Kept, weights: Weights, scores: CoalitionScores) -> Float[Tensor, "p k"]:
        """The linear model of eq. 1; centering takes the intercept out."""
        x = kept.double() - weights @ kept.double() / weights.sum()
        y = scores - weights @ scores / weights.sum()
        return least_squares(x, weights, y, self.ridge)
