"""Shapley values of one game: exact, from permutations, and a cheap game's with a correction; with standard errors."""

from collections.abc import Callable
from dataclasses import dataclass
from math import comb

import torch
from jaxtyping import Float, Int
from scipy.special import stdtrit
from torch import Generator, Tensor

from seewhy.errors import SeewhyError
from seewhy.masking.coalitions import KeptPlayers as Sets
from seewhy.masking.coalitions import kernel_sets
from seewhy.masking.values import Game
from seewhy.types import Logits

SetScores = Float[Tensor, "m k"]
"""The scores of m sets, in float64 on the CPU, where the small sums are made."""
SetFunction = Callable[[Sets], SetScores]
"""v(S) of one image, for m sets of its players."""
PlayerScores = Float[Tensor, "p k"]

MOST_EXACT = 16
"""Players of a game that is asked for all its sets: 65,536 of them."""
SETS_AT_A_TIME = 256
LEAST_DRAWN = 8
"""Pairs of permutations before the width of an interval ends the draw: the errors of a few pairs are often too small."""
FOLDS = 8
"""Into which pairs of sets are divided, so that what is fitted to some of them is not measured on the same."""


@dataclass(frozen=True, eq=False)
class ShapleyValues:
    """Shapley values of p players for k scores, in float64, and how sure they are.

    values   (p, k)
    errors   (p, k) standard errors: the deviation of the value over other draws, estimated from these; 0 where exact
    draws    independent draws behind the errors; 0 where the values are exact
    calls    sets that the game was asked for
    """

    values: PlayerScores
    errors: PlayerScores
    draws: int
    calls: int

    def half_widths(self, share: float = 0.95) -> PlayerScores:
        """Half of the width of each interval that has the true value in ``share`` of all draws (Student's t)."""
        quantile = float(stdtrit(self.draws - 1, (1 + share) / 2)) if self.draws else 0.0
        return quantile * self.errors


def set_function(
    game: Game, image: int, read: Callable[[Logits], Float[Tensor, "r k"]], batch_size: int, device: torch.device
) -> SetFunction:
    """The game of one image of a batch as a set function: ``read`` makes scores of logits. Equal sets are asked once.

    The game lives on ``device``, with its images.
    """

    def scores(kept: Sets) -> SetScores:
        different, back = kept.unique(dim=0, return_inverse=True)
        rows = torch.full((len(different),), image, device=device)
        asked = zip(rows.split(batch_size), different.to(device).split(batch_size), strict=True)
        return torch.cat([read(game(*some)) for some in asked]).cpu().double()[back]

    return scores


def all_sets(p: int) -> Sets:
    """All 2^p sets: set number b has the players whose binary digit in b is 1."""
    if p > MOST_EXACT:
        raise SeewhyError(
            f"exact values of {p} players need 2^{p} sets: at most {MOST_EXACT} players are exact; give fewer, larger "
            "players with size=... (the side of a patch, or the number of superpixels), or take permutation_shapley"
        )
    return (torch.arange(2**p)[:, None] >> torch.arange(p)) % 2 == 1


def exact_values(v: SetFunction, p: int) -> ShapleyValues:
    """phi_i = sum over S without i of s! (p - s - 1)! / p! (v(S + i) - v(S)); s is the size of S (Shapley, 1953).

    Read for each set: v(S) counts 1 / (s C(p, s)) for a player in S, and -1 / ((p - s) C(p, s)) for another one.
    """
    kept = all_sets(p)
    scores, sizes = v(kept), kept.sum(1)
    inside = torch.tensor([0.0] + [1 / (s * comb(p, s)) for s in range(1, p + 1)], dtype=torch.float64)
    outside = torch.tensor([1 / ((p - s) * comb(p, s)) for s in range(p)] + [0.0], dtype=torch.float64)
    counts = torch.where(kept, inside[sizes][:, None], -outside[sizes][:, None])
    values = counts.T @ scores
    return ShapleyValues(values, torch.zeros_like(values), 0, 2**p)


def permutation_values(v: SetFunction, p: int, pairs: int, generator: Generator, width: float = 0.0) -> ShapleyValues:
    """The mean gain by each player over random orders in which players come, each order also backwards. Unbiased.

    The values sum to v(all) - v(none). Order and reverse are one draw: what is above in one is often below in the other.
    In the order, the first j players have come; in the reverse, all but these have. With D_j the difference of the two
    values, the mean gain by player j is (D_j - D_(j - 1)) / 2.

    Args:
        pairs: of permutations, at most; at least 2, for an error.
        width: ends as soon as no 95 % interval is wider than this share of the range of the values, for every score. 0: all
            pairs are drawn. The interval ends the draw and comes from it, so that it is a little too short. Not before 8
            pairs. The errors of a game whose gains are rare, such as a vote, are too small as long as no gain was seen.

    Source: Castro et al. (2009); pairs: Mitchell et al. (2022), section 4; the end: Covert and Lee (2021), section 4.3.
    """
    if p == 1:
        return exact_values(v, p)
    none, full = v(torch.tensor([[False], [True]]).expand(2, p))
    mean, squares, drawn = none.new_zeros(p, len(none)), none.new_zeros(p, len(none)), 0
    pairs, at_a_time = max(pairs, 2), max(SETS_AT_A_TIME // (2 * p), 1)
    while drawn < pairs:
        m = min(at_a_time, pairs - drawn)
        rank = torch.rand(m, p, generator=generator, dtype=torch.float64).argsort(1)
        ends = (full - none).expand(m, 1, -1)
        between = [_differences(v, rank, j) for j in torch.arange(1, p).split(SETS_AT_A_TIME)]
        gains = torch.cat([-ends, *between, ends], 1).diff(dim=1) / 2
        of_players = gains.gather(1, rank[..., None].expand_as(gains))
        here = of_players.mean(0)
        squares += (of_players - here).square().sum(0) + (here - mean).square() * drawn * m / (drawn + m)
        mean += (here - mean) * m / (drawn + m)
        drawn += m
        found = ShapleyValues(mean, (squares / max(drawn - 1, 1) / drawn).sqrt(), drawn, 2 + 2 * drawn * (p - 1))
        if width and drawn >= LEAST_DRAWN and narrow(found, width):
            break
    return found


def _differences(v: SetFunction, rank: Int[Tensor, "m p"], j: Int[Tensor, "some"]) -> Float[Tensor, "m some k"]:
    """D_j of each order: the value of the first j players less that of all others."""
    came = (rank[:, None] < j[:, None]).flatten(0, 1)
    asked = v(torch.cat([came, ~came])).view(2, len(rank), len(j), -1)
    return asked[0] - asked[1]


def narrow(found: ShapleyValues, width: float) -> bool:
    """Is each 95 % interval, of all players and scores, at most ``width`` times the range of the score's values?"""
    range_ = found.values.amax(0) - found.values.amin(0)
    return bool((2 * found.half_widths().amax(0) <= width * range_).all())


def kernel_values(v: SetFunction, p: int, pairs: int, generator: Generator, folds: int = FOLDS) -> ShapleyValues:
    """Shapley values from pairs of sets and complements, drawn by the Shapley kernel. Unbiased for any number of pairs.

    phi_i = (v(all) - v(none)) / p + H E[(z_i - s / p) (v(S) - v(not S))], where z_i says whether i is in S, s is the size
    of S, and H = 1 + 1/2 + ... + 1 / (p - 1). Every call says something of every player. So at equal calls the variance is
    H / p of that of permutations, where values of different sets have nothing to do with each other.

    What is additive in the game is noise here. So an additive game b is fitted to the pairs, and only phi(v - b) is sampled:
    phi(v) = b + phi(v - b). The b of a pair is fitted to the pairs of the other ``folds``, so that the values stay right on
    average.

    Args:
        pairs: at least 2, for an error.
        folds: into which the pairs are divided, of at least 2 pairs each; 1 fits nothing.

    Source: unbiased KernelSHAP (Covert and Lee, 2021, section 3.2), whose matrix has this inverse; the fit: Witter, Liu and
    Musco (2025).
    """
    if p == 1:
        return exact_values(v, p)
    none, full = v(torch.tensor([[False], [True]]).expand(2, p))
    pairs = max(pairs, 2)
    kept = kernel_sets(2 * pairs, p, generator)
    scores, half = v(kept), kept[:pairs].double()
    signs, away = 2 * half - 1, half - half.mean(1, keepdim=True)  # z_i - s / p
    differences = scores[:pairs] - scores[pairs:]
    harmonic = sum(1 / s for s in range(1, p))
    mean, squares = full.new_zeros(p, len(full)), full.new_zeros(p, len(full))
    fold = torch.arange(pairs) % max(min(folds, pairs // 2), 1)
    for f in fold.unique():
        here = fold == f
        additive = additive_fit(signs[~here], away[~here], differences[~here])
        left = differences[here] - signs[here] @ additive
        base = additive + (full - none - additive.sum(0)) / p
        drawn = harmonic * away[here].T @ left
        mean += (here.sum() * base + drawn) / pairs
        squares += here.sum() * base.square() + 2 * base * drawn + harmonic**2 * away[here].square().T @ left.square()
    variance = (squares / pairs - mean.square()).clamp_min(0) / (pairs - 1)
    return ShapleyValues(mean, variance.sqrt(), pairs, 2 + 2 * pairs)


def additive_fit(signs: Float[Tensor, "m p"], away: Float[Tensor, "m p"], differences: SetScores) -> PlayerScores:
    """The additive game nearest to m pairs, by ridge regression: 0 where none predicts a pair that it has not seen.

    A pair weighs what its residual adds to the variance of ``kernel_values``: the sum of (z_i - s / p)^2. The penalty is
    the one of a few with the least error on pairs that are left out, one at a time, for each score.
    """
    m, p = signs.shape
    best = signs.new_zeros(p, differences.shape[1])
    if m == 0:
        return best
    root = away.square().sum(1, keepdim=True).sqrt()
    u, s, vt = torch.linalg.svd(root * signs, full_matrices=False)
    y = root * differences
    least, turned = y.square().sum(0), u.T @ y
    for penalty in (s.square().mean() * 10.0**power for power in range(-4, 3)):
        shrink = s.square() / (s.square() + penalty)
        out = (y - u @ (shrink[:, None] * turned)) / (1 - u.square() @ shrink).clamp_min(1e-9)[:, None]
        error = out.square().sum(0)
        fitted = vt.T @ ((s / (s.square() + penalty))[:, None] * turned)
        best, least = torch.where(error < least, fitted, best), torch.minimum(error, least)
    return best


def corrected_values(
    u: SetFunction, v: SetFunction, p: int, calls: int, generator: Generator, u_pairs: int = 128
) -> ShapleyValues:
    """Shapley values of v, from few calls of v and a cheap game u that is near it. Unbiased, whatever u is.

    Shapley values are linear in the game: phi(v) = phi(u) + phi(v - u). Those of u come from ``u_pairs`` pairs of
    permutations. Those of the difference, which is small, come from ``calls`` sets (see ``kernel_values``).

    Args:
        u: the cheap game, such as u(S) of Salvage. Its calls are not counted.
        v: the game.
        calls: sets that v is asked for, besides the empty and the full one; at least 4. Where these are all sets, the
            values are exact.

    Source: Witter, Liu and Musco (2025), where u is fitted to the calls themselves.
    """
    if 2**p - 2 <= calls and p <= MOST_EXACT:
        return exact_values(v, p)
    cheap = permutation_values(u, p, u_pairs, generator)
    rest = kernel_values(lambda kept: v(kept) - u(kept), p, calls // 2, generator)
    errors = (cheap.errors.square() + rest.errors.square()).sqrt()
    return ShapleyValues(cheap.values + rest.values, errors, rest.draws, rest.calls)
