"""One unit of an evaluation: the maps of a batch by one explainer, scored by every metric."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import torch
from torch import Tensor

from seewhy.errors import ImageError, SeewhyError, cause
from seewhy.evaluation.question import Asked, Failure, Question
from seewhy.metrics import Case, HasCurve, Metric
from seewhy.metrics.base import Need, score


@dataclass(frozen=True)
class Unit:
    """What the maps of a batch by one explainer are worth. A row is an image and the class explained.

    index      the place of each row's image in the dataset
    values     for each metric the numbers of each row; None where it was not asked for, or failed
    curves     for each metric that has one: the places, and the values of each row
    seconds    for each metric, and for "" the making of the maps
    """

    explainer: str
    index: list[int]
    image_id: list[str]
    explained: list[int]
    scored: list[int]
    values: dict[str, list[list[float] | None]]
    curves: dict[str, tuple[list[float], list[list[float] | None]]]
    failures: list[Failure]
    seconds: dict[str, float]


@dataclass(frozen=True, eq=False)
class Part:
    """Some rows of a unit, and their case."""

    rows: list[int]
    case: Case


def measured(
    question: Question,
    asked: Asked,
    explainer: str,
    metrics: Mapping[str, Metric],
    wanted: Callable[[str, int], bool],
    kept: Tensor | None = None,
) -> tuple[Unit, Tensor | None]:
    """The unit of one explainer, and its maps (r, h, w), or None if one of them failed.

    Where a batch fails as a whole each of its images is tried alone, so that a bad image costs itself and no other.

    Args:
        question: what is asked.
        asked: the images, and the class that is explained for each.
        explainer: which.
        metrics: by the name that the rows get.
        wanted: is this metric asked for the image at this place of the dataset?
        kept: (r, h, w) maps that were made before.

    Raises:
        SeewhyError: what was asked cannot be had, whatever the image.
    """
    n = len(asked.index)
    classes = asked.explained.tolist(), asked.scored.tolist()
    unit = Unit(explainer, asked.index, asked.ids, *classes, {name: [None] * n for name in metrics}, {}, [], {})
    asking = [metric for name, metric in metrics.items() if any(wanted(name, index) for index in asked.index)]
    needs = frozenset(need for metric in asking for need in metric.needs)
    start = perf_counter()
    parts = list(_parts(question, asked, explainer, kept, needs, unit))
    unit.seconds[""] = perf_counter() - start
    for name, metric in metrics.items():
        start = perf_counter()
        for part in parts:
            places = [i for i, row in enumerate(part.rows) if wanted(name, asked.index[row])]
            if places:
                _score(name, metric, _some(part, places), unit)
        unit.seconds[name] = perf_counter() - start
    whole = len(parts) == 1 and len(parts[0].rows) == n
    return unit, parts[0].case.attributions if whole else None


def _parts(
    question: Question, asked: Asked, explainer: str, kept: Tensor | None, needs: frozenset[Need], unit: Unit
) -> Iterator[Part]:
    """The case of all rows; if it cannot be made, one for each row for which it can."""
    n = len(asked.index)
    try:
        yield Part(list(range(n)), question.case(asked, explainer, needs, kept))
    except Exception as error:
        if _of_the_question(error):
            raise
        for row in range(n):
            try:
                yield Part([row], question.case(asked.rows([row]), explainer, needs))
            except Exception as own:
                if _of_the_question(own):
                    raise
                unit.failures.append(Failure(asked.index[row], asked.ids[row], explainer, "", said(own)))


def _some(part: Part, places: Sequence[int]) -> Part:
    """Some rows of a part, made once: metrics that are asked for the same few images share their curves too."""
    if len(places) == len(part.rows):
        return part
    case = part.case.share(("rows", *places), lambda: part.case.rows(torch.tensor(places, device=part.case.images.device)))
    return Part([part.rows[i] for i in places], case)


def _score(name: str, metric: Metric, part: Part, unit: Unit) -> None:
    """Score a part; if it fails, each of its rows alone."""
    try:
        found = score(name, metric, part.case).detach().cpu().double()
        drawn = metric.curve(part.case) if isinstance(metric, HasCurve) else None
    except Exception as error:
        if _of_the_question(error):
            raise
        if len(part.rows) > 1:
            for i in range(len(part.rows)):
                _score(name, metric, _some(part, [i]), unit)
        else:
            row = part.rows[0]
            unit.failures.append(Failure(unit.index[row], unit.image_id[row], unit.explainer, name, said(error)))
        return
    for row, numbers in zip(part.rows, found.reshape(len(found), -1).tolist(), strict=True):
        unit.values[name][row] = numbers
    if drawn is not None:
        places, values = list(drawn[0]), drawn[1].detach().cpu().double().tolist()
        _, curves = unit.curves.setdefault(name, (places, [None] * len(unit.index)))
        for row, curve in zip(part.rows, values, strict=True):
            curves[row] = curve


def _of_the_question(error: Exception) -> bool:
    """Is it a mistake in what was asked, that every image would meet?"""
    return isinstance(error, SeewhyError) and not isinstance(error, ImageError)


def said(error: Exception) -> str:
    """The error in one line."""
    return " ".join(str(error).split()) if isinstance(error, SeewhyError) else cause(error)
