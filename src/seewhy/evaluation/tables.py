"""The tables of an evaluation: selections of its units, in the order of images, classes, explainers and metrics."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import polars as pl

from seewhy.evaluation.columns import CURVES_SCHEMA, IMAGES_SCHEMA, SCORES_SCHEMA, UNIT_SCHEMA
from seewhy.evaluation.failures import Failure
from seewhy.evaluation.manifest import WorkTime

OUTWEIGHED = 2**40
"""More than the weight of any unit."""


class Tables(NamedTuple):
    """What the units say. ``places``: those of the curves, by metric."""

    scores: pl.DataFrame
    curves: pl.DataFrame
    images: pl.DataFrame
    failures: list[Failure]
    places: dict[str, list[float]]
    seconds: WorkTime


def tables(
    units: pl.DataFrame, facts: pl.DataFrame, limits: Mapping[str, Mapping[str, int]], ranks: Mapping[int, int]
) -> Tables:
    """The tables of all units.

    Args:
        units: lines of units, see ``joined``.
        facts: of the images.
        limits: for each explainer and metric the number of images that are asked for, in the order of the tables.
        ranks: of each image; an image is within a limit if its rank is below.
    """
    explainers, metrics = list(limits), list(dict.fromkeys(m for of in limits.values() for m in of))
    pairs = [(e, m, most, i, metrics.index(m)) for i, (e, of) in enumerate(limits.items()) for m, most in of.items()]
    rank = pl.DataFrame({"index": list(ranks), "rank": list(ranks.values())}, {"index": pl.Int32, "rank": pl.Int64})
    lines = (
        units.filter(pl.col("index").is_not_null(), pl.col("metric") != "")
        .filter(pl.col("weight") == pl.col("weight").max().over("index", "explainer", "metric"))
        .join(pl.DataFrame(pairs, ["explainer", "metric", "most", "e", "m"], orient="row"), on=["explainer", "metric"])
        .join(rank, on="index")
        .filter(pl.col("rank") < pl.col("most"))
        .sort("index", "explained", "e", "m", "part")
    )
    several = pl.col("metric") + "[" + pl.col("part").cast(pl.String) + "]"
    named = pl.when(pl.col("part").is_null()).then("metric").otherwise(several).alias("metric")
    places = units.filter(pl.col("places").is_not_null()).unique("metric", maintain_order=True)
    times = units.filter(pl.col("seconds").is_not_null())
    known = facts.filter(pl.col("error").is_null())
    return Tables(
        lines.filter(pl.col("value").is_not_null()).with_columns(named).select(*SCORES_SCHEMA),
        lines.filter(pl.col("curve").is_not_null()).rename({"curve": "values"}).select(*CURVES_SCHEMA),
        known.sort("index").select(*IMAGES_SCHEMA),
        _failures(lines, units, facts),
        dict(places.select("metric", "places").iter_rows()),
        WorkTime(_summed(times.filter(pl.col("metric") == ""), "explainer", explainers),
                _summed(times.filter(pl.col("metric") != ""), "metric", metrics)),
    )  # fmt: skip


def joined(units: Sequence[pl.DataFrame], shorter: int = 0) -> pl.DataFrame:
    """The units of a batch as one frame.

    Where two units have a metric of the same image, that with the largest ``weight`` counts: it has this metric of more
    images, so that an undisturbed evaluation would have measured it. The first ``shorter`` units were measured when the
    batch had fewer images, and count where no other unit does.
    """
    whole = pl.concat(
        [pl.DataFrame(schema={**UNIT_SCHEMA, "unit": pl.Int32}), *(u.with_columns(unit=i) for i, u in enumerate(units))]
    )
    explained = pl.col("index").filter(pl.col("explained").is_not_null())
    size = explained.n_unique().over("unit", "metric")
    weight = size.cast(pl.Int64) * len(units) + pl.col("unit")
    return whole.with_columns(weight=pl.when(pl.col("unit") < shorter).then(weight - OUTWEIGHED).otherwise(weight))


def failures_of(lines: pl.DataFrame) -> list[Failure]:
    """The failures among lines of facts, which concern no explainer and no metric, or of units."""
    failed = lines.filter(pl.col("error").is_not_null()).iter_rows(named=True)
    return [Failure(f["index"], f["image_id"], f.get("explainer", ""), f.get("metric", ""), f["error"]) for f in failed]


def _failures(lines: pl.DataFrame, units: pl.DataFrame, facts: pl.DataFrame) -> list[Failure]:
    """Images that could not be read, and rows that could not be explained or scored, in the lines of the tables."""
    scored, unread = lines.filter(pl.col("explained").is_not_null()), lines.filter(pl.col("explained").is_null())
    lacking = scored.filter(pl.all_horizontal(pl.col("value", "curve", "error").is_null()))
    unexplained = units.filter(pl.col("metric") == "").join(lacking, on=["index", "explained", "explainer"], how="semi")
    left_out = facts.filter(pl.col("explained").list.len() == 0)  # can be read now, and is not asked for
    unread = unread.join(left_out, on="index", how="anti").drop("explainer", "metric")
    return sorted({f for frame in (scored, unexplained, unread, facts) for f in failures_of(frame)})


def _summed(times: pl.DataFrame, by: str, names: list[str]) -> dict[str, float]:
    found = dict(times.group_by(by).agg(pl.col("seconds").sum()).iter_rows())
    return {name: found[name] for name in names if name in found}
