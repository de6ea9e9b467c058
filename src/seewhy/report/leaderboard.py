"""The leaderboard: a figure with its interval for each explainer and metric, who leads, and how sure the ranks are."""

from collections.abc import Mapping, Sequence
from math import ceil, log2
from typing import Literal, NamedTuple

import numpy as np

from seewhy.evaluation.bootstrap import Array
from seewhy.evaluation.ranks import Rank, ranks
from seewhy.evaluation.statistics import Estimate, compare, compare_all, figure_interval, mean_intervals, median_interval
from seewhy.report.run_numbers import COST, Key, MetricOfRun

Standing = Literal["best", "level", ""]
LEVEL = 0.95
MIN_IMAGES = 8
"""Below this, intervals of a difference are too narrow: with 3 images, 20 % of equal pairs look different."""
MAX_SORTED = 1_000_000
"""Budget of one median: resamples x scores. At least 200 resamples are drawn."""
MAX_DRAWN_IMAGES = 30_000_000
"""Budget of one mean: resamples x images. From 3000 images on there are fewer than 10 000 resamples, but at least 2000."""
MAX_READ_NUMBERS = 2_000_000_000
"""Budget of one figure of several numbers: resamples x numbers. At least 200 resamples are drawn."""


class RankingEntry(NamedTuple):
    """A figure of an explainer by a metric, and its place among the others.

    figure    with its interval
    median    None for a metric that makes its own figure, and where an image has several rows
    rows      how many rows are behind the figure
    left_out  how many rows are not finite
    standing  "best", or "level" where the difference to the best may be chance
    """

    figure: Estimate
    median: Estimate | None
    rows: int
    left_out: int
    standing: Standing
    rank: Rank | None


class Ranking(NamedTuple):
    """A metric and its entries by explainer. Comparisons rest on ``shared`` images, which all compared explainers have."""

    metric: MetricOfRun
    entries: Mapping[str, RankingEntry]
    shared: int

    @property
    def leader(self) -> str | None:
        """The best explainer; None where none is better than another."""
        return next((name for name, entry in self.entries.items() if entry.standing == "best"), None)

    @property
    def level(self) -> list[str]:
        """The explainers whose difference to the best may be chance."""
        return [name for name, entry in self.entries.items() if entry.standing == "level"]

    @property
    def wanted(self) -> int | None:
        """How many images the sign-flip test needs to tell so many explainers apart; None if there are enough.

        Of n images the smallest p-value is 2^(1 - n). Holm's correction multiplies it by the number of pairs.
        """
        k = sum(1 for entry in self.entries.values() if entry.standing)
        if self.metric.reduce is not None or k < 2:
            return None
        least = 1 + ceil(log2(k * (k - 1) / 2 / (1 - LEVEL) - 1e-9))
        return least if self.shared < least else None

    @property
    def order(self) -> list[str]:
        """The explainers, the best figure first."""
        sign = 1 if self.metric.higher_is_better is False else -1
        return sorted(self.entries, key=lambda name: sign * self.entries[name].figure.value)


def rank_explainers(metric: MetricOfRun, seed: int = 0) -> Ranking:
    """All that the leaderboard says of one metric."""
    compared = metric.compared
    figures, keys = _figures(metric, seed), metric.common(compared)
    standings = _standings(metric, compared, keys, seed)
    ranked = _ranks(metric, compared, keys, seed)
    entries = {}
    for name, values in metric.values.items():
        one_each = _image_ids(values.keys) is None  # several rows of an image are not independent
        median = _median(values.single, seed) if metric.by_row and metric.family != COST and one_each else None
        standing = standings.get(name, "")
        entries[name] = RankingEntry(figures[name], median, len(values.keys), values.left_out, standing, ranked.get(name))
    return Ranking(metric, entries, len({key.image for key in keys}))


def mean_ranks(rankings: Sequence[Ranking]) -> dict[str, float]:
    """The mean of the ranks of each explainer over the metrics that rank it."""
    found: dict[str, list[float]] = {}
    for ranking in rankings:
        for name, entry in ranking.entries.items():
            if entry.rank is not None:
                found.setdefault(name, []).append(entry.rank.rank)
    return {name: float(np.mean(numbers)) for name, numbers in found.items()}


def _figures(metric: MetricOfRun, seed: int) -> dict[str, Estimate]:
    """The figure of each explainer. Explainers with the same rows are resampled together, which is faster."""
    if metric.family == COST or metric.reduce is not None:
        return {name: _figure(metric, name, seed) for name in metric.values}
    groups: dict[tuple[Key, ...], list[str]] = {}
    for name, values in metric.values.items():
        groups.setdefault(tuple(values.keys), []).append(name)
    found: dict[str, Estimate] = {}
    for keys, names in groups.items():
        columns = np.stack([metric.values[name].single for name in names], axis=1)
        found |= zip(names, mean_intervals(columns, LEVEL, _trials(len(keys)), seed, _image_ids(keys)), strict=True)
    return {name: found[name] for name in metric.values}


def _figure(metric: MetricOfRun, name: str, seed: int) -> Estimate:
    """The figure of one explainer: of a cost, without an interval, or of all rows together."""
    values = metric.values[name]
    images = {key.image for key in values.keys}
    if metric.family == COST or metric.reduce is None:
        return Estimate(float(values.single.mean()), np.nan, np.nan, len(images))
    trials = max(200, min(2_000, MAX_READ_NUMBERS // values.numbers.size))
    return figure_interval(values.numbers, metric.reduce, LEVEL, trials, seed, _image_ids(values.keys))


def _median(scores: Array, seed: int) -> Estimate:
    return median_interval(scores, LEVEL, max(200, min(1_000, MAX_SORTED // len(scores))), seed)


def _standings(metric: MetricOfRun, compared: list[str], keys: list[Key], seed: int) -> dict[str, Standing]:
    """Who is the best of the compared explainers on their common rows, and who may be as good.

    An explainer with too few rows is compared with the best on the rows that both have. On few rows it can hardly be told
    apart.
    """
    if not keys or len(metric.values) < 2 or metric.higher_is_better is None or metric.family == COST:
        return {}
    scores = {name: metric.values[name].at(keys) for name in compared}
    sign = 1 if metric.higher_is_better else -1
    reduce = metric.reduce or (lambda rows: float(rows.mean()))
    best = max(scores, key=lambda name: sign * reduce(scores[name]))
    others = len(metric.values) - 1
    if metric.reduce is not None:
        level = _level_figures(metric, scores, best, keys, others, seed)
    elif len(compared) < 2:
        level = set()
    else:
        pairs = len(scores) * (len(scores) - 1) // 2
        columns = {name: numbers[:, 0] for name, numbers in scores.items()}
        found = compare_all(columns, sign > 0, LEVEL, max(_trials(len(keys)), 25 * pairs), seed, _image_ids(keys))
        level = {name for pair in found if pair.better is None and best in pair[:2] for name in pair[:2]}
    for name in metric.values.keys() - set(compared):
        both = metric.common([best, name])
        pair = {one: metric.values[one].at(both) for one in (best, name)}
        if both and metric.reduce is not None:
            level |= _level_figures(metric, pair, best, both, others, seed)
        elif both:
            found_p = compare(pair[best][:, 0], pair[name][:, 0], LEVEL, _trials(len(both)), seed, _image_ids(both)).p
            level |= {name} if found_p * others > 1 - LEVEL else set()
    return {name: "best" if name == best else "level" for name in metric.values if name == best or name in level}


def _level_figures(
    metric: MetricOfRun, scores: Mapping[str, Array], best: str, keys: list[Key], others: int, seed: int
) -> set[str]:
    """The explainers for which the interval of the difference to the best holds 0.

    The level of the interval is corrected for the number of explainers (Bonferroni).
    """
    reduce, level = metric.reduce, set()
    assert reduce is not None
    if len({key.image for key in keys}) < MIN_IMAGES:
        return set(scores) - {best}
    width = scores[best].shape[1]
    for name in scores.keys() - {best}:
        both = np.concatenate([scores[best], scores[name]], axis=1)
        found = figure_interval(
            both,
            lambda rows: reduce(rows[:, :width].copy()) - reduce(rows[:, width:].copy()),
            1 - (1 - LEVEL) / others,
            max(200, min(2_000, MAX_READ_NUMBERS // both.size)),
            seed,
            _image_ids(keys),
        )
        if not (found.low > 0 or found.high < 0):
            level.add(name)
    return level


def _ranks(metric: MetricOfRun, compared: list[str], keys: list[Key], seed: int) -> dict[str, Rank]:
    """The ranks of the compared explainers on their common rows."""
    if not keys or len(compared) < 2 or not metric.has_ranks:
        return {}
    higher = metric.higher_is_better is True
    if metric.reduce is None:
        scores = {name: metric.values[name].at(keys)[:, 0] for name in compared}
        return ranks(scores, higher, LEVEL, _trials(len(keys)), seed, _image_ids(keys))
    figures = {name: [metric.reduce(metric.values[name].at(keys))] for name in compared}
    return ranks(figures, higher, LEVEL, trials=1, seed=seed)  # one "image": a rank without an interval


def _trials(rows: int) -> int:
    return max(2_000, min(10_000, MAX_DRAWN_IMAGES // rows))


def _image_ids(keys: Sequence[Key]) -> list[int] | None:
    """The image of each row, if an image has several rows."""
    found = [key.image for key in keys]
    return found if len(set(found)) < len(found) else None
