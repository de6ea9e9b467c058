"""KernelSHAP (Lundberg & Lee, 2017), theorem 2, with the draw of Leverage SHAP (Musco & Witter, 2025)."""

from itertools import combinations
from math import comb
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from seewhy.explainers.options import Samples
from seewhy.explainers.perturbation.regression import CoalitionScores, Kept, PlayerRegression, Weights, least_squares
from seewhy.masking.coalitions import sets_of_sizes
from seewhy.options import Doc

Sampling = Annotated[
    Literal["leverage", "kernel"],
    Doc(
        'How coalitions are drawn where not all are run. "leverage": none twice, and all sizes equally often, as far as '
        'a size has so many. "kernel": sizes by the Shapley kernel, with replacement. Equal coalitions are run once.'
    ),
]


class KernelShap(PlayerRegression, name="kernel_shap", family="perturbation", paper="lundberg2017unified"):
    """Shapley values of the superpixels, by the weighted regression whose solution they are. Signed.

    The values sum to v(all) - v(none) exactly; a pixel shows its superpixel's value. All 2^p - 2 coalitions are run if they
    are not more than ``samples``, and the values are then exact. Else coalitions are drawn in pairs with their complements,
    which takes away most of the noise (Covert & Lee, 2021). Several classes come for the passes of one.

    The pairs are drawn by the leverage scores of the regression, without replacement (Leverage SHAP: Musco & Witter, 2025).
    The score of a coalition of s players is 1 / C(p, s), so that all sizes are drawn equally often. A coalition is drawn
    with the probability min(1, c / C(p, s)), and weighs in the regression by its kernel divided by this probability.

    Deviations: v(S) is the network on the image with the other players removed, no expectation over a data set; no lasso.
    The number of coalitions of a draw is fixed; in Leverage SHAP the expected number is.

    Args:
        samples: coalitions, besides the full and the empty one; several times the number of players.
    """

    samples: Samples = 1024
    sampling: Sampling = "leverage"

    def coalitions(self, p: int) -> tuple[Kept, Weights]:
        """The empty and the full coalition, which the constraint holds and no weight, then those of the regression."""
        draw = leverage_coalitions if self.sampling == "leverage" else sample_coalitions
        few = 2**p - 2 <= self.samples
        kept, weights = all_coalitions(p) if few else draw(p, max(self.samples // 2, 1), self.seed)
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
    size = sizes[torch.multinomial(1 / (sizes * (p - sizes)).double(), pairs, replacement=True, generator=generator)]
    kept = sets_of_sizes(size, p, generator)
    return torch.cat([kept, ~kept]), torch.ones(2 * len(size), dtype=torch.float64)


def leverage_coalitions(p: int, pairs: int, seed: int) -> tuple[Kept, Weights]:
    """Coalitions by their leverage scores 1 / C(p, s), none twice, each with its complement, and their weights.

    A coalition of s players is drawn with the probability min(1, c / C(p, s)), where c makes the expected number of pairs
    ``pairs``, which must be less than all of them. Its weight is the Shapley kernel divided by this probability,
    (p - 1) / (s (p - s) min(C(p, s), c)).
    """
    generator = torch.Generator().manual_seed(seed)
    c, halves = leverage_constant(p, pairs), range(1, p // 2 + 1)
    # min(C(p, s), c) pairs of sizes s and p - s, half of it where s = p - s; whole numbers with these means and their sum
    means = torch.tensor([min(comb(p, s), c) / (2 if 2 * s == p else 1) for s in halves], dtype=torch.float64)
    ends = (means.cumsum(0) + torch.rand((), generator=generator, dtype=torch.float64)).floor()
    ends[-1] = pairs  # but for rounding, it is
    counts = ends.diff(prepend=ends.new_zeros(1)).long().tolist()
    sets = [_different_sets(p, s, n, generator) for s, n in zip(halves, counts, strict=True)]
    weight = torch.tensor([(p - 1) / (s * (p - s) * min(comb(p, s), c)) for s in halves], dtype=torch.float64)
    kept, weights = torch.cat(sets), weight.repeat_interleave(torch.tensor(list(map(len, sets))))
    return torch.cat([kept, ~kept]), torch.cat([weights, weights])


def leverage_constant(p: int, pairs: int) -> float:
    """The c for which sum_s min(C(p, s), c), over the sizes s of 1 to p - 1, is twice the number of pairs."""
    left, sizes = 2.0 * pairs, p - 1
    for s in range(1, p // 2 + 1):  # smaller sizes have fewer coalitions: they are complete first
        alike = 1 if 2 * s == p else 2
        if comb(p, s) * sizes >= left:
            break
        left, sizes = left - alike * comb(p, s), sizes - alike
    return left / max(sizes, 1)


def _different_sets(p: int, s: int, n: int, generator: Generator) -> Kept:
    """n different sets of s of p players, all equally likely. Of a set and its complement, where s = p / 2, only one."""
    half = 2 * s == p
    total = comb(p, s) // 2 if half else comb(p, s)
    if total <= 4 * n:
        sets = list(combinations(range(p), s))[:total]  # of two halves of the players, the one that has player 0
        chosen = torch.tensor(sets)[torch.randperm(total, generator=generator)[:n]]
        return torch.zeros(len(chosen), p, dtype=torch.bool).scatter_(1, chosen, True)
    found: dict[bytes, Tensor] = {}
    while len(found) < n:
        drawn = sets_of_sizes(torch.full((n,), s), p, generator)
        drawn = drawn ^ ~drawn[:, :1] if half else drawn
        for one in drawn:
            found.setdefault(one.numpy().tobytes(), one)
    return torch.stack(list(found.values())[:n]) if n else torch.zeros(0, p, dtype=torch.bool)
