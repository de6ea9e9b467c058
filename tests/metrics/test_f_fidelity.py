"""F-Fidelity: against its expectation, counted over all sets; what it rewards; and how many players go."""

from itertools import combinations
from statistics import mean

import pytest
import torch
from support import metric_oracles as oracle
from support.metric_cases import SIZE
from support.metric_games import NETWORKS, additive_case, doubled, parts

from seewhy.metrics import metric
from seewhy.metrics.f_fidelity import some_of


def expected(v, order: list[int], alpha: float, beta: float, shares: tuple[float, ...]) -> tuple[float, float]:  # type: ignore[no-untyped-def]
    """FFid+ and FFid-: the mean over all sets of the size that is drawn."""
    p, plus, minus = len(order), [], []
    for share in shares:
        k = min(max(1, round(share * p)), p - 1)
        for found, group in ((plus, order[:k]), (minus, order[k:])):
            count = min(max(1, round(alpha * len(group))), max(1, int(beta * p)))
            found.append(mean(v(set(range(p))) - v(set(range(p)) - set(gone)) for gone in combinations(group, count)))
    return mean(plus), mean(minus)


@pytest.mark.parametrize("network", NETWORKS)
def test_the_mean_over_draws_is_the_expectation(network: str) -> None:
    case = doubled(network)
    options = {"size": 6, "n_draws": 150, "alpha": 0.5, "beta": 0.25, "shares": (0.3, 0.6), "baseline": "black"}
    got = {figure: metric("f_fidelity", figure=figure, **options).score(case) for figure in ("plus", "minus", "difference")}
    for i in range(len(case.images)):
        f, x, c, a, b = parts(case, i, "black")
        cells = oracle.patches(SIZE, SIZE, 6)

        def v(kept: set[int]) -> float:
            gone = [p for p in range(len(cells)) if p not in kept]  # noqa: B023
            return oracle.probability(f, oracle.without(x, b, cells, gone), c)  # noqa: B023

        plus, minus = expected(v, oracle.order_of(oracle.player_means(a, cells)), 0.5, 0.25, (0.3, 0.6))
        spread = max(abs(v(set(range(9))) - v(set(range(9)) - {j})) for j in range(9))
        assert float(got["plus"][i]) == pytest.approx(plus, abs=0.3 * spread)
        assert float(got["minus"][i]) == pytest.approx(minus, abs=0.3 * spread)
    torch.testing.assert_close(got["difference"], got["plus"] - got["minus"])


def test_an_additive_game_by_hand() -> None:
    """One of the best two goes, worth 8 or 4, or one of the others, worth 2 or 1: about 6 - 1.5, at least 4 - 2."""
    options = {"size": 2, "value": "logit", "shares": (0.5,), "n_draws": 1500}
    right = float(metric("f_fidelity", **options).score(additive_case([8.0, 4.0, 2.0, 1.0], [4.0, 3.0, 2.0, 1.0])))
    assert right == pytest.approx(4.5, abs=0.15)
    wrong = float(metric("f_fidelity", **options).score(additive_case([8.0, 4.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0])))
    assert wrong == pytest.approx(-4.5, abs=0.15)


def test_the_sets_are_uniform_in_their_group() -> None:
    group = torch.tensor([True, False, True, True, False, True])
    drawn = some_of(group, 2, 6000, torch.Generator().manual_seed(0))
    assert (drawn.sum(1) == 2).all()
    assert not drawn[:, ~group].any()
    torch.testing.assert_close(
        drawn[:, group].double().mean(0), torch.full((4,), 0.5, dtype=torch.float64), atol=0.03, rtol=0
    )


def test_beta_bounds_what_is_removed() -> None:
    """With beta of a quarter one of four goes; with beta of a half two of the best three do."""
    seen = []

    def value(images, players):  # type: ignore[no-untyped-def]
        def game(rows, kept):  # type: ignore[no-untyped-def]
            seen.extend((~kept).sum(1).tolist())
            return torch.zeros(len(rows), 2)

        return game

    for beta, most in ((0.25, 1), (0.5, 2)):
        seen.clear()
        case = additive_case([1.0, 1.0, 1.0, 1.0], [4.0, 3.0, 2.0, 1.0], value=value)
        metric("f_fidelity", size=2, alpha=1.0, beta=beta, shares=(0.75,)).score(case)
        assert max(seen) == most
