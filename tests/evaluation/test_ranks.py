"""Ranks are those of the means, their intervals those of the resamples."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from seewhy.errors import SeewhyError
from seewhy.evaluation.ranks import ranks

Array = NDArray[np.float64]


def some(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


@pytest.mark.parametrize("higher", [True, False])
def test_ranks_of_what_is_clear_and_of_what_is_tied(higher: bool) -> None:
    base = some(40)
    found = ranks({"low": base, "twin": base + 9, "other twin": base + 9, "mid": base + 5}, higher)
    assert list(found) == ["low", "twin", "other twin", "mid"]
    low, twins, mid, first = (4, 1.5, 3, 0.5) if higher else (1, 3.5, 2, 0)
    assert found["low"] == (low, low, low, low, 1 - 2 * first)
    assert found["twin"] == found["other twin"] == (twins, twins, twins, twins, first)
    assert found["mid"] == (mid, mid, mid, mid, 0)


def test_ranks_that_the_images_leave_open() -> None:
    """a is 1 above b on 60 images and 1 below on 40: the share of resamples in which it leads is that of a binomial."""
    wins = np.repeat([1.0, 0.0], [60, 40])
    found = ranks({"a": wins, "b": 1 - wins})
    ahead, tied = 1 - stats.binom.cdf(50, 100, 0.6), stats.binom.pmf(50, 100, 0.6)
    assert found["a"].first == pytest.approx(ahead + tied / 2, abs=0.01)
    assert found["a"].mean == pytest.approx(2 - found["a"].first)
    assert (found["a"].rank, found["a"].low, found["a"].high) == (1, 1, 1.5 if ahead + tied > 0.975 else 2)
    assert sum(r.first for r in found.values()) == pytest.approx(1)
    assert np.isnan(ranks({"a": [1], "b": [2]})["b"][1:]).all()
    assert ranks({"a": [1], "b": [2]})["b"].rank == 1


@pytest.mark.parametrize("owner", [None, np.arange(40) // 2])
def test_seeds_repeat_and_the_order_of_images_says_nothing(owner: Any) -> None:
    scores = {"a": some(40), "b": some(40, seed=1) + 0.5, "m": np.abs(some(40, seed=2)) + 1}
    order = np.random.default_rng(3).permutation(40)
    found = ranks(scores, images=owner)
    assert found == ranks(scores, images=owner)
    shuffled = {name: values[order] for name, values in scores.items()}
    assert found == ranks(shuffled, images=None if owner is None else owner[order])
    assert found != ranks(scores, seed=1, images=owner)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: ranks({}), "give the scores of at least one explainer"),
        (lambda: ranks({"a": [1, 2], "b": [np.nan, 1]}), "scores of b has 1 NaN"),
    ],
)
def test_what_cannot_be_computed_is_said_in_a_line(call: Callable[[], object], says: str) -> None:
    with pytest.raises(SeewhyError) as caught:
        call()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
