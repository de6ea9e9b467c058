"""KernelSHAP (Lundberg & Lee, 2017), theorem 2."""

from math import comb

import torch
from jaxtyping import Float
from torch import Tensor

from seewhy.explainers.options import Samples
from seewhy.explainers.perturbation.regression import CoalitionScores, Kept, PlayerRegression, Weights, least_squares


class KernelShap(PlayerRegression, name="kernel_shap", family="perturbation", paper="lundberg2017unified"):
    """Shapley values of the superpixels, by the weighted regression whose solution they are. Signed.

    The values sum to v(all) - v(none) exactly; a pixel shows its superpixel's value. All 2^p - 2 coalitions are run if they
    are not more than ``samples``, and the values are then exact. Else sizes are drawn by the Shapley kernel, coalitions in
    pairs with their complements (Covert & Lee, 2021). The pairs take away most of the noise, and every coalition weighs the
    same. Several classes come for the passes of one.

    Deviations: v(S) is the network on the image with the other players removed, no expectation over a data set; no lasso.

    Args:
        samples: coalitions, besides the full and the empty one; several times the number of players.
    """

    samples: Samples = 1024

    def coalitions(self, p: int) -> tuple[Kept, Weights]:
        """The empty and the full coalition, which the constraint holds and no weight, then those of the regression."""
        few = 2**p - 2 <= self.samples
        kept, weights = all_coalitions(p) if few else sample_coalitions(p, self.samples // 2, self.seed)
        ends = torch.tensor([[False], [True]]).expand(2, p)
        return torch.cat([ends, kept]), torch.cat([weights.new_zeros(2), weights])

    def solved(self, kept: Kept, weights: Weights, scores: CoalitionScores) -> Float[Tensor, "p k"]:
        """argmin of sum_S w_S (v(S) - v(none) - sum_{i in S} phi_i)^2 under sum_i phi_i = v(all) - v(none).

        With phi = (v(all) - v(none)) / p + psi, sum psi = 0, rows may be centered, and the shortest solution obeys by
        itself.
        """
        players, empty, full = kept[2:].double(), scores[0], scores[1]
        part = players.mean(1, keepdim=True)
        psi = least_squares(players - part, weights[2:], scores[2:] - empty - part * (full - empty))
        return (full - empty) / kept.shape[1] + psi - psi.mean(0)  # the mean is 0 but for rounding


def all_coalitions(p: int) -> tuple[Kept, Weights]:
    """All coalitions but the empty and the full one, and the Shapley kernel (p - 1) / (C(p, s) s (p - s)) of each."""
    numbers = torch.arange(1, 2**p - 1)
    kept = (numbers[:, None] >> torch.arange(p)) % 2 == 1
    kernel = torch.tensor([0.0] + [(p - 1) / (comb(p, s) * s * (p - s)) for s in range(1, p)], dtype=torch.float64)
    return kept, kernel[kept.sum(1)]


def sample_coalitions(p: int, pairs: int, seed: int) -> tuple[Kept, Weights]:
    """Coalitions by the Shapley kernel, each with its complement, so that all weigh the same."""
    generator, sizes = torch.Generator().manual_seed(seed), torch.arange(1, p)
    size = sizes[torch.multinomial(1 / (sizes * (p - sizes)).double(), max(pairs, 1), replacement=True, generator=generator)]
    kept = torch.rand(len(size), p, generator=generator, dtype=torch.float32).argsort(1).argsort(1) < size[:, None]
    return torch.cat([kept, ~kept]), torch.ones(2 * len(size), dtype=torch.float64)
