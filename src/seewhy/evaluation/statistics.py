"""How sure a figure is: its interval, and comparisons of two figures. Arrays in, numbers out.

Intervals are those of the bootstrap: see ``bootstrap.py``.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike

from seewhy.errors import SeewhyError
from seewhy.evaluation.bootstrap import (
    MAX_DRAWN,
    Array,
    ImageIds,
    as_matrix,
    as_vector,
    check_settings,
    draw_counts,
    draw_images,
    expanded_quantiles,
    rows_by_image,
    score_table,
    sums_by_image,
)

MAX_READ = 2_000_000_000
"""Budget of ``figure_interval``: resamples x numbers."""


class Estimate(NamedTuple):
    """A figure, its interval and the number of images. One image has no interval: ``low`` and ``high`` are NaN."""

    value: float
    low: float
    high: float
    n: int


class Difference(NamedTuple):
    """Mean of a - b over the same images, its interval, and the two-sided p-value of "neither is better"."""

    value: float
    low: float
    high: float
    n: int
    p: float


class Pair(NamedTuple):
    """Two explainers. ``better`` is the better one, or None where ``p_holm`` does not tell them apart."""

    first: str
    second: str
    difference: Difference
    p_holm: float
    better: str | None


def mean_interval(
    scores: ArrayLike, level: float = 0.95, trials: int = 10_000, seed: int = 0, images: ImageIds = None
) -> Estimate:
    r"""The mean of (n,) scores and its bootstrap interval, from percentiles that are expanded for small n.

    $$\alpha' = \Phi\left(-\sqrt{n / (n-1)}\; t_{1 - \alpha/2,\, n-1}\right)$$

    The interval goes from the $\alpha'$ to the $1 - \alpha'$ quantile of the means of resamples (Hesterberg, What Teachers
    Should Know About the Bootstrap, 2015). Plain percentiles are too narrow for two reasons: they divide the variance by n,
    and they use a normal quantile instead of that of Student's t. Unlike the intervals of the bootstrap-t, expanded
    percentiles never leave the range of the scores, and are defined where all scores are 0 or 1.

    Skewed scores need many images: 95 % intervals of exponential scores hold the mean in about 93 % of cases at n = 30.
    Scores that are all the same give an interval of zero width. For rare events that is too sure: 0 hits in n images leave
    rates of up to about 3/n possible.

    Args:
        scores: (n,) finite numbers.
        level: of confidence.
        trials: resamples.
        seed: of the draws.
        images: (n,) the image of each row, if an image has several rows; ``Estimate.n`` counts the images then.
    """
    return mean_intervals(as_vector("scores", scores)[:, None], level, trials, seed, images)[0]


def mean_intervals(
    columns: ArrayLike, level: float = 0.95, trials: int = 10_000, seed: int = 0, images: ImageIds = None
) -> list[Estimate]:
    """``mean_interval`` of each column of (n, k) at the cost of one."""
    columns = as_matrix("columns", columns)
    check_settings(level, trials)
    floor = columns.min(0)
    sums, counts = sums_by_image(columns - floor, images)  # a constant column is exactly 0
    order = np.stack([np.lexsort((counts, column)) for column in sums.T], axis=1)
    sums, weights = np.take_along_axis(sums, order, 0), counts[order]
    values = floor + sums.sum(0) / counts.sum()
    n = len(sums)
    if n == 1:
        return [Estimate(float(value), np.nan, np.nan, 1) for value in values]
    equal = np.ptp(counts) == 0
    means = np.concatenate(
        [times @ sums / (n * counts[0] if equal else times @ weights) for times in draw_counts(n, trials, seed)]
    )
    low, high = floor + expanded_quantiles(means, n, level)
    return [Estimate(float(v), float(a), float(b), n) for v, a, b in zip(values, low, high, strict=True)]


def median_interval(scores: ArrayLike, level: float = 0.95, trials: int = 10_000, seed: int = 0) -> Estimate:
    """The median of (n,) scores and its bootstrap interval, from expanded percentiles as in ``mean_interval``."""
    ordered = np.sort(as_vector("scores", scores))
    check_settings(level, trials)
    n, value = len(ordered), float(np.median(ordered))
    if n == 1:
        return Estimate(value, np.nan, np.nan, 1)
    middle = np.concatenate([np.sort(rows, axis=1)[:, [(n - 1) // 2, n // 2]] for rows in draw_images(n, trials, seed)])
    low, high = expanded_quantiles(ordered[middle].mean(1), n, level)
    return Estimate(value, float(low), float(high), n)


def figure_interval(
    scores: ArrayLike,
    reduce: Callable[[Array], float],
    level: float = 0.95,
    trials: int | None = None,
    seed: int = 0,
    images: ImageIds = None,
) -> Estimate:
    """A figure of a whole dataset, ``reduce(scores)`` of (n, m) or (n,), and its interval, by expanded percentiles.

    Images are drawn with all their numbers, and ``reduce`` is asked ``trials`` times: by default 2 000 times, and less often
    where more than MAX_READ numbers would be read, but at least 200 times. A figure that takes the best of
    several thresholds is too high by its choice, and that of a resample more so: its interval is shifted upward and
    may hold the truth in far fewer cases than it says (88 % at n = 200, 73 % at n = 30, for a best of 50 thresholds).
    """
    rows = np.asarray(scores, dtype=np.float64)
    flat = as_matrix("scores", rows[:, None] if rows.ndim == 1 else rows)
    trials = max(200, min(2_000, MAX_READ // rows.size)) if trials is None else trials
    check_settings(level, trials)
    value, members = float(reduce(rows)), rows_by_image(flat, images)
    n = len(members)
    if n == 1:
        return Estimate(value, np.nan, np.nan, 1)
    whole = np.concatenate(members)
    one_each = len(whole) == n
    draws = (draw for part in draw_images(n, trials, seed) for draw in part)
    figures = [reduce(rows[whole[d] if one_each else np.concatenate([members[i] for i in d])]) for d in draws]
    low, high = expanded_quantiles(np.array(figures), n, level)
    return Estimate(value, float(low), float(high), n)


# -- comparisons --------------------------------------------------------------------------------------------------------


def compare(
    a: ArrayLike, b: ArrayLike, level: float = 0.95, trials: int = 10_000, seed: int = 0, images: ImageIds = None
) -> Difference:
    r"""The mean of (n,) a - b on the same images, with its interval and a p-value.

    The interval is ``mean_interval`` of the differences. The p-value is that of Fisher's sign flips: if neither is better,
    a and b of an image may be exchanged, which turns the sign of the difference $d_i$ of this image. For that hypothesis the
    p-value is exact at any n, unlike a bootstrap p-value, and it is never 0:

    $$p = \frac{1 + \#\{|\sum_i \pm d_i| \geq |\sum_i d_i|\}}{1 + \mathrm{trials}}$$

    If there are at most ``trials`` patterns of signs, all are counted, and p is the share of those as far from 0. Interval
    and p-value are different methods and may disagree at the edge. One image has no interval, and p = 1.
    """
    a, b = as_vector("a", a), as_vector("b", b)
    if len(a) != len(b):
        raise SeewhyError(f"a has {len(a)} scores and b {len(b)}; a comparison needs the same images")
    interval = mean_interval(a - b, level, trials, seed, images)
    return Difference(*interval, _sign_flips((a - b)[:, None], trials, seed, images)[0])


def compare_all(
    scores: Mapping[str, ArrayLike],
    higher_is_better: bool = True,
    level: float = 0.95,
    trials: int = 10_000,
    seed: int = 0,
    images: ImageIds = None,
) -> list[Pair]:
    """``compare`` of every pair of explainers, with p-values that are corrected for the number of pairs (``holm``).

    Args:
        scores: (n,) of each explainer on the same images.
        higher_is_better: whether the explainer with the higher mean is the better one.
        level: of the intervals, which are not corrected; a pair is told apart where ``p_holm`` is at most 1 - level.
        trials: resamples and patterns of signs. No p-value is under 1 / (trials + 1), so k pairs need more than
            20 k trials to be told apart at 95 %.
        seed: of the draws.
        images: as in ``mean_interval``.
    """
    names, columns = score_table(scores)
    pairs = list(combinations(range(len(names)), 2))
    if not pairs:
        raise SeewhyError("give at least two explainers to compare")
    gaps = np.stack([columns[:, i] - columns[:, j] for i, j in pairs], axis=1)
    intervals, ps = mean_intervals(gaps, level, trials, seed, images), _sign_flips(gaps, trials, seed, images)
    found = []
    for (i, j), interval, p, corrected in zip(pairs, intervals, ps, holm(ps), strict=True):
        winner = names[i] if (interval.value > 0) == higher_is_better else names[j]
        open_ = corrected > 1 - level + 1e-12 or interval.value == 0
        found.append(Pair(names[i], names[j], Difference(*interval, p), corrected, None if open_ else winner))
    return found


def holm(ps: Sequence[float]) -> list[float]:
    r"""P-values corrected for their number m, $\max_{j \leq i} \min(1, (m - j + 1)\, p_{(j)})$.

    The chance of even one false finding stays under the level. Source: Holm, A Simple Sequentially Rejective Multiple Test
    Procedure, 1979.
    """
    given = np.asarray(ps, dtype=np.float64)
    order = np.argsort(given, kind="stable")
    corrected = np.empty(len(given))
    corrected[order] = np.maximum.accumulate(np.minimum(1, np.arange(len(given), 0, -1) * given[order]))
    return corrected.tolist()


def _sign_flips(gaps: Array, trials: int, seed: int, images: ImageIds) -> list[float]:
    """The two-sided p-value of each column of differences (n, k)."""
    sums = sums_by_image(gaps, images)[0]
    sums, seen = np.sort(np.abs(sums), axis=0), np.abs(sums.sum(0))
    atleast = seen - 1e-12 * sums.sum(0)  # sums of the same numbers may differ in the last digit
    n = len(sums)
    if 2**n <= trials:
        signs = 1.0 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        return cast(list[float], (np.abs(signs @ sums) >= atleast).mean(0).tolist())
    random, hits, step = np.random.default_rng(seed), np.zeros(sums.shape[1]), max(1, MAX_DRAWN // n)
    for start in range(0, trials, step):
        signs = 1.0 - 2 * random.integers(0, 2, (min(step, trials - start), n), dtype=np.int8)
        hits += (np.abs(signs @ sums) >= atleast).sum(0)
    return cast(list[float], ((1 + hits) / (1 + trials)).tolist())
