"""From the records of an evaluation to its tables, in an order that images, explainers and metrics alone decide."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import polars as pl

from seewhy.evaluation.question import Facts, Failure
from seewhy.evaluation.run import CURVES_SCHEMA, IMAGES_SCHEMA, SCORES_SCHEMA
from seewhy.evaluation.unit import Unit


class Record(NamedTuple):
    """A line of the journal."""

    batch: int
    content: Facts | Unit


class Tables(NamedTuple):
    """What the records say, in the order of images, explainers and metrics.

    places   for each metric that has curves, where they are known
    seconds  {"explainers": for its maps, by name; "metrics": by name}
    """

    scores: pl.DataFrame
    curves: pl.DataFrame
    images: pl.DataFrame
    failures: list[Failure]
    places: dict[str, list[float]]
    seconds: dict[str, dict[str, float]]


def told(manifest: Mapping[str, Any]) -> tuple[list[Failure], dict[str, list[float]], dict[str, dict[str, float]]]:
    """What the manifest of a finished run says of failures, the places of curves, and seconds."""
    return [Failure(**failure) for failure in manifest["failures"]], manifest["curves"], manifest["seconds"]


def tables(
    records: Iterable[Record],
    explainers: Sequence[str],
    metrics: Sequence[str],
    earlier: Tables | None,
    again: bool = True,
) -> Tables:
    """What the records and earlier evaluations say, each thing once. The records are not held, only their numbers.

    An image that could not be read, and now can, is no failure any more, if all that was asked ``earlier`` was asked
    ``again``: until then it lacks numbers.
    """
    scores, curves, images = _Column(SCORES_SCHEMA), _Column(CURVES_SCHEMA), _Column(IMAGES_SCHEMA)
    failures, places, lacking = list[Failure](), dict[str, list[float]](), set[int]()
    seconds: dict[str, dict[str, float]] = {"explainers": {}, "metrics": {}}
    if earlier is not None:
        for column, frame in ((scores, earlier.scores), (curves, earlier.curves), (images, earlier.images)):
            column.add(frame)
        failures, places = [*earlier.failures], {**earlier.places}
        lacking = set() if again else {failure.index for failure in failures if not failure.explainer}
        seconds = {kind: dict(spent) for kind, spent in earlier.seconds.items()}
    for _, content in records:
        failures += content.failures
        if isinstance(content, Facts):
            columns = {key: value for key, value in vars(content).items() if key != "failures"}
            images.add(pl.DataFrame(columns, schema=IMAGES_SCHEMA))
            continue
        scores.add(_scores(content))
        curves.add(_curves(content))
        places |= {name: at for name, (at, _) in content.curves.items()}
        for name, spent in content.seconds.items():
            kind, key = ("metrics", name) if name else ("explainers", content.explainer)
            seconds[kind][key] = seconds[kind].get(key, 0.0) + spent
    known = images.frame().unique("index", keep="last").sort("index")
    mended = {*known["index"]} - lacking
    unread = {failure.index: failure for failure in failures if not failure.explainer and failure.index not in mended}
    return Tables(
        _ordered(scores.frame(), explainers, metrics),
        _ordered(curves.frame(), explainers, metrics),
        known,
        sorted({*unread.values(), *(failure for failure in failures if failure.explainer)}),
        places,
        seconds,
    )


class _Column:
    """Many small frames, put together now and then: each costs thousands of bytes beside its numbers."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self.frames = [pl.DataFrame(schema=schema)]

    def add(self, frame: pl.DataFrame) -> None:
        self.frames.append(frame)
        if len(self.frames) > 256:
            self.frames = [self.frame()]

    def frame(self) -> pl.DataFrame:
        return pl.concat(self.frames, rechunk=True)


def _scores(unit: Unit) -> pl.DataFrame:
    """A line for each number; where a metric has several for an image they are called name[0], name[1], ..."""
    lines = []
    for name, rows in unit.values.items():
        several = any(numbers is not None and len(numbers) > 1 for numbers in rows)
        for i, numbers in enumerate(rows):
            lines += [(i, f"{name}[{j}]" if several else name, value) for j, value in enumerate(numbers or ())]
    columns = {
        **_who(unit, [i for i, _, _ in lines]),
        "scored": [unit.scored[i] for i, _, _ in lines],
        "metric": [name for _, name, _ in lines],
        "value": [value for _, _, value in lines],
    }
    return pl.DataFrame(columns, schema_overrides=SCORES_SCHEMA).select(*SCORES_SCHEMA)


def _curves(unit: Unit) -> pl.DataFrame:
    lines = [
        (i, name, values) for name, (_, rows) in unit.curves.items() for i, values in enumerate(rows) if values is not None
    ]
    columns = {
        **_who(unit, [i for i, _, _ in lines]),
        "metric": [name for _, name, _ in lines],
        "values": [values for _, _, values in lines],
    }
    return pl.DataFrame(columns, schema_overrides=CURVES_SCHEMA).select(*CURVES_SCHEMA)


def _who(unit: Unit, rows: Sequence[int]) -> dict[str, Any]:
    return {
        "index": [unit.index[i] for i in rows],
        "image_id": [unit.image_id[i] for i in rows],
        "explainer": [unit.explainer] * len(rows),
        "explained": [unit.explained[i] for i in rows],
    }


def _ordered(frame: pl.DataFrame, explainers: Sequence[str], metrics: Sequence[str]) -> pl.DataFrame:
    """By image, class, explainer and metric; of equal keys the last."""
    parts = frame["metric"].unique().to_list()
    order = sorted(parts, key=lambda text: (metrics.index(_whole(text, metrics)), len(text), text))
    ranks = {"explainer": {e: i for i, e in enumerate(explainers)}, "metric": {m: i for i, m in enumerate(order)}}
    places = [pl.col(c).replace_strict(r, return_dtype=pl.Int32).alias(f"{c} place") for c, r in ranks.items()]
    return (
        frame.unique(["index", "explained", "explainer", "metric"], keep="last", maintain_order=True)
        .with_columns(places)
        .sort("index", "explained", "explainer place", "metric place")
        .drop("explainer place", "metric place")
    )


def _whole(text: str, metrics: Sequence[str]) -> str:
    """The metric that a row belongs to: "class_masks" of "class_masks[3]"."""
    return text if text in metrics else text.rpartition("[")[0]
