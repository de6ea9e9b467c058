"""LIME (Ribeiro et al., 2016), equations 1 and 2."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.classifier.precision import Precision
from seewhy.errors import SeewhyError
from seewhy.explainers.base import EXPLAINERS, Family
from seewhy.explainers.classes import column, for_each
from seewhy.explainers.perturbation.regression import Kept, Scores, Values, divided, least_squares, painted
from seewhy.explainers.selectors import Selector
from seewhy.masking.baselines import Baseline, baseline_images
from seewhy.masking.players import Division
from seewhy.types import Attribution, ClassAttribution, Classes, Images, Targets


@EXPLAINERS.register("lime")
@dataclass(frozen=True)
class Lime:
    """Weights of a linear model that predicts the target's score from which superpixels are kept, near the image. Signed.

    The model is a weighted ridge regression with an intercept, in closed form and for all classes at once: several classes
    come for the passes of one. Equal masks are run once.

    Defaults are those of the released package for images: the first mask keeps all, the others each superpixel with
    probability 1/2; weights exp(-d^2 / (2 width^2)) of the distance d between masks (the paper's kernel has no 2); all
    superpixels stay in the model (the paper keeps K of them by lasso). Differently, removed superpixels get the mean color
    of the training images, not their own mean (``baseline``), and superpixels are SLICO's, not quickshift's.

    Args:
        classifier: what is explained.
        players: "superpixels" or "patches" ("pixels" only for images of few).
        size: number of superpixels of an image, about; or side of a patch.
        samples: masks, of which the first keeps all.
        distance: "cosine" distance of a mask to the full one, 1 - sqrt(part kept); or "l2", sqrt(part removed).
        width: of the kernel; large widths weigh all masks alike.
        ridge: penalty on the squared weights; 0 is plain weighted least squares.
        selector: the score: the target's "probability", "logit", "log_probability", "log_odds", or its "contrast" to the
            highest other.
        baseline: what removed pixels become (see ``masking.baseline_images``).
        seed: of the masks.
        precision: "bf16" runs the network in bfloat16; the regression is in float64.
        batch_size: masked images that are run at a time.
    """

    family: ClassVar[Family] = "perturbation"
    class_specific: ClassVar[bool] = True
    paper: ClassVar[str] = "ribeiro2016lime"

    classifier: Classifier
    players: Division = "superpixels"
    size: int = 50
    samples: int = 1000
    distance: Literal["cosine", "l2"] = "cosine"
    width: float = 0.25
    ridge: float = 1.0
    selector: Selector = "probability"
    baseline: Baseline | float | Tensor = "mean_color"
    seed: int = 0
    precision: Precision = "fp32"
    batch_size: int = 32

    def __post_init__(self) -> None:
        if not self.width > 0:
            raise SeewhyError(f"width must be positive, got {self.width}: the released package has 0.25")

    def explain(self, images: Images, targets: Targets) -> Attribution:
        return self._maps(images, column(targets))[:, 0]

    def explain_classes(self, images: Images, classes: Classes) -> ClassAttribution:
        return self._maps(images, for_each(images, classes))

    def _maps(self, images: Images, classes: Tensor) -> ClassAttribution:
        self.classifier.check_classes(images, classes)
        images, maps = images.detach(), []
        values = Values(self.classifier, self.selector, self.batch_size)
        removed = baseline_images(self.baseline, self.classifier, images)
        each = zip(images.split(1), removed.split(1), divided(images, self.players, self.size), classes, strict=True)
        for image, gone, players, wanted in each:
            kept = self._drawn(players.p)
            with self.classifier.running(self.precision):
                scores = values(image, gone, players, kept, wanted)
            maps.append(painted(players, self._weights(kept, scores), image))
        return torch.cat(maps)

    def _drawn(self, p: int) -> Kept:
        kept = torch.rand(self.samples, p, generator=torch.Generator().manual_seed(self.seed), dtype=torch.float32) < 0.5
        kept[0] = True
        return kept

    def _weights(self, kept: Kept, scores: Scores) -> Float[Tensor, "p k"]:
        """The linear model of eq. 1, with the loss of eq. 2; centering takes the intercept out."""
        part = kept.double().mean(1)
        d = 1 - part.sqrt() if self.distance == "cosine" else (1 - part).sqrt()
        weights = (-(d**2) / (2 * self.width**2)).exp()
        x = kept.double() - weights @ kept.double() / weights.sum()
        y = scores - weights @ scores / weights.sum()
        return least_squares(x, weights, y, self.ridge)
