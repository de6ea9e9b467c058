"""The columns of the tables of a run folder, and of the units that the tables are made of."""

from typing import Any

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
