"""The leaderboard: a figure with its interval for each explainer and metric, who leads, and how sure the ranks are."""

from collections.abc import Mapping, Sequence
from math import ceil, comb, log2
from typing import Literal, NamedTuple

import numpy as np

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
        least = 1 + ceil(log2(comb(k, 2) / (1 - LEVEL) - 1e-9))
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
        n, median = len(values.keys), None
        if metric.by_row and metric.family != COST and n == figures[name].n:  # several rows of an image are not independent
            median = median_interval(values.single, LEVEL, max(200, min(1_000, MAX_SORTED // n)), seed)
        entries[name] = RankingEntry(figures[name], median, n, values.left_out, standings.get(name, ""), ranked.get(name))
    return Ranking(metric, entries, len(set(_images(keys))))


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
    found: dict[str, Estimate] = {}
    groups: dict[tuple[Key, ...], list[str]] = {}
    for name, values in metric.values.items():
        images = _images(values.keys)
        if metric.family == COST:
            found[name] = Estimate(float(values.single.mean()), np.nan, np.nan, len(set(images)))
        elif metric.reduce is not None:
            found[name] = figure_interval(values.numbers, metric.reduce, LEVEL, seed=seed, images=images)
        else:
            groups.setdefault(tuple(values.keys), []).append(name)
    for keys, names in groups.items():
        columns = np.stack([metric.values[name].single for name in names], axis=1)
        found |= zip(names, mean_intervals(columns, LEVEL, _trials(len(keys)), seed, _images(keys)), strict=True)
    return found


def _standings(metric: MetricOfRun, compared: list[str], keys: list[Key], seed: int) -> dict[str, Standing]:
    """Who is the best of the compared explainers on their common rows, and who may be as good.

    An explainer with too few rows is compared with the best on the rows that both have. On few rows it can hardly be told
    apart.
    """
    if not keys or len(metric.values) < 2 or not metric.has_ranks:
        return {}
    scores = {name: metric.values[name].at(keys) for name in compared}
    higher = metric.higher_is_better is True
    reduce = metric.reduce or (lambda rows: float(rows.mean()))
    best = (max if higher else min)(scores, key=lambda name: reduce(scores[name]))
    level, one_by_one = set[str](), metric.values.keys() - {best}
    if metric.reduce is None:
        one_by_one -= set(compared)
        if len(compared) > 1:
            columns = {name: numbers[:, 0] for name, numbers in scores.items()}
            trials = max(_trials(len(keys)), 25 * comb(len(compared), 2))
            found = compare_all(columns, higher, LEVEL, trials, seed, _images(keys))
            level = {name for pair in found if pair.better is None and best in pair[:2] for name in pair[:2]}
    for name in one_by_one:
        common = keys if name in compared else metric.common([best, name])
        if common and _may_be_chance(metric, best, name, common, seed):
            level.add(name)
    return {name: "best" if name == best else "level" for name in metric.values if name == best or name in level}


def _may_be_chance(metric: MetricOfRun, best: str, name: str, keys: list[Key], seed: int) -> bool:
    """May the difference of an explainer to the best one be chance?

    Either the p-value says so, or the interval of a difference of figures holds 0. The level is corrected for the number of
    explainers (Bonferroni).
    """
    one, other, images = metric.values[best].at(keys), metric.values[name].at(keys), _images(keys)
    others, reduce, width = len(metric.values) - 1, metric.reduce, one.shape[1]
    if reduce is None:
        return compare(one[:, 0], other[:, 0], LEVEL, _trials(len(keys)), seed, images).p * others > 1 - LEVEL
    if len(set(images)) < MIN_IMAGES:
        return True
    found = figure_interval(
        np.concatenate([one, other], axis=1),
        lambda rows: reduce(rows[:, :width].copy()) - reduce(rows[:, width:].copy()),
        1 - (1 - LEVEL) / others,
        seed=seed,
        images=images,
    )
    return not (found.low > 0 or found.high < 0)


def _ranks(metric: MetricOfRun, compared: list[str], keys: list[Key], seed: int) -> dict[str, Rank]:
    """The ranks of the compared explainers on their common rows."""
    if not keys or len(compared) < 2 or not metric.has_ranks:
        return {}
    higher = metric.higher_is_better is True
    if metric.reduce is None:
        scores = {name: metric.values[name].at(keys)[:, 0] for name in compared}
        return ranks(scores, higher, LEVEL, _trials(len(keys)), seed, _images(keys))
    figures = {name: [metric.reduce(metric.values[name].at(keys))] for name in compared}
    return ranks(figures, higher, LEVEL, trials=1, seed=seed)  # one "image": a rank without an interval


def _trials(rows: int) -> int:
    return max(2_000, min(10_000, MAX_DRAWN_IMAGES // rows))


def _images(keys: Sequence[Key]) -> list[int]:
    return [key.image for key in keys]
