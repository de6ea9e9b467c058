"""The leaderboard: a figure with its interval for each explainer and metric, who leads, and how sure the ranks are."""

from collections.abc import Mapping, Sequence
from math import ceil, log2
from typing import Literal, NamedTuple

import numpy as np

from seewhy.evaluation.bootstrap import Array
from seewhy.evaluation.ranks import Rank, ranks
from seewhy.evaluation.statistics import Estimate, compare, compare_all, figure_interval, mean_intervals, median_interval
from seewhy.report.run_numbers import COST, Key, Measure

Standing = Literal["best", "level", ""]
LEVEL = 0.95
FEW = 8
"""Images on which the interval of a difference holds too seldom: two equal explainers were told apart on 3 in a fifth."""
NUMBERS = 1_000_000
"""That the resamples of one median may sort; a large run has fewer resamples, but no less than 200."""
DRAWN = 30_000_000
"""Images that are drawn for one figure: from 3000 images on there are fewer than 10 000 resamples, but no less than 2000."""
READ = 2_000_000_000
"""That the resamples of one figure of several numbers may read; no less than 200 resamples either."""


class Cell(NamedTuple):
    """A figure. ``median`` is None where a metric has its own way to one figure; ``rows`` counts the numbers behind it.

    ``standing`` is "best", or "level" where the difference to the best may be chance.
    """

    figure: Estimate
    median: Estimate | None
    rows: int
    left_out: int
    standing: Standing
    rank: Rank | None


class Column(NamedTuple):
    """A metric and its cells by explainer; the comparisons rest on ``shared`` images, which all of the field have."""

    measure: Measure
    cells: Mapping[str, Cell]
    shared: int

    @property
    def leader(self) -> str | None:
        """The best explainer, if one is better than another."""
        return next((name for name, cell in self.cells.items() if cell.standing == "best"), None)

    @property
    def level(self) -> list[str]:
        """Explainers whose difference to the best may be chance."""
        return [name for name, cell in self.cells.items() if cell.standing == "level"]

    @property
    def wanted(self) -> int | None:
        """Images from which on the sign-flip test can tell so many explainers apart at all, if there are fewer.

        Of n images the smallest p-value is 2^(1 - n), and Holm's correction multiplies it by the number of pairs.
        """
        k = sum(1 for cell in self.cells.values() if cell.standing)
        if self.measure.reduce is not None or k < 2:
            return None
        least = 1 + ceil(log2(k * (k - 1) / 2 / (1 - LEVEL) - 1e-9))
        return least if self.shared < least else None

    @property
    def order(self) -> list[str]:
        """Explainers, the best figure first."""
        sign = 1 if self.measure.higher_is_better is False else -1
        return sorted(self.cells, key=lambda name: sign * self.cells[name].figure.value)


def column(measure: Measure, seed: int = 0) -> Column:
    """All that the leaderboard says of one metric."""
    field = measure.field
    figures, keys = _figures(measure, seed), measure.common(field)
    standings = _standings(measure, field, keys, seed)
    ranked = _ranks(measure, field, keys, seed)
    cells = {}
    for name, reading in measure.readings.items():
        one_each = _images(reading.keys) is None  # several rows of an image are not independent
        median = _median(reading.column, seed) if measure.by_row and measure.family != COST and one_each else None
        standing = standings.get(name, "")
        cells[name] = Cell(figures[name], median, len(reading.keys), reading.left_out, standing, ranked.get(name))
    return Column(measure, cells, len({key.image for key in keys}))


def mean_ranks(columns: Sequence[Column]) -> dict[str, float]:
    """The mean of the ranks of each explainer over the metrics that rank it."""
    found: dict[str, list[float]] = {}
    for each in columns:
        for name, cell in each.cells.items():
            if cell.rank is not None:
                found.setdefault(name, []).append(cell.rank.rank)
    return {name: float(np.mean(numbers)) for name, numbers in found.items()}


def _figures(measure: Measure, seed: int) -> dict[str, Estimate]:
    """With intervals over images; those of explainers with the same rows are drawn together."""
    if measure.family == COST or measure.reduce is not None:
        return {name: _figure(measure, name, seed) for name in measure.readings}
    groups: dict[tuple[Key, ...], list[str]] = {}
    for name, reading in measure.readings.items():
        groups.setdefault(tuple(reading.keys), []).append(name)
    found: dict[str, Estimate] = {}
    for keys, names in groups.items():
        columns = np.stack([measure.readings[name].column for name in names], axis=1)
        found |= zip(names, mean_intervals(columns, LEVEL, _trials(len(keys)), seed, _images(keys)), strict=True)
    return {name: found[name] for name in measure.readings}


def _figure(measure: Measure, name: str, seed: int) -> Estimate:
    reading = measure.readings[name]
    images = {key.image for key in reading.keys}
    if measure.family == COST or measure.reduce is None:
        return Estimate(float(reading.column.mean()), np.nan, np.nan, len(images))
    trials = max(200, min(2_000, READ // reading.values.size))
    return figure_interval(reading.values, measure.reduce, LEVEL, trials, seed, _images(reading.keys))


def _median(values: Array, seed: int) -> Estimate:
    return median_interval(values, LEVEL, max(200, min(1_000, NUMBERS // len(values))), seed)


def _standings(measure: Measure, field: list[str], keys: list[Key], seed: int) -> dict[str, Standing]:
    """Who is the best of the field on the rows that it shares, and who may be as good.

    One outside the field is compared with the best on the rows that both have; on a few it can hardly be told apart.
    """
    if not keys or len(measure.readings) < 2 or measure.higher_is_better is None or measure.family == COST:
        return {}
    scores = {name: measure.readings[name].at(keys) for name in field}
    sign = 1 if measure.higher_is_better else -1
    reduce = measure.reduce or (lambda rows: float(rows.mean()))
    best = max(scores, key=lambda name: sign * reduce(scores[name]))
    others = len(measure.readings) - 1
    if measure.reduce is not None:
        level = _level_figures(measure, scores, best, keys, others, seed)
    elif len(field) < 2:
        level = set()
    else:
        pairs = len(scores) * (len(scores) - 1) // 2
        columns = {name: values[:, 0] for name, values in scores.items()}
        found = compare_all(columns, sign > 0, LEVEL, max(_trials(len(keys)), 25 * pairs), seed, _images(keys))
        level = {name for pair in found if pair.better is None and best in pair[:2] for name in pair[:2]}
    for name in measure.readings.keys() - set(field):
        both = measure.common([best, name])
        pair = {one: measure.readings[one].at(both) for one in (best, name)}
        if both and measure.reduce is not None:
            level |= _level_figures(measure, pair, best, both, others, seed)
        elif both:
            found_p = compare(pair[best][:, 0], pair[name][:, 0], LEVEL, _trials(len(both)), seed, _images(both)).p
            level |= {name} if found_p * others > 1 - LEVEL else set()
    return {name: "best" if name == best else "level" for name in measure.readings if name == best or name in level}


def _level_figures(
    measure: Measure, scores: Mapping[str, Array], best: str, keys: list[Key], others: int, seed: int
) -> set[str]:
    """The interval of the difference of two figures holds 0; at a level that is corrected for their number (Bonferroni)."""
    reduce, level = measure.reduce, set()
    assert reduce is not None
    if len({key.image for key in keys}) < FEW:
        return set(scores) - {best}
    width = scores[best].shape[1]
    for name in scores.keys() - {best}:
        both = np.concatenate([scores[best], scores[name]], axis=1)
        found = figure_interval(
            both,
            lambda rows: reduce(rows[:, :width].copy()) - reduce(rows[:, width:].copy()),
            1 - (1 - LEVEL) / others,
            max(200, min(2_000, READ // both.size)),
            seed,
            _images(keys),
        )
        if not (found.low > 0 or found.high < 0):
            level.add(name)
    return level


def _ranks(measure: Measure, field: list[str], keys: list[Key], seed: int) -> dict[str, Rank]:
    if not keys or len(field) < 2 or not measure.has_ranks:
        return {}
    higher = measure.higher_is_better is True
    if measure.reduce is None:
        scores = {name: measure.readings[name].at(keys)[:, 0] for name in field}
        return ranks(scores, higher, LEVEL, _trials(len(keys)), seed, _images(keys))
    figures = {name: [measure.reduce(measure.readings[name].at(keys))] for name in field}
    return ranks(figures, higher, LEVEL, trials=1, seed=seed)  # one "image": a rank without an interval


def _trials(rows: int) -> int:
    return max(2_000, min(10_000, DRAWN // rows))


def _images(keys: Sequence[Key]) -> list[int] | None:
    """Whose each row is, where an image has several."""
    found = [key.image for key in keys]
    return found if len(set(found)) < len(found) else None
