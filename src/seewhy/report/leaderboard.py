"""The leaderboard: a figure with its interval for each explainer and metric, who leads, and how sure the ranks are."""

from collections.abc import Mapping, Sequence
from math import ceil, comb, log2
from typing import Literal, NamedTuple

import numpy as np

from seewhy.evaluation.ranks import Rank, ranks
from seewhy.evaluation.statistics import (
    Estimate,
    Pair,
    compare,
    compare_all,
    figure_interval,
    mean_intervals,
    median_interval,
)
from seewhy.report.digits import decimals, number
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
    standing  "best", or "level" where the difference to the best may be chance; equal figures are best together
    """

    figure: Estimate
    median: Estimate | None
    rows: int
    left_out: int
    standing: Standing
    rank: Rank | None


class Advantage(NamedTuple):
    """How much better one explainer is than another one on the same images.

    difference  of their figures and its 95 % interval, which is that of one comparison; positive where the first is better
    better_on   the share of the rows on which the first is better, equal scores count half; None for a metric that makes
                its own figure
    sure        whether the test, corrected for the number of comparisons, tells the two apart, and their figures are written
                differently
    """

    first: str
    second: str
    difference: Estimate
    better_on: float | None
    sure: bool


class Ranking(NamedTuple):
    """A metric and its entries by explainer. Comparisons rest on ``shared`` images, which all compared explainers have.

    ``pairs``: of explainers that were compared by one test of all pairs.
    """

    metric: MetricOfRun
    entries: Mapping[str, RankingEntry]
    shared: int
    pairs: Sequence[Pair] = ()

    @property
    def leader(self) -> str | None:
        """The best explainer; None where none is better than another."""
        return next((name for name in self.order if self.entries[name].standing == "best"), None)

    @property
    def digits(self) -> int | None:
        """Digits after the point of its figures; None for costs, which span decades: three significant digits."""
        cost = self.metric.family == COST
        return None if cost else decimals(entry.figure.value for entry in self.entries.values())

    @property
    def tells(self) -> bool:
        """Whether an explainer is told apart from the best: only then a mark in the column says something."""
        standings = [entry.standing for entry in self.entries.values()]
        return "best" in standings and "" in standings

    def mark(self, name: str) -> Standing:
        """The standing of an explainer where it says something."""
        return self.entries[name].standing if self.tells else ""

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

    def beats(self, first: str, second: str) -> bool:
        """Whether the first explainer is better than the second, and that is not chance."""
        pair = next((p for p in self.pairs if {p.first, p.second} == {first, second}), None)
        if pair is not None and pair.better != first:
            return False
        found = self.contrast(first, second)
        return found is not None and found.sure and found.difference.value > 0

    def contrast(self, first: str, second: str, seed: int = 0) -> Advantage | None:
        """The first explainer against the second; None where no image is common to both."""
        keys = self.metric.common([first, second])
        if not keys:
            return None
        pair = next((p for p in self.pairs if {p.first, p.second} == {first, second}), None)
        if pair is not None:  # on the rows that all compared explainers have
            keys = self.metric.common(self.metric.compared)
            sure = pair.better is not None
        else:
            sure = not _may_be_chance(self.metric, first, second, keys, seed)
        alike = len({number(self.entries[name].figure.value, self.digits) for name in (first, second)}) == 1
        found = _difference(self.metric, first, second, keys, LEVEL, seed)
        if self.metric.higher_is_better is False:
            found = Estimate(-found.value, -found.high, -found.low, found.n)
        better_on = None
        if self.metric.by_row:
            one, other = (self.metric.values[name].single_at(keys) for name in (first, second))
            ahead = other - one if self.metric.higher_is_better is False else one - other
            better_on = float(((ahead > 0) + 0.5 * (ahead == 0)).mean())
        return Advantage(first, second, found, better_on, sure and not alike)


def rank_explainers(metric: MetricOfRun, seed: int = 0) -> Ranking:
    """All that the leaderboard says of one metric."""
    compared = metric.compared
    figures, keys = _figures(metric, seed), metric.common(compared)
    standings, pairs = _standings(metric, compared, keys, figures, seed)
    ranked = _ranks(metric, compared, keys, seed)
    entries = {}
    for name, values in metric.values.items():
        n, median = len(values.keys), None
        if metric.by_row and metric.family != COST and n == figures[name].n:  # several rows of an image are not independent
            median = median_interval(values.single, LEVEL, max(200, min(1_000, MAX_SORTED // n)), seed)
        entries[name] = RankingEntry(figures[name], median, n, values.left_out, standings.get(name, ""), ranked.get(name))
    return Ranking(metric, entries, len(set(_images(keys))), pairs)


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


def _standings(
    metric: MetricOfRun, compared: list[str], keys: list[Key], figures: Mapping[str, Estimate], seed: int
) -> tuple[dict[str, Standing], list[Pair]]:
    """Who is the best of the compared explainers on their common rows, who may be as good, and the pairs behind that.

    An explainer with too few rows is compared with the best on the rows that both have. On few rows it can hardly be told
    apart. Explainers whose figures are written like that of the best are best together.
    """
    if not keys or len(metric.values) < 2 or not metric.has_ranks:
        return {}, []
    scores = {name: metric.values[name].at(keys) for name in compared}
    higher = metric.higher_is_better is True
    reduce = metric.reduce or (lambda rows: float(rows.mean()))
    best = (max if higher else min)(scores, key=lambda name: reduce(scores[name]))
    level, one_by_one, pairs = set[str](), metric.values.keys() - {best}, list[Pair]()
    if metric.reduce is None:
        one_by_one -= set(compared)
        if len(compared) > 1:
            columns = {name: numbers[:, 0] for name, numbers in scores.items()}
            trials = max(_trials(len(keys)), 25 * comb(len(compared), 2))
            pairs = compare_all(columns, higher, LEVEL, trials, seed, _images(keys))
            level = {name for pair in pairs if pair.better is None and best in pair[:2] for name in pair[:2]}
    for name in one_by_one:
        common = keys if name in compared else metric.common([best, name])
        if common and _may_be_chance(metric, best, name, common, seed):
            level.add(name)
    digits = decimals(figure.value for figure in figures.values())
    written = {name: number(figure.value, digits) for name, figure in figures.items()}

    def standing(name: str) -> Standing:
        if name == best or (name in compared and written[name] == written[best]):
            return "best"
        return "level" if name in level else ""

    return {name: standing(name) for name in metric.values}, pairs


def _may_be_chance(metric: MetricOfRun, best: str, name: str, keys: list[Key], seed: int) -> bool:
    """May the difference of an explainer to the best one be chance?

    Either the p-value says so, or the interval of a difference of figures holds 0. The level is corrected for the number of
    explainers (Bonferroni).
    """
    others, images = len(metric.values) - 1, _images(keys)
    if metric.reduce is None:
        one, other = (metric.values[each].single_at(keys) for each in (best, name))
        return compare(one, other, LEVEL, _trials(len(keys)), seed, images).p * others > 1 - LEVEL
    if len(set(images)) < MIN_IMAGES:
        return True
    found = _difference(metric, best, name, keys, 1 - (1 - LEVEL) / others, seed)
    return not (found.low > 0 or found.high < 0)


def _difference(metric: MetricOfRun, first: str, second: str, keys: list[Key], level: float, seed: int) -> Estimate:
    """The figure of ``first`` minus that of ``second`` on the same rows, and its interval."""
    one, other = (metric.values[name].at(keys) for name in (first, second))
    reduce, width, images = metric.reduce, one.shape[1], _images(keys)
    if reduce is None:
        return mean_intervals(one - other, level, _trials(len(keys)), seed, images)[0]
    return figure_interval(
        np.concatenate([one, other], axis=1),
        lambda rows: reduce(rows[:, :width].copy()) - reduce(rows[:, width:].copy()),
        level,
        seed=seed,
        images=images,
    )


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
