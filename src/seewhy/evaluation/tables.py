"""The tables of an evaluation: selections of its units, in the order of images, classes, explainers and metrics."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import polars as pl

from seewhy.evaluation.columns import CURVES_SCHEMA, FACTS_SCHEMA, IMAGES_SCHEMA, SCORES_SCHEMA, UNIT_SCHEMA
from seewhy.evaluation.failures import Failure
from seewhy.evaluation.manifest import WorkTime

LINE = ["index", "explained", "explainer", "metric"]


class Tables(NamedTuple):
    """What the units say. ``places``: those of the curves, by metric."""

    scores: pl.DataFrame
    curves: pl.DataFrame
    images: pl.DataFrame
    failures: list[Failure]
    places: dict[str, list[float]]
    seconds: WorkTime


def tables(
    units: pl.DataFrame, facts: pl.DataFrame, unread: Iterable[Failure], limits: Mapping[str, Mapping[str, int]],
    ranks: Mapping[int, int],
) -> Tables:  # fmt: skip
    """The tables of all units.

    Args:
        units: lines of units, see ``joined_units``.
        facts: of the images.
        unread: images that could not be read or classified.
        limits: for each explainer and metric the number of images that are asked for, in the order of the tables.
        ranks: of each image; an image is within a limit if its rank is below.
    """
    explainers, metrics = list(limits), list(dict.fromkeys(m for of in limits.values() for m in of))
    pairs = [(e, m, most, i, metrics.index(m)) for i, (e, of) in enumerate(limits.items()) for m, most in of.items()]
    schema = {"explainer": pl.String, "metric": pl.String, "most": pl.Int64, "e": pl.Int64, "m": pl.Int64}
    rank = pl.DataFrame({"index": list(ranks), "rank": list(ranks.values())}, {"index": pl.Int32, "rank": pl.Int64})
    lines = (
        units.filter(pl.col("index").is_not_null(), pl.col("metric") != "")
        .join(pl.DataFrame(pairs, schema, orient="row"), on=["explainer", "metric"])
        .join(rank, on="index")
        .filter(pl.col("rank") < pl.col("most"))
        .sort("index", "explained", "e", "m", "part")
    )
    several = pl.col("metric") + "[" + pl.col("part").cast(pl.String) + "]"
    named = pl.when(pl.col("part").is_null()).then("metric").otherwise(several).alias("metric")
    times = units.filter(pl.col("index").is_null())
    places = times.filter(pl.col("places").is_not_null()).unique("metric", maintain_order=True)
    return Tables(
        lines.filter(pl.col("value").is_not_null()).with_columns(named).select(*SCORES_SCHEMA),
        lines.filter(pl.col("curve").is_not_null()).rename({"curve": "values"}).select(*CURVES_SCHEMA),
        facts.filter(pl.col("error").is_null()).unique("index").sort("index").select(*IMAGES_SCHEMA),
        sorted({*unread, *_failures(lines, units)}),
        dict(places.select("metric", "places").iter_rows()),
        WorkTime(_summed(times.filter(pl.col("metric") == ""), "explainer", explainers),
                _summed(times.filter(pl.col("metric") != ""), "metric", metrics)),
    )  # fmt: skip


def joined_units(units: Iterable[list[pl.DataFrame]]) -> pl.DataFrame:
    """All units as one frame, each number once. Units come by batch and explainer.

    Where two units have the same row of a metric, that of the unit with more rows of this metric counts: its batch is the
    one in which an undisturbed evaluation measures the row.
    """
    return _joined((_largest(several) if len(several) > 1 else several[0] for several in units if several), UNIT_SCHEMA)


def joined_facts(facts: Iterable[pl.DataFrame]) -> pl.DataFrame:
    return _joined(facts, FACTS_SCHEMA)


def _joined(frames: Iterable[pl.DataFrame], schema: dict[str, Any]) -> pl.DataFrame:
    """Many small frames as one; put together now and then, for each costs thousands of bytes beside its numbers."""
    parts = [pl.DataFrame(schema=schema)]
    for frame in frames:
        parts.append(frame)
        if len(parts) > 256:
            parts = [pl.concat(parts, rechunk=True)]
    return pl.concat(parts, rechunk=True)


def _largest(units: list[pl.DataFrame]) -> pl.DataFrame:
    """The lines of several units of a batch and an explainer, each row of a metric from the unit that has most of them."""
    whole = pl.concat([unit.with_columns(unit=i) for i, unit in enumerate(units)])
    sizes = whole.filter(pl.col("index").is_not_null()).group_by("unit", "metric").agg(
        pl.struct("index", "explained").n_unique().alias("size")
    )  # fmt: skip
    sized = whole.join(sizes, on=["unit", "metric"], how="left").sort("size", "unit", descending=True, maintain_order=True)
    best = sized.filter(pl.col("index").is_not_null()).unique(["index", "explained", "metric"], keep="first")
    of_best = sized.join(best.select("unit", "index", "explained", "metric"), on=["unit", "index", "explained", "metric"])
    return pl.concat([of_best, sized.filter(pl.col("index").is_null())]).select(*UNIT_SCHEMA)


def _failures(lines: pl.DataFrame, units: pl.DataFrame) -> list[Failure]:
    """Rows that could not be scored, and those that could not be explained: some metric has a line without a value."""
    scored = lines.filter(pl.col("error").is_not_null())
    lacking = lines.filter(pl.all_horizontal(pl.col("value", "curve", "error").is_null()))
    explained = units.filter(pl.col("index").is_not_null(), pl.col("metric") == "").join(
        lacking, on=["index", "explained", "explainer"], how="semi"
    )
    names = ["index", "image_id", "explainer", "metric", "error"]
    return [Failure(*row) for frame in (scored, explained) for row in frame.select(names).iter_rows()]


def _summed(times: pl.DataFrame, by: str, names: list[str]) -> dict[str, float]:
    found = dict(times.group_by(by).agg(pl.col("seconds").sum()).iter_rows())
    return {name: found[name] for name in names if name in found}
