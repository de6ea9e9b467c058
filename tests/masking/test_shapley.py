"""Shapley values: the definition written again, games whose values are known, and estimates that are right on average."""

from collections.abc import Callable
from functools import partial
from itertools import permutations

import pytest
import torch
from torch import Generator, Tensor

from seewhy.errors import SeewhyError
from seewhy.masking.coalitions import kernel_sets
from seewhy.masking.shapley import (
    ShapleyValues,
    all_sets,
    corrected_values,
    exact_values,
    kernel_values,
    permutation_values,
    set_function,
)

P = 7


def seeded(seed: int) -> Generator:
    return torch.Generator().manual_seed(seed)


class Table:
    """A game of which every value is written down; it counts what it is asked."""

    def __init__(self, values: Tensor) -> None:
        self.values, self.asked = values.double(), 0
        self.p = (len(values) - 1).bit_length()

    def __call__(self, kept: Tensor) -> Tensor:
        self.asked += len(kept)
        return self.values[(kept.long() << torch.arange(self.p)).sum(1)]


def noise(p: int = P, k: int = 2, seed: int = 0) -> Table:
    return Table(torch.randn(2**p, k, generator=seeded(seed), dtype=torch.float64))


def by_orders(v: Callable[[Tensor], Tensor], p: int) -> Tensor:
    """The definition: the mean gain by a player over all orders in which players come."""
    found, orders = torch.zeros_like(v(torch.zeros(p, p, dtype=torch.bool))), list(permutations(range(p)))
    for order in orders:
        kept = torch.zeros(1, p, dtype=torch.bool)
        before = v(kept)[0]
        for i in order:
            kept[0, i] = True
            after = v(kept)[0]
            found[i] += (after - before) / len(orders)
            before = after
    return found


def test_exact_values_are_the_definition() -> None:
    for p in (1, 2, 5):
        game = noise(p, seed=p)
        found = exact_values(game, p)
        torch.testing.assert_close(found.values, by_orders(game, p), rtol=0, atol=1e-12)
        assert not found.errors.any()
        assert not found.half_widths().any()


AIRPORT = torch.tensor([1.0, 2.0, 2.0, 5.0])
GAMES: dict[str, tuple[Callable[[Tensor], Tensor], list[float]]] = {
    # the runway of the largest plane; each piece is shared by all planes that need it (Littlechild and Owen, 1973)
    "airport": (lambda s: (s * AIRPORT).amax(1), [1 / 4, 1 / 4 + 1 / 3, 1 / 4 + 1 / 3, 1 / 4 + 1 / 3 + 3]),
    "glove: one left, three right": (lambda s: (s[:, 0] & s[:, 1:].any(1)).double(), [3 / 4, 1 / 12, 1 / 12, 1 / 12]),
    "unanimity of the players 1 and 3": (lambda s: (s[:, 1] & s[:, 3]).double(), [0, 1 / 2, 0, 1 / 2]),
    "majority of weights 3, 1, 1, 1": (
        lambda s: (s @ torch.tensor([3.0, 1, 1, 1]) > 3).double(),
        [3 / 4, 1 / 12, 1 / 12, 1 / 12],
    ),
    "additive": (lambda s: s @ torch.tensor([1.0, -2, 0, 4]) + 7, [1, -2, 0, 4]),
}


@pytest.mark.parametrize("name", GAMES)
def test_games_with_known_values(name: str) -> None:
    """Exact values are these; each estimate comes to them, and is within its own errors."""
    game, known = GAMES[name]

    def v(kept: Tensor) -> Tensor:
        asked = kept if name.startswith(("glove", "unanimity")) else kept.float()
        return game(asked).double()[:, None]

    def cheap(kept: Tensor) -> Tensor:
        return kept.sum(1, keepdim=True).double()

    truth = torch.tensor(known, dtype=torch.float64)[:, None]
    torch.testing.assert_close(exact_values(v, 4).values, truth, rtol=0, atol=1e-6)
    for found in (
        permutation_values(v, 4, 400, seeded(1)),
        kernel_values(v, 4, 4000, seeded(2)),
        corrected_values(cheap, v, 4, 12, seeded(3)),
        corrected_values(cheap, v, 4, 14, seeded(3)),
    ):
        assert ((found.values - truth).abs() <= 5 * found.errors + 1e-6).all()
        torch.testing.assert_close(found.values.sum(0), truth.sum(0), rtol=0, atol=1e-6)


def test_permutations_of_an_additive_game_are_exact() -> None:
    worth = torch.randn(40, 3, generator=seeded(0), dtype=torch.float64)
    found = permutation_values(lambda s: s.double() @ worth - 2, 40, 2, seeded(1))
    torch.testing.assert_close(found.values, worth, rtol=0, atol=1e-12)
    assert found.errors.max() < 1e-12


def test_permutation_values_are_the_mean_gains_of_both_orders() -> None:
    """Written again, draw by draw: 50 pairs, more than are asked at a time."""
    game, m = noise(), 50
    found = permutation_values(game, P, m, seeded(4))
    generator, draws = seeded(4), torch.zeros(m, P, 2, dtype=torch.float64)
    chunk = 256 // (2 * P)
    ranks = torch.cat(
        [torch.rand(min(chunk, m - a), P, generator=generator, dtype=torch.float64).argsort(1) for a in range(0, m, chunk)]
    )
    for j, rank in enumerate(ranks.tolist()):
        order = sorted(range(P), key=rank.__getitem__)
        for way in (order, order[::-1]):
            kept = torch.zeros(1, P, dtype=torch.bool)
            for i in way:
                before = game(kept)[0]
                kept[0, i] = True
                draws[j, i] += (game(kept)[0] - before) / 2
    torch.testing.assert_close(found.values, draws.mean(0), rtol=0, atol=1e-12)
    torch.testing.assert_close(found.errors, draws.std(0) / m**0.5, rtol=0, atol=1e-12)
    assert found.draws == m


def test_kernel_values_are_the_mean_over_pairs_of_sets() -> None:
    """Written again: equation 9 of Covert and Lee, (A and b with the constraint) with the exact A, solved."""
    game, m = noise(), 30
    found = kernel_values(game, P, m, seeded(5), folds=1)
    sets = kernel_sets(2 * m, P, seeded(5))
    everything = all_sets(P)[1:-1].double()
    size = everything.sum(1)
    weight = torch.tensor([1 / (torch.combinations(torch.arange(P), int(s)).shape[0] * s * (P - s)) for s in size.tolist()])
    weight = (weight / weight.sum()).double()
    a = (everything.T * weight) @ everything
    none, full = game.values[0], game.values[-1]
    b = torch.zeros(P, 2, dtype=torch.float64)
    draws = []
    for j in range(m):
        pair = torch.zeros(P, 2, dtype=torch.float64)
        for s in (sets[j], sets[m + j]):
            pair += torch.outer(s.double(), game(s[None])[0] - none) / 2
        draws.append(solved(a, pair, full - none))
        b += pair / m
    torch.testing.assert_close(found.values, solved(a, b, full - none), rtol=0, atol=1e-7)
    torch.testing.assert_close(found.errors, torch.stack(draws).std(0) / m**0.5, rtol=0, atol=1e-7)


def test_an_additive_game_is_fitted_to_the_other_folds() -> None:
    """Written again: ridge regressions in loops, each penalty tried on each pair that is left out, for each score."""
    worth = all_sets(P).double() @ torch.randn(P, 2, generator=seeded(1), dtype=torch.float64)
    game, m = Table(worth + 0.3 * noise().values), 24
    found = kernel_values(game, P, m, seeded(5))
    sets = kernel_sets(2 * m, P, seeded(5))
    z = sets[:m].double()
    x, away = 2 * z - 1, z - z.mean(1, keepdim=True)
    d = game(sets[:m]) - game(sets[m:])
    total, harmonic = game.values[-1] - game.values[0], sum(1 / s for s in range(1, P))
    draws = torch.zeros(m, P, 2, dtype=torch.float64)
    for f in range(8):
        others = [j for j in range(m) if j % 8 != f]
        root = away[others].square().sum(1).sqrt()[:, None]
        rows, y = root * x[others], root * d[others]
        for c in range(2):
            fits = [(float(y[:, c].square().sum()), torch.zeros(P, dtype=torch.float64))]
            mean_square = torch.linalg.svdvals(rows).square().mean()
            for power in range(-4, 3):
                penalty, missed = float(mean_square) * 10.0**power, 0.0
                for j in range(len(others)):
                    some = [i for i in range(len(others)) if i != j]
                    missed += float(y[j, c] - rows[j] @ ridge(rows[some], y[some, c], penalty)) ** 2
                fits.append((missed, ridge(rows, y[:, c], penalty)))
            b = min(fits, key=lambda fit: fit[0])[1]
            assert b.any()
            for j in range(f, m, 8):
                rest = harmonic * away[j] * (d[j, c] - x[j] @ b)
                draws[j, :, c] = b + (total[c] - b.sum()) / P + rest
    torch.testing.assert_close(found.values, draws.mean(0), rtol=0, atol=1e-9)
    torch.testing.assert_close(found.errors, draws.std(0) / m**0.5, rtol=0, atol=1e-9)


def ridge(x: Tensor, y: Tensor, penalty: float) -> Tensor:
    return torch.linalg.solve(x.T @ x + penalty * torch.eye(x.shape[1], dtype=x.dtype), x.T @ y)


def test_the_fit_takes_the_noise_of_an_additive_game_away() -> None:
    worth = torch.randn(30, 2, generator=seeded(0), dtype=torch.float64)

    def v(kept: Tensor) -> Tensor:
        return kept.double() @ worth - 3

    plain, fitted = (kernel_values(v, 30, 120, seeded(1), folds) for folds in (1, 8))
    assert (fitted.values - worth).abs().max() < 1e-3
    assert fitted.errors.max() < 1e-3
    assert (plain.values - worth).abs().max() > 0.1


def solved(a: Tensor, b: Tensor, total: Tensor) -> Tensor:
    """argmin of phi A phi / 2 - b phi under sum phi = total."""
    inverse, one = a.inverse(), torch.ones(len(a), 1, dtype=torch.float64)
    return inverse @ (b - one @ ((one.T @ inverse @ b - total) / (one.T @ inverse @ one)))


def estimates() -> dict[str, Callable[[Table, int], ShapleyValues]]:
    wrong = torch.randn(2**P, 2, generator=seeded(9), dtype=torch.float64)
    return {
        "permutations": lambda v, s: permutation_values(v, P, 12, seeded(s)),
        "kernel": lambda v, s: kernel_values(v, P, 30, seeded(s), folds=1),
        "kernel with a fit": lambda v, s: kernel_values(v, P, 30, seeded(s)),
        "corrected by a game near it": lambda v, s: corrected_values(Table(v.values + 0.1 * wrong), v, P, 60, seeded(s)),
        "corrected by another game": lambda v, s: corrected_values(Table(wrong), v, P, 60, seeded(s), u_pairs=20),
    }


@pytest.mark.parametrize("name", list(estimates()))
def test_estimates_are_unbiased_and_their_errors_are_true(name: str) -> None:
    """Over 400 draws: the mean is the exact value, the errors are the deviation, the intervals hold 95 %."""
    game = noise()
    exact = exact_values(game, P).values
    found = [estimates()[name](game, s) for s in range(400)]
    values = torch.stack([x.values for x in found])
    deviation = values.std(0)
    z = (values.mean(0) - exact) / (deviation / 20)
    assert z.abs().max() < 3.6  # of 14 numbers; a bias of a fifth of the deviation is 4
    told = torch.stack([x.errors for x in found]).square().mean(0).sqrt()
    torch.testing.assert_close(told, deviation, rtol=0.15, atol=0)
    held = ((values - exact).abs() <= torch.stack([x.half_widths() for x in found])).double().mean()
    assert 0.93 <= held <= 0.97


def test_a_near_game_takes_the_error_away() -> None:
    game, wrong = noise(), noise(seed=9)
    near = corrected_values(Table(game.values + 0.02 * wrong.values), game, P, 60, seeded(0), u_pairs=4000)
    alone = kernel_values(game, P, 30, seeded(0))
    assert near.calls == alone.calls == 62
    assert near.errors.mean() < 0.1 * alone.errors.mean()


def test_of_the_same_game_nothing_is_left_to_correct() -> None:
    game = noise()
    found = corrected_values(game, game, P, 20, seeded(0))
    alone = permutation_values(game, P, 128, seeded(0))
    torch.testing.assert_close(found.values, alone.values, rtol=0, atol=1e-12)
    torch.testing.assert_close(found.errors, alone.errors, rtol=0, atol=1e-12)


def test_of_noise_the_kernel_has_less_variance_than_permutations() -> None:
    """H / p of it at equal calls, up to what 300 draws of 10 players leave open."""
    p = 10
    variances = []
    of_pairs = partial(kernel_values, folds=1)
    for estimate, pairs in ((permutation_values, 10), (of_pairs, 90)):
        found = [estimate(noise(p, 1, s), p, pairs, seeded(s)) for s in range(300)]
        exact = [exact_values(noise(p, 1, s), p).values for s in range(300)]
        assert found[0].calls == 182
        variances.append(float(torch.stack([a.values - b for a, b in zip(found, exact, strict=True)]).square().mean()))
    assert variances[1] / variances[0] == pytest.approx(sum(1 / s for s in range(1, p)) / p, rel=0.2)


def test_a_draw_ends_at_the_wanted_width() -> None:
    game = Table(noise(8, 2).values + all_sets(8).double() @ torch.linspace(-3, 3, 8, dtype=torch.float64)[:, None])
    calls = []
    for width in (0.5, 0.2, 0.1):
        game.asked = 0
        found = permutation_values(game, 8, 100_000, seeded(0), width)
        assert game.asked == found.calls == 2 + 14 * found.draws
        wide, range_ = 2 * found.half_widths().amax(0), found.values.amax(0) - found.values.amin(0)
        assert (wide <= width * range_).all()
        calls.append(found.calls)
    assert calls[0] < calls[1] < calls[2] < 14 * 100_000
    assert calls[2] / calls[1] == pytest.approx(4, rel=0.5)  # half the width takes four times the calls
    most = permutation_values(game, 8, 20, seeded(0), 1e-9)
    assert most.draws == 20


def test_half_widths_are_students() -> None:
    found = ShapleyValues(torch.zeros(1, 1, dtype=torch.float64), torch.ones(1, 1, dtype=torch.float64), 5, 0)
    assert float(found.half_widths()) == pytest.approx(2.776, abs=1e-3)  # four degrees of freedom
    assert float(found.half_widths(0.9)) == pytest.approx(2.132, abs=1e-3)


def test_one_player_gets_everything() -> None:
    game = noise(1)
    for found in (
        permutation_values(game, 1, 3, seeded(0)),
        kernel_values(game, 1, 3, seeded(0)),
        corrected_values(game, game, 1, 4, seeded(0)),
    ):
        torch.testing.assert_close(found.values[0], game.values[1] - game.values[0])
        assert not found.errors.any()


def test_a_set_function_asks_its_image_and_equal_sets_once() -> None:
    seen: list[tuple[list[int], int]] = []

    def game(rows: Tensor, kept: Tensor) -> Tensor:
        seen.append((rows.tolist(), len(kept)))
        return torch.stack([kept.sum(1), rows], 1).float()

    v = set_function(game, 2, lambda logits: 10 * logits, batch_size=2, device=torch.device("cpu"))
    kept = torch.tensor([[1, 1, 0], [0, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]]).bool()
    assert v(kept).tolist() == [[20, 20], [0, 20], [20, 20], [10, 20], [0, 20]]
    assert seen == [([2, 2], 2), ([2], 1)]


def test_too_many_players_for_all_sets() -> None:
    with pytest.raises(SeewhyError, match=r"exact values of 17 players need 2\^17 sets: at most 16"):
        exact_values(noise(2), 17)
