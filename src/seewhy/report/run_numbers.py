"""The numbers of each explainer by each metric, read from a run folder: what stands behind every table and chart."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
from torch import from_numpy

from seewhy.errors import SeewhyError
from seewhy.evaluation.bootstrap import Array
from seewhy.evaluation.manifest import AboutMetric
from seewhy.evaluation.run import Run, metric_of
from seewhy.metrics import metric
from seewhy.metrics.base import Reduces

Reduce = Callable[[Array], float]
MAX_NUMBER = 1e100
"""Of a score. No metric gives a larger one."""
COST = "cost"
"""The family whose rows are no sample: one measurement stands in every row of a batch. Its figures have no interval."""


class Key(NamedTuple):
    """A row: the place of an image in the dataset, and the class that its map explains."""

    image: int
    explained: int


@dataclass(frozen=True, eq=False)
class MetricValues:
    """The numbers of one explainer by one metric.

    keys       the r rows whose numbers are finite
    numbers    (r, m); m is 1 for most metrics
    left_out   how many rows have a NaN or an infinite number
    """

    keys: list[Key]
    numbers: Array
    left_out: int

    @property
    def single(self) -> Array:
        """(r,) the numbers of a metric with one number a row."""
        return self.numbers[:, 0]

    def at(self, keys: list[Key]) -> Array:
        """(len(keys), m) the numbers of these rows."""
        place = {key: i for i, key in enumerate(self.keys)}
        return self.numbers[[place[key] for key in keys]]

    def single_at(self, keys: list[Key]) -> Array:
        """(len(keys),) the numbers of these rows, of a metric with one number a row."""
        return self.at(keys)[:, 0]


@dataclass(frozen=True, eq=False)
class MetricOfRun:
    """A metric of a run, with the values of each explainer.

    about    what the manifest says of the metric
    values   by explainer
    reduce   makes one figure of all rows; None for a metric with one number a row, whose figure is the mean
    """

    name: str
    about: AboutMetric
    values: Mapping[str, MetricValues]
    reduce: Reduce | None

    @property
    def family(self) -> str:
        return self.about.family or "other"

    @property
    def higher_is_better(self) -> bool | None:
        return self.about.higher_is_better

    @property
    def has_ranks(self) -> bool:
        """Whether one figure is better than another, and rows are a sample."""
        return self.higher_is_better is not None and self.family != COST

    @property
    def by_row(self) -> bool:
        """Whether each row has one number."""
        return self.reduce is None

    @property
    def compared(self) -> list[str]:
        """The explainers that are compared with each other: those with at least half as many rows as the one with most.

        All are compared on their common rows. An explainer that was too slow for more than a few images would leave the
        others only these images.
        """
        most = max(len(values.keys) for values in self.values.values())
        return [name for name, values in self.values.items() if 2 * len(values.keys) >= most]

    def common(self, names: Sequence[str]) -> list[Key]:
        """The rows that all of these explainers have, in the order of the first."""
        first, *others = (self.values[name] for name in names)
        shared = set(first.keys).intersection(*(values.keys for values in others))
        return [key for key in first.keys if key in shared]


def read_metrics(run: Run) -> tuple[list[MetricOfRun], dict[str, str]]:
    """The metrics of a run in the order of its manifest, and why others have no figure."""
    names = run.manifest.metrics
    whole = {text: metric_of(text, names) for text in run.scores["metric"].unique()}
    frame = run.scores.with_columns(pl.col("metric").replace_strict(whole, return_dtype=pl.String).alias("whole"))
    grouped = frame.partition_by("whole", "explainer", as_dict=True, maintain_order=True)
    metrics, unread = [], {}
    for name, about in names.items():
        read = {e: _read_values(grouped[name, e]) for e in run.manifest.explainers if (name, e) in grouped}
        found = {e: values for e, values in read.items() if values.keys}
        several = any(values.numbers.shape[1] > 1 for values in found.values())
        if not found:
            unread[name] = "has no finite score"
        elif several and (reduce := _reduce(about)) is not None:
            metrics.append(MetricOfRun(name, about, found, reduce))
        elif several:
            unread[name] = "has several numbers an image, and how they make one figure is not known here"
        else:
            metrics.append(MetricOfRun(name, about, found, None))
    return metrics, unread


def _read_values(frame: pl.DataFrame) -> MetricValues:
    rows = frame.group_by("index", "explained", maintain_order=True).agg(pl.col("value"))
    kept, numbers = finite_rows(rows, "value", max(rows["value"].list.len().to_list()))
    keys = [Key(*key) for key in kept.select("index", "explained").iter_rows()]
    return MetricValues(keys, numbers, len(rows) - len(keys))


def finite_rows(frame: pl.DataFrame, column: str, width: int) -> tuple[pl.DataFrame, Array]:
    """The r rows that have ``width`` finite numbers in ``column``, and these numbers (r, width).

    A number above MAX_NUMBER counts as infinite: sums and squares of such numbers are.
    """
    whole = frame.filter(pl.col(column).list.len() == width)
    numbers = np.array(whole[column].to_list(), dtype=np.float64).reshape(-1, width)
    finite = (np.abs(numbers) <= MAX_NUMBER).all(1)  # NaN is not
    return whole.filter(pl.Series(finite)), numbers[finite]


def _reduce(about: AboutMetric) -> Reduce | None:
    """How the metric makes one figure of all rows; None if it is not registered here, or takes other options by now."""
    try:
        found = metric(about.metric, **about.options)
    except SeewhyError:
        return None
    return (lambda rows: found.reduce(from_numpy(rows))) if isinstance(found, Reduces) else None
