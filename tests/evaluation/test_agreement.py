"""Agreement of metrics is that of scipy, over explainers and image by image."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from seewhy.errors import SeewhyError
from seewhy.evaluation.agreement import agreement, agreement_by_image

ROW = {"a": [1.0, 2.0], "b": [2.0, 1.0]}


@pytest.mark.parametrize(("kind", "oracle"), [("kendall", stats.kendalltau), ("spearman", stats.spearmanr)])
def test_agreement_is_that_of_scipy(kind: Any, oracle: Any) -> None:
    random = np.random.default_rng(0)
    scores = {m: {f"e{i}": random.integers(0, 4, 25).astype(float) for i in range(6)} for m in ("up", "down", "open")}
    better = {"up": True, "down": False, "open": None}
    figures = {m: {e: float(v[0]) for e, v in row.items()} for m, row in scores.items()}
    one, each = agreement(figures, better, kind), agreement_by_image(scores, better, kind)
    table = {m: np.stack(list(row.values()), axis=1) * (-1 if m == "down" else 1) for m, row in scores.items()}
    for i, a in enumerate(scores):
        for j, b in enumerate(scores):
            by_image = [oracle(x, y).statistic for x, y in zip(table[a], table[b], strict=True)]
            assert one.values[i, j] == pytest.approx(by_image[0])
            assert each.values[i, j] == pytest.approx(np.mean(by_image))
    assert one.metrics == ("up", "down", "open")
    assert (each.n == 25).all()


def test_agreement_of_metrics_that_point_opposite_ways_and_of_ties() -> None:
    figures = {
        "gain": {"a": 1.0, "b": 2.0, "c": 3.0},
        "drop": {"c": 1.0, "b": 5.0, "a": 9.0},
        "flat": dict.fromkeys("abc", 0.0),
    }
    found = agreement(figures, {"gain": True, "drop": False, "flat": True})
    assert found.values[0, 1] == 1
    assert np.isnan(found.values[2]).all()
    assert found.n[0].tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: agreement({}, {}), "give at least one metric"),
        (lambda: agreement({"m": {"a": 1.0}}, {"m": True}), "agreement needs at least two explainers; there is 1"),
        (lambda: agreement({"m": {"a": 1.0, "b": 2.0}}, {}), "higher_is_better does not say of m"),
        (lambda: agreement({"m": {"a": 1.0, "b": np.nan}}, {"m": True}), "scores of b has 1 NaN"),
        (lambda: agreement_by_image({"m": ROW, "o": {"a": [1, 2]}}, {"m": True}), "o has the explainers a, and m a, b"),
        (
            lambda: agreement_by_image({"m": ROW, "o": {"a": [1], "b": [1]}}, {"m": True, "o": True}),
            "o has 1 images, and m 2",
        ),
    ],
)
def test_what_cannot_be_computed_is_said_in_a_line(call: Callable[[], object], says: str) -> None:
    with pytest.raises(SeewhyError) as caught:
        call()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
