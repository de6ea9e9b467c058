"""Intervals hold what they claim, p-values are uniform under the null, and the order of the images has no influence."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from seewhy.errors import SeewhyError
from seewhy.evaluation.statistics import (
    compare,
    compare_all,
    figure_interval,
    holm,
    mean_interval,
    mean_intervals,
    median_interval,
)

Array = NDArray[np.float64]
REPEATS = 2_000
DRAWS: dict[str, tuple[Callable[[np.random.Generator, Any], Any], float, float]] = {
    "normal": (lambda random, shape: random.normal(size=shape), 0, 0),
    "uniform": (lambda random, shape: random.random(shape), 0.5, 0.5),
    "bernoulli": (lambda random, shape: (random.random(shape) < 0.3).astype(float), 0.3, 0),
    "exponential": (lambda random, shape: random.exponential(size=shape), 1, np.log(2)),
}
"""Scores, their mean and their median."""


def some(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=shape)


# -- intervals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [30, 50, 200])
@pytest.mark.parametrize("kind", DRAWS)
def test_95_percent_intervals_hold_the_mean_in_95_percent(kind: str, n: int) -> None:
    """Skewed scores at n = 30 are the one cell that does not reach 93 % for certain: no less than 91.5 % there."""
    draw, mean, _ = DRAWS[kind]
    found = np.array(mean_intervals(draw(np.random.default_rng(n), (n, REPEATS)), trials=5_000))
    share = ((found[:, 1] <= mean) & (mean <= found[:, 2])).mean()
    assert (0.915 if (kind, n) == ("exponential", 30) else 0.93) <= share <= 0.97


@pytest.mark.parametrize(("kind", "n"), [("normal", 30), ("uniform", 51), ("exponential", 50)])
def test_intervals_hold_the_median(kind: str, n: int) -> None:
    draw, _, median = DRAWS[kind]
    columns = draw(np.random.default_rng(n), (n, 1_000)).T
    found = [median_interval(column, trials=400) for column in columns]
    assert 0.93 <= np.mean([e.low <= median <= e.high for e in found]) <= 0.975
    assert found[0].value == np.median(columns[0])


def f1(counts: Array) -> float:
    tp, fp, fn = counts.sum(0)
    return float(2 * tp / max(2 * tp + fp + fn, 1))


def test_intervals_of_a_figure_of_the_dataset() -> None:
    """True positives half the time, false positives in 0.2, false negatives in 0.4: F1 = 1 / 1.6."""
    random, hits = np.random.default_rng(0), 0
    for _ in range(500):
        u = random.random(100)
        found = figure_interval(np.stack([u < 0.5, (u >= 0.5) & (u < 0.7), u >= 0.6], axis=1), f1, trials=300)
        hits += found.low <= 1 / 1.6 <= found.high
    assert 0.92 <= hits / 500 <= 0.98


def test_the_figure_of_the_mean_is_the_mean() -> None:
    scores = some(40)
    one, other = mean_interval(scores), figure_interval(scores, lambda s: float(s.mean()), trials=10_000)
    np.testing.assert_allclose(one, other, rtol=1e-9)


def test_width_is_that_of_student() -> None:
    scores = some(500)
    found = mean_interval(scores, level=0.9)
    half = stats.t.ppf(0.95, 499) * scores.std(ddof=1) / np.sqrt(500)
    np.testing.assert_allclose([found.low, found.high], [scores.mean() - half, scores.mean() + half], atol=0.04 * half)


@pytest.mark.parametrize("of", [mean_interval, median_interval, lambda s: figure_interval(s, lambda x: float(np.mean(x)))])
def test_one_image_has_no_interval_and_constant_scores_have_no_width(of: Any) -> None:
    assert of([3.0])[0] == 3
    assert np.isnan(of([3.0])[1:3]).all()
    assert of([3.0]).n == 1
    assert of([0.1] * 7) == pytest.approx((0.1, 0.1, 0.1, 7))
    assert of([0.1] * 7).low == of([0.1] * 7).high


def test_rows_of_one_image_are_drawn_together() -> None:
    """Each score ten times over says no more than once."""
    scores = some(30)
    once, ten = (
        mean_interval(scores),
        mean_interval(np.repeat(scores, 10), images=[f"i{k}" for k in np.repeat(range(30), 10)]),
    )
    np.testing.assert_allclose(once, ten, rtol=1e-9)
    assert compare(scores, 0 * scores).p == compare(np.repeat(scores, 10), np.zeros(300), images=np.repeat(range(30), 10)).p
    rows, owner = some(50, 2), (np.arange(50) ** 2 // 90).tolist()  # from 10 rows for an image to 1
    mean = figure_interval(rows, lambda s: float(s[:, 0].mean()), trials=10_000, images=owner)
    np.testing.assert_allclose(mean_interval(rows[:, 0], images=owner), mean, atol=0.02)
    assert mean.value == pytest.approx(rows[:, 0].mean())
    assert mean.n == len(set(owner))


# -- comparisons --------------------------------------------------------------------------------------------------------


def test_p_values_are_uniform_when_nothing_differs() -> None:
    """Also of images that are far apart and of explainers that go together; small and large n."""
    random = np.random.default_rng(0)
    for n in (8, 40):
        level = random.normal(size=(600, n)) * 5
        a, b = (level + random.exponential(size=(600, n)) for _ in range(2))
        ps = np.array([compare(x, y, trials=500).p for x, y in zip(a, b, strict=True)])
        assert 0.03 <= (ps <= 0.05).mean() <= 0.07
        assert abs((ps <= 0.5).mean() - 0.5) < 0.06


def test_p_by_counting_all_signs() -> None:
    """Differences 1, 2, 3: of eight patterns, +++ and --- are as far; with -1 also the sums of 4."""
    assert compare([1, 2, 3], [0, 0, 0]).p == 2 / 8
    assert compare([1, 2, 3], [2, 0, 0]).p == 4 / 8
    assert compare([1, 2], [1, 2]).p == 1
    assert compare([1], [0]).p == 1


def test_a_comparison_is_of_the_same_images() -> None:
    """A small difference beside a large spread, found because it is paired."""
    a = 100 * some(30)
    found = compare(a + 1 + 0.1 * some(30, seed=1), a)
    assert 0.9 < found.low < found.value < found.high < 1.1
    assert found.p == 1 / 10_001
    turned = compare(a, a + 1 + 0.1 * some(30, seed=1))
    assert turned.p == found.p
    assert turned.value == pytest.approx(-found.value)


def test_holm_by_hand() -> None:
    """0.01 x 4, 0.005 x 5 ...: sorted 0.005, 0.01, 0.03, 0.03, 0.04 -> 0.025, 0.04, 0.09, 0.09, 0.09."""
    assert holm([0.01, 0.04, 0.03, 0.005, 0.03]) == pytest.approx([0.04, 0.09, 0.09, 0.025, 0.09])
    assert holm([0.6, 0.9]) == [1, 1]
    assert holm([]) == []


@pytest.mark.parametrize("higher", [True, False])
def test_every_pair(higher: bool) -> None:
    base = some(40)
    scores = {"a": base, "b": base + 0.2 + 0.1 * some(40, seed=1), "c": base + 0.3 * some(40, seed=2), "d": base}
    found = {(pair.first, pair.second): pair for pair in compare_all(scores, higher)}
    assert list(found) == [("a", "b"), ("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d")]
    assert found["a", "b"].better == ("b" if higher else "a")
    assert found["a", "c"].better is None
    assert found["a", "d"].difference[:3] == (0, 0, 0)
    assert found["a", "d"].better is None
    assert [p.p_holm for p in found.values()] == holm([p.difference.p for p in found.values()])
    np.testing.assert_allclose(found["a", "b"].difference, compare(scores["a"], scores["b"]), rtol=1e-9)


# -- all of them --------------------------------------------------------------------------------------------------------


def everything(a: Array, b: Array, m: Array, seed: int = 0, images: Any = None) -> list[Any]:
    scores = {"a": a, "b": b, "m": m[:, 0]}
    return [
        mean_interval(a, seed=seed, images=images),
        median_interval(a, seed=seed),
        figure_interval(m, lambda s: float(s[:, 0].sum() / s[:, 1].sum()), trials=200, seed=seed, images=images)[1:],
        compare(a, b, seed=seed, images=images),
        compare_all(scores, seed=seed, images=images),
    ]


@pytest.mark.parametrize("owner", [None, np.arange(40) // 2])
def test_seeds_repeat_and_the_order_of_images_says_nothing(owner: Any) -> None:
    a, b, m = some(40), some(40, seed=1) + 0.5, np.abs(some(40, 3, seed=2)) + 1
    order = np.random.default_rng(3).permutation(40)
    found = everything(a, b, m, images=owner)
    assert found == everything(a, b, m, images=owner)
    shuffled = everything(a[order], b[order], m[order], images=None if owner is None else owner[order])
    for one, other in zip(found[:4], shuffled[:4], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    assert [p.p_holm for p in found[4]] == [p.p_holm for p in shuffled[4]]
    for i, other in enumerate(everything(a, b, m, seed=1, images=owner)):
        assert found[i] != other or i == 1  # the ends of the median's interval are scores


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: mean_interval([]), "scores is empty; give at least one score"),
        (lambda: mean_interval([1, np.nan, np.inf]), "scores has 2 NaN or infinite values"),
        (lambda: mean_interval(np.ones((2, 2))), "scores has the shape (2, 2); give one number for each image"),
        (lambda: mean_intervals([1, 2]), "columns has the shape (2,); give a row for each image"),
        (lambda: mean_interval([1, 2], level=95.0), "level is 95.0; give one between 0 and 1"),
        (lambda: median_interval([1, 2], trials=0), "trials is 0; give at least 1"),
        (lambda: mean_interval([1, 2], images=["x"]), "there are 2 scores and 1 images"),
        (lambda: figure_interval([1, 2], np.mean, images=["x"]), "there are 2 scores and 1 images"),
        (lambda: figure_interval(np.ones((0, 3)), np.mean), "scores is empty"),
        (lambda: compare([1, 2], [1]), "a has 2 scores and b 1; a comparison needs the same images"),
        (lambda: compare([1, np.nan], [1, 2]), "a has 1 NaN or infinite values"),
        (lambda: compare_all({"a": [1]}), "give at least two explainers"),
        (lambda: compare_all({"a": [1, 2], "b": [1]}), "a has 2 scores and b 1; give the same images"),
    ],
)
def test_what_cannot_be_computed_is_said_in_a_line(call: Callable[[], object], says: str) -> None:
    with pytest.raises(SeewhyError) as caught:
        call()
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
