"""KernelSHAP (Lundberg & Lee, 2017), theorem 2."""

from math import comb

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
from seewhy.types import ClassAttribution, Images


class KernelShap(ClassMaps, name="kernel_shap", family="perturbation", paper="lundberg2017unified"):
    """Shapley values of the superpixels, by the weighted regression whose solution they are. Signed.

    The values sum to v(all) - v(none) exactly; a pixel shows its superpixel's value. All 2^p - 2 coalitions are run if they
    are not more than ``samples``, and the values are then exact. Else sizes are drawn by the Shapley kernel, coalitions in
    pairs with their complements (Covert & Lee, 2021). The pairs take away most of the noise, and every coalition weighs the
    same. Several classes come for the passes of one.

    Deviations: v(S) is the network on the image with the other players removed, no expectation over a data set; no lasso.

    Args:
        samples: coalitions, besides the full and the empty one; several times the number of players.
    """

    players: PlayersOption = "superpixels"
    size: PlayerSize = 50
    samples: Samples = 1024
    selector: SelectorOption = "logit"
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
            p = players.p
            kept, weights = (
                all_coalitions(p) if 2**p - 2 <= self.samples else sample_coalitions(p, self.samples // 2, self.seed)
            )
            ends = torch.tensor([[False], [True]]).expand(2, p)
            with self.classifier.running(self.precision):
                scores = values(image, gone, players, torch.cat([ends, kept]), wanted)
            maps.append(paint(players, shapley(kept, weights, scores[2:], scores[0], scores[1]), image))
        return torch.cat(maps)


def all_coalitions(p: int) -> tuple[Kept, Float[Tensor, "m"]]:
    """All coalitions but the empty and the full one, and the Shapley kernel (p - 1) / (C(p, s) s (p - s)) of each."""
    numbers = torch.arange(1, 2**p - 1)
    kept = (numbers[:, None] >> torch.arange(p)) % 2 == 1
    kernel = torch.tensor([0.0] + [(p - 1) / (comb(p, s) * s * (p - s)) for s in range(1, p)], dtype=torch.float64)
    return kept, kernel[kept.sum(1)]


def sample_coalitions(p: int, pairs: int, seed: int) -> tuple[Kept, Float[Tensor, "m"]]:
    """Coalitions by the Shapley kernel, each with its complement, so that all weigh the same."""
    generator, sizes = torch.Generator().manual_seed(seed), torch.arange(1, p)
    size = sizes[torch.multinomial(1 / (sizes * (p - sizes)).double(), max(pairs, 1), replacement=True, generator=generator)]
    kept = torch.rand(len(size), p, generator=generator, dtype=torch.float32).argsort(1).argsort(1) < size[:, None]
    return torch.cat([kept, ~kept]), torch.ones(2 * len(size), dtype=torch.float64)


def shapley(
    kept: Kept, weights: Float[Tensor, "m"], scores: CoalitionScores, empty: Float[Tensor, "k"], full: Float[Tensor, "k"]
) -> Float[Tensor, "p k"]:
    """argmin of sum_S w_S (v(S) - v(none) - sum_{i in S} phi_i)^2 under sum_i phi_i = v(all) - v(none).

    With phi = (v(all) - v(none)) / p + psi, sum psi = 0, rows may be centered, and the shortest solution obeys by itself.
    """
    part = kept.double().mean(1, keepdim=True)
    psi = least_squares(kept.double() - part, weights, scores - empty - part * (full - empty))
    return (full - empty) / kept.shape[1] + psi - psi.mean(0)  # the mean is 0 but for rounding
