"""The columns of the tables of a run folder, and of the units that the tables are made of."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import polars as pl

_ROW = {"index": pl.Int32, "image_id": pl.String, "explainer": pl.String, "explained": pl.Int32}
SCORES_SCHEMA: dict[str, Any] = {**_ROW, "scored": pl.Int32, "metric": pl.String, "value": pl.Float64}
CURVES_SCHEMA: dict[str, Any] = {**_ROW, "metric": pl.String, "values": pl.List(pl.Float64)}
IMAGES_SCHEMA: dict[str, Any] = {
    "index": pl.Int32,
    "image_id": pl.String,
    "predicted": pl.Int32,
    "probability": pl.Float64,
    "labels": pl.List(pl.Int32),
    "correct": pl.Boolean,
}
FACTS_SCHEMA: dict[str, Any] = {**IMAGES_SCHEMA, "explained": pl.List(pl.Int32), "error": pl.String}
"""Of ``facts.parquet``: the images of a batch, the classes that are explained, and what failed."""
UNIT_SCHEMA: dict[str, Any] = {
    **SCORES_SCHEMA,
    "part": pl.Int32,
    "places": pl.List(pl.Float64),
    "curve": pl.List(pl.Float64),
    "error": pl.String,
    "seconds": pl.Float64,
}
"""A line says one thing of one row, and leaves other columns empty.

A number     has ``value``; ``part`` counts the numbers of a metric that has several for an image.
A curve      has ``curve``.
A failure    has ``error``. No metric: the explainer failed, and each metric has a line without a value.
             No class: the image could not be read or classified.
The time     of the maps (no metric), or of a metric, has ``seconds`` and no image.
The places   of the curves of a metric are ``places``, and have no image.
"""


class Table(NamedTuple):
    """What a reader may rely on. Whole numbers are indices, and never below 0.

    columns   their types
    optional  columns whose cells may be empty
    finite    columns whose numbers are finite, and not below 0
    key       of the lines that have ``counted``, no two have all these columns in common
    needs     for a column, those that every line has that has this one
    """

    columns: dict[str, Any]
    key: tuple[str, ...]
    counted: str
    optional: frozenset[str] = frozenset()
    finite: frozenset[str] = frozenset()
    needs: Mapping[str, tuple[str, ...]] = {}


SCORES_TABLE = Table(SCORES_SCHEMA, ("index", "explainer", "explained", "metric"), "value")
CURVES_TABLE = Table(CURVES_SCHEMA, ("index", "explainer", "explained", "metric"), "values")
IMAGES_TABLE = Table(  # a network that returns values has no probability
    IMAGES_SCHEMA, ("index",), "index", frozenset({"correct", "probability"}), frozenset({"probability"})
)
FACTS_TABLE = Table(
    FACTS_SCHEMA,
    ("index",),
    "index",
    frozenset(FACTS_SCHEMA) - {"index", "image_id"},
    IMAGES_TABLE.finite,
    {"predicted": ("labels", "explained")},
)
UNIT_TABLE = Table(
    UNIT_SCHEMA,
    ("index", "explained", "metric", "part"),
    "value",
    frozenset(UNIT_SCHEMA) - {"explainer", "metric"},
    frozenset({"seconds", "places"}),
    {"value": (*_ROW, "scored"), "curve": (*_ROW, "scored"), "error": ("index", "image_id")},
)
