"""What a run folder says of each explainer by each metric: the numbers behind every table and chart."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
from torch import from_numpy

from seewhy.errors import SeewhyError
from seewhy.evaluation.manifest import AboutMetric
from seewhy.evaluation.run import Run
from seewhy.evaluation.statistics import Array
from seewhy.metrics import metric
from seewhy.metrics.base import Reduces

Reduce = Callable[[Array], float]
COST = "cost"
"""One measurement stands in every row of its batch: the rows of such a metric are no sample, and get no interval."""


class Key(NamedTuple):
    """A row: the place of an image in the dataset, and the class that its map explains."""

    image: int
    explained: int


@dataclass(frozen=True, eq=False)
class Reading:
    """The numbers of one explainer by one metric.

    keys       of the r rows whose numbers are finite
    values     (r, m), and m is 1 for most metrics
    left_out   rows with a NaN or an infinite number
    """

    keys: list[Key]
    values: Array
    left_out: int

    @property
    def column(self) -> Array:
        """(r,) of a metric with one number a row."""
        return self.values[:, 0]

    def at(self, keys: list[Key]) -> Array:
        """(len(keys), m) the numbers of some rows."""
        place = {key: i for i, key in enumerate(self.keys)}
        return self.values[[place[key] for key in keys]]


@dataclass(frozen=True, eq=False)
class Measure:
    """A metric of a run. ``reduce`` makes the figure of those with several numbers a row; the others have means."""

    name: str
    about: AboutMetric
    readings: Mapping[str, Reading]
    reduce: Reduce | None

    @property
    def family(self) -> str:
        return self.about.family or "other"

    @property
    def higher_is_better(self) -> bool | None:
        return self.about.higher_is_better

    @property
    def has_ranks(self) -> bool:
        """Is one figure better than another, and are its rows a sample?"""
        return self.higher_is_better is not None and self.family != COST

    @property
    def by_row(self) -> bool:
        """Has each row one number?"""
        return self.reduce is None

    @property
    def field(self) -> list[str]:
        """The explainers that are compared with each other: those with at least half of the most rows.

        One that was too slow for more than a few images would leave the others only these to be compared on.
        """
        most = max(len(reading.keys) for reading in self.readings.values())
        return [name for name, reading in self.readings.items() if 2 * len(reading.keys) >= most]

    def common(self, names: Sequence[str]) -> list[Key]:
        """The rows that all of some explainers have, in their order."""
        first, *others = (self.readings[name] for name in names)
        shared = set(first.keys).intersection(*(reading.keys for reading in others))
        return [key for key in first.keys if key in shared]


class Unread(NamedTuple):
    """A metric that has no figure on the page, and why."""

    name: str
    why: str


def read_measures(run: Run) -> tuple[list[Measure], list[Unread]]:
    """The metrics of a run in the order of its manifest, and those whose figure cannot be had."""
    names = run.manifest.metrics
    parts = {text: text if text in names else text.rpartition("[")[0] for text in run.scores["metric"].unique()}
    frame = run.scores.with_columns(pl.col("metric").replace_strict(parts, return_dtype=pl.String).alias("whole"))
    grouped = frame.partition_by("whole", "explainer", as_dict=True, maintain_order=True)
    measures, unread = [], []
    for name, about in names.items():
        readings = {e: _reading(grouped[name, e]) for e in explainers_of(run) if (name, e) in grouped}
        readings = {e: reading for e, reading in readings.items() if len(reading.keys)}
        several = any(reading.values.shape[1] > 1 for reading in readings.values())
        if not readings:
            unread.append(Unread(name, "has no finite score"))
        elif several and (reduce := _reduce(about)) is not None:
            measures.append(Measure(name, about, readings, reduce))
        elif several:
            unread.append(Unread(name, "has several numbers an image, and how they make one figure is not known here"))
        else:
            measures.append(Measure(name, about, readings, None))
    return measures, unread


def explainers_of(run: Run) -> list[str]:
    """In the order of the manifest; one that was never successful is among them."""
    return list(run.manifest.explainers)


def _reading(frame: pl.DataFrame) -> Reading:
    rows = frame.group_by("index", "explained", maintain_order=True).agg(pl.col("value"))
    width = rows["value"].list.len().max()
    whole = rows.filter(pl.col("value").list.len() == width)
    values = np.array(whole["value"].to_list(), dtype=np.float64)
    finite = np.isfinite(values).all(1)
    keys = [Key(*key) for key in whole.filter(pl.Series(finite)).select("index", "explained").iter_rows()]
    return Reading(keys, values[finite], len(rows) - len(keys))


def _reduce(about: AboutMetric) -> Reduce | None:
    """How the metric makes one figure of all rows; None for one that is not registered, or takes other options by now."""
    try:
        measure = metric(about.metric, **about.options)
    except SeewhyError:
        return None
    return (lambda rows: measure.reduce(from_numpy(rows))) if isinstance(measure, Reduces) else None
