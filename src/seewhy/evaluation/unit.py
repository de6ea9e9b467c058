"""One unit of an evaluation: the maps of a batch by one explainer, scored by every metric that it lacks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import polars as pl
import torch
from torch import Tensor

from seewhy.evaluation.batch import Rows
from seewhy.evaluation.columns import UNIT_SCHEMA
from seewhy.evaluation.failures import together_or_alone
from seewhy.evaluation.question import Question
from seewhy.metrics import Case, HasCurve, Metric
from seewhy.metrics.base import score


@dataclass(frozen=True, eq=False)
class CasePart:
    """Some rows of a unit, and their case."""

    rows: Sequence[int]
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
) -> tuple[pl.DataFrame, Tensor | None]:
    """Explain the rows and score the maps by every metric.

    Returns the lines of the unit, see ``UNIT_SCHEMA``, and the maps (r, h, w), None if a map failed. Where a batch fails as
    a whole each of its images is tried alone, so that a bad image costs itself and no other.

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
    columns = zip(rows.index, rows.ids, rows.explained.tolist(), rows.scored.tolist(), strict=True)
    who = [{"index": i, "image_id": name, "explained": label, "scored": read} for i, name, label, read in columns]
    everything, lines = range(len(who)), list[dict[str, Any]]()
    asked = {name: {row for row in everything if wanted(name, rows.index[row])} for name in metrics}
    needs = frozenset(need for name, metric in metrics.items() if asked[name] for need in metric.needs)

    def make(some: Sequence[int]) -> Case:
        mine, maps = (rows, kept) if len(some) == len(who) else (rows.select(some), None)
        return question.case_of(mine, explainer, needs, maps)

    def failed(row: int, error: str) -> None:
        lines.append({**who[row], "metric": "", "error": error})
        lines.extend({**who[row], "metric": name} for name in metrics if row in asked[name])

    start = perf_counter()
    parts = [CasePart(*part) for part in together_or_alone(everything, make, failed)]
    lines.append({"metric": "", "seconds": perf_counter() - start})
    for name, metric in metrics.items():
        start = perf_counter()
        for part in parts:
            if mine := [i for i, row in enumerate(part.rows) if row in asked[name]]:
                lines += ({"metric": name, **line} for line in _scored(name, metric, part.select(mine), who))
        lines.append({"metric": name, "seconds": perf_counter() - start})
    whole = len(parts) == 1 and len(parts[0].rows) == len(who)
    unit = pl.DataFrame(lines, UNIT_SCHEMA).with_columns(explainer=pl.lit(explainer))
    return unit, parts[0].case.attributions if whole else None


def _scored(name: str, metric: Metric, part: CasePart, who: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Lines of the numbers and curves of a part; if it fails, each of its rows is scored alone."""
    failures: list[dict[str, Any]] = []

    def measure(places: Sequence[int]) -> tuple[Tensor, tuple[Sequence[float], Tensor] | None]:
        case = part.select(places).case
        numbers = score(name, metric, case).detach().cpu().double()
        return numbers.reshape(len(numbers), -1), metric.curve(case) if isinstance(metric, HasCurve) else None

    def failed(place: int, error: str) -> None:
        failures.append({**who[part.rows[place]], "error": error})

    for places, (numbers, curve) in together_or_alone(range(len(part.rows)), measure, failed):
        mine = [who[part.rows[place]] for place in places]
        several = numbers.shape[1] > 1
        for row, values in zip(mine, numbers.tolist(), strict=True):
            yield from ({**row, "part": i if several else None, "value": value} for i, value in enumerate(values))
        if curve is not None:
            yield {"places": list(curve[0])}
            curves = curve[1].detach().cpu().double().tolist()
            yield from ({**row, "curve": values} for row, values in zip(mine, curves, strict=True))
    yield from failures
