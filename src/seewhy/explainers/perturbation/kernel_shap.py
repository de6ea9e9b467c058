"""KernelSHAP (Lundberg & Lee, 2017), theorem 2."""

from dataclasses import dataclass
from math import comb
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.classifier.precision import Precision
from seewhy.explainers.base import EXPLAINERS, Family
from seewhy.explainers.classes import column, for_each
from seewhy.explainers.perturbation.regression import Kept, Scores, Values, divided, least_squares, painted
from seewhy.explainers.selectors import Selector
from seewhy.masking.baselines import Baseline, baseline_images
from seewhy.masking.players import Division
from seewhy.types import Attribution, ClassAttribution, Classes, Images, Targets


@EXPLAINERS.register("kernel_shap")
@dataclass(frozen=True)
class KernelShap:
    """Shapley values of the superpixels, by the weighted regression whose solution they are. Signed.

    The values sum to v(all) - v(none) exactly; a pixel shows its superpixel's value. All 2^p - 2 coalitions are run if they
    are not more than ``samples``, and the values are then exact. Else sizes are drawn by the Shapley kernel, coalitions in
    pairs with their complements (Covert & Lee, 2021), which takes most of the noise, and every coalition weighs the same.
    Several classes come for the passes of one.

    Deviations: v(S) is the network on the image with the other players removed, no expectation over a data set; no lasso.

    Args:
        classifier: what is explained.
        players: "superpixels" or "patches" ("pixels" only for images of few).
        size: number of superpixels of an image, about; or side of a patch.
        samples: coalitions, besides the full and the empty one; several times the number of players.
        selector: the score v: the target's "logit", "probability", "log_probability", "log_odds", or "contrast" to the
            highest other.
        baseline: what removed pixels become (see ``masking.baseline_images``).
        seed: of the coalitions.
        precision: "bf16" runs the network in bfloat16; the regression is in float64.
        batch_size: masked images that are run at a time.
    """

    family: ClassVar[Family] = "perturbation"
    class_specific: ClassVar[bool] = True
    paper: ClassVar[str] = "lundberg2017unified"

    classifier: Classifier
    players: Division = "superpixels"
    size: int = 50
    samples: int = 1024
    selector: Selector = "logit"
    baseline: Baseline | float | Tensor = "mean_color"
    seed: int = 0
    precision: Precision = "fp32"
    batch_size: int = 32

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
            p = players.p
            kept, weights = enumerated(p) if 2**p - 2 <= self.samples else drawn(p, self.samples // 2, self.seed)
            ends = torch.tensor([[False], [True]]).expand(2, p)
            with self.classifier.running(self.precision):
                scores = values(image, gone, players, torch.cat([ends, kept]), wanted)
            maps.append(painted(players, shapley(kept, weights, scores[2:], scores[0], scores[1]), image))
        return torch.cat(maps)


def enumerated(p: int) -> tuple[Kept, Float[Tensor, "m"]]:
    """All coalitions but the empty and the full one, and the Shapley kernel (p - 1) / (C(p, s) s (p - s)) of each."""
    numbers = torch.arange(1, 2**p - 1)
    kept = (numbers[:, None] >> torch.arange(p)) % 2 == 1
    kernel = torch.tensor([0.0] + [(p - 1) / (comb(p, s) * s * (p - s)) for s in range(1, p)], dtype=torch.float64)
    return kept, kernel[kept.sum(1)]


def drawn(p: int, pairs: int, seed: int) -> tuple[Kept, Float[Tensor, "m"]]:
    """Coalitions by the Shapley kernel, each with its complement, so that all weigh the same."""
    generator, sizes = torch.Generator().manual_seed(seed), torch.arange(1, p)
    size = sizes[torch.multinomial(1 / (sizes * (p - sizes)).double(), max(pairs, 1), replacement=True, generator=generator)]
    kept = torch.rand(len(size), p, generator=generator, dtype=torch.float32).argsort(1).argsort(1) < size[:, None]
    return torch.cat([kept, ~kept]), torch.ones(2 * len(size), dtype=torch.float64)


def shapley(
    kept: Kept, weights: Float[Tensor, "m"], scores: Scores, empty: Float[Tensor, "k"], full: Float[Tensor, "k"]
) -> Float[Tensor, "p k"]:
    """argmin of sum_S w_S (v(S) - v(none) - sum_{i in S} phi_i)^2 under sum_i phi_i = v(all) - v(none).

    With phi = (v(all) - v(none)) / p + psi, sum psi = 0, rows may be centered, and the shortest solution obeys by itself.
    """
    part = kept.double().mean(1, keepdim=True)
    psi = least_squares(kept.double() - part, weights, scores - empty - part * (full - empty))
    return (full - empty) / kept.shape[1] + psi - psi.mean(0)  # the mean is 0 but for rounding
