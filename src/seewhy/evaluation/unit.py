"""One unit of an evaluation: the maps of a batch by one explainer, scored by every metric that it lacks."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import polars as pl
import torch
from torch import Tensor

from seewhy.evaluation.batch import Rows
from seewhy.evaluation.columns import UNIT_SCHEMA
from seewhy.evaluation.failures import Failure, together_or_alone
from seewhy.evaluation.question import Question
from seewhy.metrics import Case, HasCurve, Metric
from seewhy.metrics.base import Need, score


@dataclass(frozen=True)
class Unit:
    """What the maps of a batch by one explainer are worth.

    values    for each metric the numbers of each row; None where it was not asked for, or failed
    wanted    for each metric the rows for which it was asked for
    curves    for each metric that has one: the places, and the values of each row
    failures  the row, the metric or "" for the explainer, and the error
    seconds   for each metric, and for "" the making of the maps
    """

    explainer: str
    rows: Rows
    wanted: dict[str, list[int]]
    values: dict[str, list[list[float] | None]]
    curves: dict[str, tuple[list[float], list[list[float] | None]]] = field(default_factory=dict)
    failures: list[tuple[int, str, str]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def has_numbers(self) -> bool:
        return any(numbers is not None for values in self.values.values() for numbers in values)

    def failed(self) -> list[Failure]:
        ids = self.rows.ids
        return [Failure(self.rows.index[row], ids[row], self.explainer, name, error) for row, name, error in self.failures]

    def worked(self) -> Counter[tuple[str, str]]:
        """On how many rows the explainer, with and without each metric, has worked."""
        found: Counter[tuple[str, str]] = Counter()
        for name, values in self.values.items():
            good = sum(numbers is not None for numbers in values)
            found.update({(self.explainer, name): good, (self.explainer, ""): good})
        return found

    def frame(self) -> pl.DataFrame:
        """A line for each thing that is known: see ``UNIT_SCHEMA``."""
        explained, scored = self.rows.explained.tolist(), self.rows.scored.tolist()
        who = [(*row, self.explainer) for row in zip(self.rows.index, self.rows.ids, explained, scored, strict=True)]
        nobody = (None, None, None, None, self.explainer)
        lines: list[tuple[Any, ...]] = []
        lines += [(*who[row], "", None, None, None, None, error, None) for row, name, error in self.failures if not name]
        lines.append((*nobody, "", None, None, None, None, None, self.seconds[""]))
        for name in self.wanted:
            lines += [(*who[row], name, *what, None) for row, *what in self._lines_of(name)]
            places = self.curves[name][0] if name in self.curves else None
            lines.append((*nobody, name, None, None, places, None, None, self.seconds[name]))
        return pl.DataFrame(lines, UNIT_SCHEMA, orient="row")

    def _lines_of(self, name: str) -> Iterator[tuple[Any, ...]]:
        """Row, part, value, places, curve and error of the numbers and curves of a metric."""
        values, errors = self.values[name], {row: error for row, of, error in self.failures if of == name}
        several = any(numbers is not None and len(numbers) > 1 for numbers in values)
        for row in self.wanted[name]:
            for part, value in enumerate(values[row] or [None]):
                yield row, part if several else None, value, None, None, errors.get(row)
        if name in self.curves:
            curves = self.curves[name][1]
            yield from ((row, None, None, None, curves[row], None) for row in self.wanted[name] if curves[row] is not None)


@dataclass(frozen=True, eq=False)
class CasePart:
    """Some rows of a unit, and their case."""

    rows: list[int]
    case: Case

    def select(self, places: Sequence[int]) -> "CasePart":
        """Some rows, made once: metrics that are asked for the same few images share their curves too."""
        if len(places) == len(self.rows):
            return self
        device = self.case.images.device
        case = self.case.share(("rows", *places), lambda: self.case.rows(torch.tensor(places, device=device)))
        return CasePart([self.rows[i] for i in places], case)


def measure_unit(
    question: Question,
    rows: Rows,
    explainer: str,
    metrics: Mapping[str, Metric],
    wanted: Callable[[str, int], bool],
    kept: Tensor | None = None,
) -> tuple[Unit, Tensor | None]:
    """Explain the rows and score the maps by every metric. Returns the unit and the maps (r, h, w), None if a map failed.

    Where a batch fails as a whole each of its images is tried alone, so that a bad image costs itself and no other.

    Args:
        question: what is asked.
        rows: the images, and the class that is explained for each.
        explainer: its name.
        metrics: by the name that the lines get.
        wanted: is this metric asked for the image at this place of the dataset?
        kept: (r, h, w) maps that were made before.

    Raises:
        SeewhyError: a mistake in the question, which every image would meet.
    """
    n = len(rows.index)
    asked = {name: [i for i, index in enumerate(rows.index) if wanted(name, index)] for name in metrics}
    unit = Unit(explainer, rows, asked, {name: [None] * n for name in metrics})
    needs = frozenset(need for name, metric in metrics.items() if asked[name] for need in metric.needs)
    start = perf_counter()
    parts = list(_parts(question, unit, kept, needs))
    unit.seconds[""] = perf_counter() - start
    for name, metric in metrics.items():
        start, mine = perf_counter(), {*asked[name]}
        for part in parts:
            places = [i for i, row in enumerate(part.rows) if row in mine]
            if places:
                _score(name, metric, part.select(places), unit)
        unit.seconds[name] = perf_counter() - start
    whole = len(parts) == 1 and len(parts[0].rows) == n
    return unit, parts[0].case.attributions if whole else None


def _parts(question: Question, unit: Unit, kept: Tensor | None, needs: frozenset[Need]) -> Iterator[CasePart]:
    """The case of all rows; if it cannot be made, one for each row for which it can."""
    everything = list(range(len(unit.rows.index)))

    def make(rows: Sequence[int]) -> Case:
        mine, maps = (unit.rows, kept) if len(rows) == len(everything) else (unit.rows.select(rows), None)
        return question.case_of(mine, unit.explainer, needs, maps)

    for rows, case in together_or_alone(everything, make, lambda row, error: unit.failures.append((row, "", error))):
        yield CasePart(list(rows), case)


def _score(name: str, metric: Metric, part: CasePart, unit: Unit) -> None:
    """Score a part; if it fails, each of its rows alone."""

    def measure(places: Sequence[int]) -> tuple[Tensor, tuple[Sequence[float], Tensor] | None]:
        case = part.select(places).case
        return score(name, metric, case).detach().cpu().double(), metric.curve(case) if isinstance(
            metric, HasCurve
        ) else None

    def failed(place: int, error: str) -> None:
        unit.failures.append((part.rows[place], name, error))

    for places, (found, curve) in together_or_alone(range(len(part.rows)), measure, failed):
        rows = [part.rows[place] for place in places]
        for row, numbers in zip(rows, found.reshape(len(found), -1).tolist(), strict=True):
            unit.values[name][row] = numbers
        if curve is not None:
            _, curves = unit.curves.setdefault(name, (list(curve[0]), [None] * len(unit.rows.index)))
            for row, values in zip(rows, curve[1].detach().cpu().double().tolist(), strict=True):
                curves[row] = values
