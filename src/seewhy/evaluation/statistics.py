"""How sure a figure is: intervals, comparisons and ranks. Arrays in, numbers out.

Images are drawn again with replacement (the bootstrap of Efron and Tibshirani, An Introduction to the Bootstrap, 1993).
Several rows of one image (``images`` says which row is whose) are drawn together. The order of the images says nothing.
"""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from seewhy.errors import SeewhyError

Array = NDArray[np.float64]
Images = Sequence[Hashable] | NDArray[Any] | None
AT_ONCE = 4_000_000
"""Numbers drawn at a time."""
DIGITS = 12
"""Means that agree in so many digits are tied."""


class Estimate(NamedTuple):
    """A figure, its interval and the number of images. One image has no interval: ``low`` and ``high`` are NaN."""

    value: float
    low: float
    high: float
    n: int


class Difference(NamedTuple):
    """Mean of a - b over the same images, its interval, and the two-sided p-value of "none is better"."""

    value: float
    low: float
    high: float
    n: int
    p: float


class Pair(NamedTuple):
    """Two explainers. ``better`` is the better one, or None where ``p_holm`` leaves it open."""

    first: str
    second: str
    difference: Difference
    p_holm: float
    better: str | None


class Rank(NamedTuple):
    """Rank on the images (1 is best); over resamples its mean, its interval, and how often it is the first."""

    rank: float
    mean: float
    low: float
    high: float
    first: float


# -- intervals ----------------------------------------------------------------------------------------------------------


def mean_interval(
    scores: ArrayLike, level: float = 0.95, trials: int = 10_000, seed: int = 0, images: Images = None
) -> Estimate:
    r"""The mean of (n,) scores and its bootstrap interval, by percentiles that are expanded for small n.

    $$\alpha' = \Phi\left(-\sqrt{n / (n-1)}\; t_{1 - \alpha/2,\, n-1}\right)$$

    The interval goes from the $\alpha'$ to the $1 - \alpha'$ quantile of the means of resamples (Hesterberg, What Teachers
    Should Know About the Bootstrap, 2015): plain percentiles divide the variance by n, and read a normal quantile for
    that of Student's t; both make them too narrow. Unlike the bootstrap-t these never leave the range of the scores,
    and are defined where all scores are 0 or 1. Skewed scores need many images: of exponential ones, 95 % intervals hold the
    mean in about 93 % at n = 30. Scores that are all the same give an interval of zero width, which for rare events
    says more than is known: 0 hits in n images leave rates of up to about 3/n open.

    Args:
        scores: (n,) finite numbers.
        level: of confidence.
        trials: resamples.
        seed: of the draws.
        images: (n,) the image of each row, if one has several; then n counts the images.
    """
    return mean_intervals(_vector("scores", scores)[:, None], level, trials, seed, images)[0]


def mean_intervals(
    columns: ArrayLike, level: float = 0.95, trials: int = 10_000, seed: int = 0, images: Images = None
) -> list[Estimate]:
    """``mean_interval`` of each column of (n, k) at the cost of one."""
    columns = _matrix("columns", columns)
    _check(level, trials)
    floor = columns.min(0)
    sums, counts = _by_image(columns - floor, images)  # a constant column is exactly 0
    order = np.argsort(sums, axis=0, kind="stable")
    if len(np.unique(counts)) > 1:
        order = np.stack([np.lexsort((counts, column)) for column in sums.T], axis=1)
    sums, weights = np.take_along_axis(sums, order, 0), counts[order]
    values = floor + sums.sum(0) / counts.sum()
    n = len(sums)
    if n == 1:
        return [Estimate(float(value), np.nan, np.nan, 1) for value in values]
    equal = np.ptp(counts) == 0
    means = np.concatenate(
        [times @ sums / (n * counts[0] if equal else times @ weights) for times in _resamples(n, trials, seed)]
    )
    low, high = floor + _expanded(means, n, level)
    return [Estimate(float(v), float(a), float(b), n) for v, a, b in zip(values, low, high, strict=True)]


def median_interval(scores: ArrayLike, level: float = 0.95, trials: int = 10_000, seed: int = 0) -> Estimate:
    """The median of (n,) scores and its bootstrap interval, by expanded percentiles as those of the mean."""
    ordered = np.sort(_vector("scores", scores))
    _check(level, trials)
    n, value = len(ordered), float(np.median(ordered))
    if n == 1:
        return Estimate(value, np.nan, np.nan, 1)
    middle = np.concatenate([np.sort(rows, axis=1)[:, [(n - 1) // 2, n // 2]] for rows in _draws(n, trials, seed)])
    low, high = _expanded(ordered[middle].mean(1), n, level)
    return Estimate(value, float(low), float(high), n)


def figure_interval(
    scores: ArrayLike,
    reduce: Callable[[Array], float],
    level: float = 0.95,
    trials: int = 2_000,
    seed: int = 0,
    images: Images = None,
) -> Estimate:
    """A figure of a whole dataset, ``reduce(scores)`` of (n, m) or (n,), and its interval, by expanded percentiles.

    Images are drawn with all their numbers, and ``reduce`` is asked ``trials`` times. A figure that takes the best of
    several thresholds is too high by its choice, and that of a resample more so: its interval is shifted upward and
    may hold the truth in far fewer cases than it says (88 % at n = 200, 73 % at n = 30, for a best of 50 thresholds).
    """
    rows = np.asarray(scores, dtype=np.float64)
    flat = _matrix("scores", rows[:, None] if rows.ndim == 1 else rows)
    _check(level, trials)
    value, members = float(reduce(rows)), _members(flat, images)
    n = len(members)
    if n == 1:
        return Estimate(value, np.nan, np.nan, 1)
    ends = np.cumsum([len(rows_of) for rows_of in members])
    sorted_rows = rows[np.concatenate(members)]
    place = [np.arange(end - len(rows_of), end) for end, rows_of in zip(ends, members, strict=True)]
    single = ends[-1] == n
    figures = np.array(
        [
            reduce(sorted_rows[draw if single else np.concatenate([place[i] for i in draw])])
            for draws in _draws(n, trials, seed)
            for draw in draws
        ]
    )
    low, high = _expanded(figures, n, level)
    return Estimate(value, float(low), float(high), n)


# -- comparisons --------------------------------------------------------------------------------------------------------


def compare(
    a: ArrayLike, b: ArrayLike, level: float = 0.95, trials: int = 10_000, seed: int = 0, images: Images = None
) -> Difference:
    r"""The mean of (n,) a - b on the same images, with its interval and a p-value.

    The interval is ``mean_interval`` of the differences. The p-value is that of Fisher's sign flips: if neither is
    better, a and b of an image may be exchanged, which turns the sign of its difference $d_i$. It is exact at any n for
    that hypothesis, where a bootstrap p-value is not, and is never 0:

    $$p = \frac{1 + \#\{|\sum_i \pm d_i| \geq |\sum_i d_i|\}}{1 + \mathrm{trials}}$$

    With no more than ``trials`` patterns of signs all are counted, and p is their share. Interval and p-value are different
    methods and may differ at the edge. One image: no interval, p = 1.
    """
    a, b = _vector("a", a), _vector("b", b)
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
    images: Images = None,
) -> list[Pair]:
    """``compare`` of every pair of explainers, with p-values that are corrected for their number (``holm``).

    Args:
        scores: (n,) of each explainer on the same images.
        higher_is_better: which sign of a difference is the better.
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
    r"""P-values corrected for their number m: $\max_{j \leq i} \min(1, (m - j + 1)\, p_{(j)})$ (Holm, A Simple Sequentially
    Rejective Multiple Test Procedure, 1979). The chance of even one false finding stays under the level.
    """
    given = np.asarray(ps, dtype=np.float64)
    order = np.argsort(given, kind="stable")
    corrected = np.empty(len(given))
    corrected[order] = np.maximum.accumulate(np.minimum(1, np.arange(len(given), 0, -1) * given[order]))
    return corrected.tolist()


def _sign_flips(gaps: Array, trials: int, seed: int, images: Images) -> list[float]:
    sums = _by_image(gaps, images)[0]
    sums, seen = np.sort(np.abs(sums), axis=0), np.abs(sums.sum(0))
    atleast = seen - 1e-12 * sums.sum(0)  # sums of the same numbers may differ in the last digit
    n = len(sums)
    if 2**n <= trials:
        signs = 1.0 - 2 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1)
        return cast(list[float], (np.abs(signs @ sums) >= atleast).mean(0).tolist())
    random, hits, step = np.random.default_rng(seed), np.zeros(sums.shape[1]), max(1, AT_ONCE // n)
    for start in range(0, trials, step):
        signs = 1.0 - 2 * random.integers(0, 2, (min(step, trials - start), n), dtype=np.int8)
        hits += (np.abs(signs @ sums) >= atleast).sum(0)
    return cast(list[float], ((1 + hits) / (1 + trials)).tolist())


# -- ranks --------------------------------------------------------------------------------------------------------------


def ranks(
    scores: Mapping[str, ArrayLike],
    higher_is_better: bool = True,
    level: float = 0.95,
    trials: int = 10_000,
    seed: int = 0,
    images: Images = None,
) -> dict[str, Rank]:
    """The rank of each explainer by its mean, and how sure it is: the images are drawn again, the explainers ranked anew.

    Explainers that tie share the mean of their ranks, and the first place in equal parts. The interval goes from
    quantile to quantile of the ranks. Of explainers that are in truth equal the resamples still prefer those that
    are ahead by luck (Hall and Miller, Using the Bootstrap to Quantify the Authority of an Empirical Ranking, 2009):
    ``compare_all`` says whether two differ at all.

    Args:
        scores: (n,) of each explainer on the same images.
        higher_is_better: whether the highest mean is rank 1.
        level: of the interval.
        trials: resamples.
        seed: of the draws.
        images: as in ``mean_interval``.
    """
    names, columns = score_table(scores)
    _check(level, trials)
    alphabetical = np.argsort(names)
    columns = columns - columns.min()
    columns = columns / (columns.max() or 1)
    members = _members(columns[:, alphabetical], images)
    sums = np.stack([columns[rows].sum(0) for rows in members])
    counts = np.array([len(rows) for rows in members], dtype=np.float64)[:, None]

    def placed(means: Array) -> Array:
        return stats.rankdata(np.round(-means if higher_is_better else means, DIGITS), axis=1)

    seen = placed((sums.sum(0) / counts.sum())[None])[0]
    if len(sums) == 1:
        drawn = np.full((1, len(names)), np.nan)
    else:
        drawn = np.concatenate([placed(w @ sums / (w @ counts)) for w in _resamples(len(sums), trials, seed)])
    leads = drawn == drawn.min(1, keepdims=True)
    first = (leads / np.maximum(1, leads.sum(1, keepdims=True))).mean(0) if len(sums) > 1 else drawn[0]
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    found = zip(seen, drawn.mean(0), low, high, first, strict=True)
    return {name: Rank(*map(float, numbers)) for name, numbers in zip(names, found, strict=True)}


# -- draws ----------------------------------------------------------------------------------------------------------------


def _draws(n: int, trials: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """(t, n) indices, all trials in parts."""
    random, step = np.random.default_rng(seed), max(1, AT_ONCE // n)
    for start in range(0, trials, step):
        yield random.integers(0, n, (min(step, trials - start), n))


def _resamples(n: int, trials: int, seed: int) -> Iterator[Array]:
    """(t, n) how often each image is drawn."""
    for draw in _draws(n, trials, seed):
        cells = (draw + n * np.arange(len(draw))[:, None]).ravel()
        yield np.bincount(cells, minlength=draw.size).reshape(draw.shape).astype(np.float64)


def _expanded(drawn: Array, n: int, level: float) -> Array:
    """(2, ...) quantiles of (trials, ...), moved outward as ``mean_interval`` says."""
    tail = special.ndtr(-np.sqrt(n / (n - 1)) * stats.t.ppf((1 + level) / 2, n - 1))
    return np.quantile(drawn, [tail, 1 - tail], axis=0)


def _members(columns: Array, images: Images) -> list[NDArray[np.int64]]:
    """Rows of each image; images, and the rows of one, in the order of their numbers."""
    if images is not None and len(images) != len(columns):
        raise SeewhyError(f"there are {len(columns)} scores and {len(images)} images")
    grouped: dict[Hashable, list[int]] = {}
    for row in np.lexsort(columns.T[::-1]).tolist():
        grouped.setdefault(row if images is None else images[row], []).append(row)
    members = [np.array(rows) for rows in grouped.values()]
    if len(members) < len(columns):
        members.sort(key=lambda rows: (columns[rows] + 0.0).tobytes())
    return members


def _by_image(columns: Array, images: Images) -> tuple[Array, Array]:
    """(g, k) sums over the rows of each image, and (g,) how many there are."""
    if images is None:
        return columns, np.ones(len(columns))
    if len(images) != len(columns):
        raise SeewhyError(f"there are {len(columns)} scores and {len(images)} images")
    number: dict[Hashable, int] = {}
    owner = np.array([number.setdefault(image, len(number)) for image in images])
    sums = np.zeros((len(number), columns.shape[1]))
    np.add.at(sums, owner, columns)
    return sums, np.bincount(owner).astype(np.float64)


# -- the door -------------------------------------------------------------------------------------------------------------


def _vector(name: str, values: ArrayLike) -> Array:
    given = np.asarray(values, dtype=np.float64)
    if given.ndim != 1:
        raise SeewhyError(f"{name} has the shape {given.shape}; give one number for each image")
    return _matrix(name, given[:, None])[:, 0]


def _matrix(name: str, values: ArrayLike) -> Array:
    given = np.asarray(values, dtype=np.float64)
    if given.ndim != 2:
        raise SeewhyError(f"{name} has the shape {given.shape}; give a row for each image")
    if not given.size:
        raise SeewhyError(f"{name} is empty; give at least one score")
    if not np.isfinite(given).all():
        raise SeewhyError(f"{name} has {int((~np.isfinite(given)).sum())} NaN or infinite values; leave them out first")
    return given


def score_table(scores: Mapping[str, ArrayLike]) -> tuple[list[str], Array]:
    """Names, and (n, e) scores."""
    if not scores:
        raise SeewhyError("give the scores of at least one explainer")
    columns = {name: _vector(f"scores of {name}", values) for name, values in scores.items()}
    (one, first), *others = columns.items()
    for name, column in others:
        if len(column) != len(first):
            raise SeewhyError(f"{one} has {len(first)} scores and {name} {len(column)}; give the same images")
    return list(columns), np.stack(list(columns.values()), axis=1)


def _check(level: float, trials: int) -> None:
    if not 0 < level < 1:
        raise SeewhyError(f"level is {level}; give one between 0 and 1")
    if trials < 1:
        raise SeewhyError(f"trials is {trials}; give at least 1")
