"""Labels of stochastic amortization: exact in the mean over the draws of the Shapley kernel."""

from itertools import permutations
from math import comb, lcm

import pytest
import torch
from torch import Tensor

from seewhy.explainers.learned.noisy_shapley import noisy_shapley
from seewhy.masking.coalitions import kernel_sets


def table(p: int) -> tuple[Tensor, Tensor]:
    """All sets of p players, and a game that is not additive, of two classes."""
    sets = (torch.arange(2**p)[:, None] >> torch.arange(p)) % 2 == 1
    generator = torch.Generator().manual_seed(p)
    worth = torch.randn(p, 2, generator=generator, dtype=torch.float64)
    noise = torch.randn(2**p, 2, generator=generator, dtype=torch.float64)
    return sets, (sets.double() @ worth).sigmoid() + 0.3 * noise


def by_orders(p: int, values: Tensor) -> Tensor:
    """Shapley values by their definition: the mean over all orders of what a player adds to those before it."""
    found, orders = torch.zeros(p, values.shape[1], dtype=torch.float64), list(permutations(range(p)))
    for order in orders:
        before = 0
        for player in order:
            found[player] += values[before + 2**player] - values[before]
            before += 2**player
    return found / len(orders)


@pytest.mark.parametrize("p", [2, 3, 4, 6])
def test_the_mean_over_the_kernel_is_the_shapley_value(p: int) -> None:
    """Every set, repeated in proportion to its probability: no draw is left, and the values are exact."""
    sets, values = table(p)
    sizes = sets.sum(1).tolist()
    inner = [i for i, s in enumerate(sizes) if 0 < s < p]
    odds = [comb(p, sizes[i]) * sizes[i] * (p - sizes[i]) for i in inner]  # one over the probability, but for a factor
    times = torch.tensor([lcm(*odds) // one for one in odds])
    drawn = torch.tensor(inner).repeat_interleave(times)
    found = noisy_shapley(sets[drawn][None], values[drawn][None], values[:1], values[-1:])[0]
    torch.testing.assert_close(found, by_orders(p, values))


def test_any_number_of_sets_sums_to_the_whole_and_gets_better() -> None:
    _, values = table(6)
    exact, errors = by_orders(6, values), []
    for m in (8, 8192):
        kept = kernel_sets(m, 6, torch.Generator().manual_seed(0))
        index = (kept.long() << torch.arange(6)).sum(1)
        found = noisy_shapley(kept[None], values[index][None], values[:1], values[-1:])[0]
        torch.testing.assert_close(found.sum(0), values[-1] - values[0])
        errors.append(float((found - exact).square().mean()))
    assert errors[1] < errors[0] / 50


def test_a_game_of_equal_players_needs_no_luck() -> None:
    """The sets tell only what a player adds beyond its share of the whole, and here that is nothing."""
    kept = kernel_sets(2, 5, torch.Generator().manual_seed(0))
    values = kept.sum(1, keepdim=True).double() * 0.7 + 1
    found = noisy_shapley(kept[None], values[None], torch.tensor([[1.0]]).double(), torch.tensor([[4.5]]).double())
    torch.testing.assert_close(found, torch.full((1, 5, 1), 0.7, dtype=torch.float64))
