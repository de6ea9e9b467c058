"""Random sets of players: their sizes and their members against the distributions that the papers write down."""

from collections.abc import Callable
from itertools import combinations, permutations
from math import comb

import pytest
import torch
from scipy.stats import chisquare
from torch import Tensor

from seewhy.errors import SeewhyError
from seewhy.masking.coalitions import LEAST_WEIGHT, guided_sets, kernel_sets, released_sets, sets_of_sizes, uniform_sets

Draw = Callable[[int, int, torch.Generator], Tensor]
M, P = 40_000, 5
LEAST_P = 1e-3
"""The seeds are fixed, so that a test does not fail by chance; a wrong distribution of so many sets is far below this."""


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def fits(found: Tensor, probabilities: list[float]) -> bool:
    """Chi-square: do counts (cells,) come from these probabilities? A cell of probability 0 must be empty."""
    expected = torch.tensor(probabilities, dtype=torch.float64)
    assert abs(float(expected.sum()) - 1) < 1e-12
    assert not found[expected == 0].any()
    some = expected > 0
    return bool(chisquare(found[some].numpy(), (expected[some] * found.sum()).numpy()).pvalue > LEAST_P)


def numbers(sets: Tensor) -> Tensor:
    """How often each of the 2^p sets is there, by its number: player i is bit i."""
    return (sets.long() << torch.arange(sets.shape[1])).sum(1).bincount(minlength=2 ** sets.shape[1])


def by_size(p: int, of_size: list[float]) -> list[float]:
    """The probability of each of the 2^p sets: that of its size, shared out evenly."""
    return [of_size[s.bit_count()] / comb(p, s.bit_count()) for s in range(2**p)]


def shapley_kernel(p: int) -> list[float]:
    """Of each size 0 to p: the kernel of a set (Lundberg and Lee, eq. 6) times the number of sets, to the sum of 1."""
    weights = [0.0] + [(p - 1) / (comb(p, s) * s * (p - s)) * comb(p, s) for s in range(1, p)] + [0.0]
    return [w / sum(weights) for w in weights]


def released(p: int) -> list[float]:
    """Of each size: a mixture of binomials with the rates 1 - j / p, and the same for the complements."""
    kernel, sizes = shapley_kernel(p), [0.0] * (p + 1)
    for j in range(p - 1):
        rate = 1 - j / p
        for s in range(p + 1):
            share = kernel[j + 1] * comb(p, s) * rate**s * (1 - rate) ** (p - s)
            sizes[s] += share / 2
            sizes[p - s] += share / 2
    return sizes


@pytest.mark.parametrize(
    ("draw", "sizes"),
    [(uniform_sets, [1 / (P + 1)] * (P + 1)), (kernel_sets, shapley_kernel(P)), (released_sets, released(P))],
)
def test_every_set_has_the_probability_of_its_distribution(draw: Draw, sizes: list[float]) -> None:
    """Each half by itself: a set and its partner are not independent."""
    sets = draw(M, P, seeded())
    for half in sets.split(M // 2):
        if draw is released_sets:  # the halves have different distributions, and the mixture is what is trained on
            continue
        assert fits(numbers(half), by_size(P, sizes))
    if draw is released_sets:
        first = sets[: M // 2]  # one of each pair, by the toss of a coin
        coin = torch.rand(len(first), 1, generator=seeded(1)) < 0.5
        assert fits(numbers(torch.where(coin, first, ~first)), by_size(P, sizes))
    wrong = [1 / (P + 1)] * (P + 1) if draw is not uniform_sets else shapley_kernel(P)
    wrong = [(w + 0.01) / (1 + 0.01 * (P + 1)) for w in wrong]
    assert not fits(numbers(sets), by_size(P, wrong))


@pytest.mark.parametrize("draw", [uniform_sets, kernel_sets, released_sets])
def test_every_player_is_in_half_of_the_sets(draw: Draw) -> None:
    """At the size of a real network, where sets cannot be counted. Sizes are halved: no size is preferred."""
    sets = draw(4000, 144, seeded())
    assert (sets.float().mean(0) - 0.5).abs().max() < 5 * 0.5 / 4000**0.5
    assert abs(float(sets.float().mean()) - 0.5) < 1e-3  # by the partners, far nearer than chance


@pytest.mark.parametrize("m", [1, 2, 7, 8])
def test_sizes_of_partners_add_up_to_all_players(m: int) -> None:
    half = (m + 1) // 2
    scores = torch.rand(3, 9, generator=seeded())
    found = [uniform_sets(m, 9, seeded()), kernel_sets(m, 9, seeded()), *guided_sets(scores, m, seeded())]
    for sets in found:
        assert sets.shape == (m, 9)
        sizes = sets.sum(1)
        assert torch.equal(sizes[half:], 9 - sizes[: m - half])
    for draw in (kernel_sets, released_sets):
        sets = draw(m, 9, seeded())
        assert torch.equal(sets[half:], ~sets[: m - half])


def test_the_released_sampler_draws_empty_and_full_sets_as_was_measured_of_it() -> None:
    """Of the released code: 6.0 % each with 196 players, 11 % with 16; the kernel never draws them."""
    for p, share in ((196, 0.060), (16, 0.11)):
        sizes = released_sets(M, p, seeded()).sum(1)
        for end in (0, p):
            assert abs(float((sizes == end).float().mean()) - share) < 0.006
        kernel = kernel_sets(2000, p, seeded()).sum(1)
        assert kernel.min() >= 1
        assert kernel.max() <= p - 1


def drawn_by_hand(weights: list[float]) -> dict[tuple[int, frozenset[int]], float]:
    """The probability of each set of each size, where players are drawn one after another in proportion to weights."""
    found: dict[tuple[int, frozenset[int]], float] = {}
    for order in permutations(range(len(weights))):
        for size in range(1, len(weights) + 1):
            left, chance = sum(weights), 1.0
            for player in order[:size]:
                chance *= weights[player] / left
                left -= weights[player]
            key = (size, frozenset(order[:size]))
            found[key] = found.get(key, 0.0) + chance / len(list(permutations(range(len(weights) - size))))
    return found


@pytest.mark.parametrize("focus", [0.0, 1.0, 2.0])
def test_guided_sets_are_drawn_without_replacement_in_proportion_to_scores(focus: float) -> None:
    """Against all orders of drawing, one after another. The first half reveals what is drawn, the second hides it."""
    scores = torch.tensor([[-1.0, 0.0, 2.0, 1.0]])  # min-max: 0, 1/3, 1, 2/3
    weights = [(w + LEAST_WEIGHT) ** focus for w in (0, 1 / 3, 1, 2 / 3)]
    by_hand = drawn_by_hand(weights)
    expected = [0.0] * 16
    for size in range(1, 5):
        for members in combinations(range(4), size):
            expected[sum(2**i for i in members)] += by_hand[size, frozenset(members)] / 4
    reveals, hides = guided_sets(scores, M, seeded(), focus)[0].split(M // 2)
    rare = torch.tensor(expected) < 1e-4  # what only the least weight allows: too few for a chi-square
    for found in (reveals, ~hides):
        counts = numbers(found)
        assert counts[rare].sum() < 20
        some = [0.0 if r else e for e, r in zip(expected, rare.tolist(), strict=True)]
        assert fits(torch.where(rare, 0, counts), [e / sum(some) for e in some])
    assert not torch.equal(reveals, ~hides)  # a second drawing, not the complement of the first


def test_guided_sets_of_equal_scores_are_uniform_and_of_a_batch_each_by_its_own() -> None:
    scores = torch.stack([torch.zeros(4), torch.tensor([0.0, 0.0, 0.0, 1.0])])
    flat, peaked = guided_sets(scores, M, seeded())
    assert fits(numbers(flat[: M // 2]), by_size(4, [0.0] + [0.25] * 4))
    assert peaked[: M // 2, 3].float().mean() > 0.999
    assert peaked[M // 2 :, 3].float().mean() < 0.001


def test_the_same_generator_draws_the_same_and_another_one_does_not() -> None:
    scores = torch.rand(2, 9, generator=seeded())
    for draw in (uniform_sets, kernel_sets, released_sets, lambda m, p, g: guided_sets(scores, m, g)):
        assert torch.equal(draw(16, 9, seeded(3)), draw(16, 9, seeded(3)))
        assert not torch.equal(draw(16, 9, seeded(3)), draw(16, 9, seeded(4)))


def test_sets_of_sizes_have_these_sizes_and_are_uniform_among_them() -> None:
    sizes = torch.arange(6).repeat(M // 6)
    sets = sets_of_sizes(sizes, 5, seeded())
    assert torch.equal(sets.sum(1), sizes)
    assert fits(numbers(sets[sizes == 2]), [0.1 if s.bit_count() == 2 else 0.0 for s in range(32)])


@pytest.mark.parametrize("draw", [kernel_sets, released_sets])
def test_the_kernel_of_a_single_player_is_one_line(draw: Draw) -> None:
    with pytest.raises(SeewhyError, match="at least 2 players, not 1"):
        draw(4, 1, seeded())
