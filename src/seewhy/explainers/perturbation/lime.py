"""LIME (Ribeiro et al., 2016), equations 1 and 2."""

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from seewhy.explainers.base import ClassMaps
from seewhy.explainers.options import (
    BaselineOption,
    BatchSize,
    PlayerSize,
    PlayersOption,
    PrecisionOption,
    Samples,
    Seed,
    SelectorOption,
)
from seewhy.explainers.perturbation.regression import CoalitionScores, Kept, Values, least_squares, paint, players_of_each
from seewhy.masking.baselines import baseline_images
from seewhy.options import Above, AtLeast
from seewhy.types import ClassAttribution, Images


class Lime(ClassMaps, name="lime", family="perturbation", paper="ribeiro2016lime"):
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

    players: PlayersOption = "superpixels"
    size: PlayerSize = 50
    samples: Samples = 1000
    distance: Literal["cosine", "l2"] = "cosine"
    width: Annotated[float, Above(0)] = 0.25
    ridge: Annotated[float, AtLeast(0)] = 1.0
    selector: SelectorOption = "probability"
    baseline: BaselineOption = "mean_color"
    seed: Seed = 0
    precision: PrecisionOption = "fp32"
    batch_size: BatchSize = 32

    def maps(self, images: Images, classes: Tensor) -> ClassAttribution:
        maps = []
        values = Values(self.classifier, self.selector, self.batch_size)
        removed = baseline_images(self.baseline, self.classifier, images)
        each = zip(images.split(1), removed.split(1), players_of_each(images, self.players, self.size), classes, strict=True)
        for image, gone, players, wanted in each:
            kept = self._drawn(players.p)
            with self.classifier.running(self.precision):
                scores = values(image, gone, players, kept, wanted)
            maps.append(paint(players, self._weights(kept, scores), image))
        return torch.cat(maps)

    def _drawn(self, p: int) -> Kept:
        kept = torch.rand(self.samples, p, generator=torch.Generator().manual_seed(self.seed), dtype=torch.float32) < 0.5
        kept[0] = True
        return kept

    def _weights(self, kept: Kept, scores: CoalitionScores) -> Float[Tensor, "p k"]:
        """The linear model of eq. 1, with the loss of eq. 2; centering takes the intercept out."""
        part = kept.double().mean(1)
        d = 1 - part.sqrt() if self.distance == "cosine" else (1 - part).sqrt()
        weights = (-(d**2) / (2 * self.width**2)).exp()
        x = kept.double() - weights @ kept.double() / weights.sum()
        y = scores - weights @ scores / weights.sum()
        return least_squares(x, weights, y, self.ridge)
