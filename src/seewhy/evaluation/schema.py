"""What is read back is checked once, where it is read: JSON by the types of dataclasses, tables by their columns."""

import json
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import polars as pl

from seewhy.evaluation.columns import Table
from seewhy.options import is_held

MAX_DEPTH = 40
"""Levels of lists and objects in a JSON file; those of this library have fewer than ten."""


def read_json(file: Path) -> Any:
    """The content of a JSON file. OSError and ValueError say why it cannot be read."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except RecursionError:
        found = None
    if found is None or not _is_flat(found, MAX_DEPTH):
        raise ValueError(f"it is empty, or has more than {MAX_DEPTH} levels")
    return found


def _is_flat(value: Any, depth: int) -> bool:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return depth > 0 and all(_is_flat(part, depth - 1) for part in parts)


def typed(hint: Any, value: Any, name: str) -> Any:
    """JSON as the type ``hint``: a dataclass, list, dict, optional or plain type, with bounds.

    ValueError names what does not fit. Numbers are finite, and no larger than an option may be. ``Any`` takes everything.
    """
    extras: Sequence[object] = ()
    if get_origin(hint) is Annotated:
        hint, *extras = get_args(hint)
    kind, parts = get_origin(hint) or hint, get_args(hint)
    if is_dataclass(kind) and isinstance(value, dict):
        hints = get_type_hints(kind, include_extras=True)
        given = {f.name: typed(hints[f.name], value[f.name], f.name) for f in fields(kind) if f.name in value}
        try:
            return kind(**given)  # type: ignore[operator]
        except TypeError as error:  # it lacks a field
            raise ValueError(f"{name}: {error}") from None
    if kind in (Union, UnionType):  # of one type and None
        return None if value is None else typed(next(part for part in parts if part is not NoneType), value, name)
    if kind is list and isinstance(value, list):
        return [typed(parts[0], part, name) for part in value]
    if kind is dict and isinstance(value, dict):
        return {key: typed(parts[1], part, f"{name}'s {key}") for key, part in value.items()}
    if kind in (int, float):
        if is_held(value, kind, extras):
            return kind(value)
    elif kind is Any or isinstance(value, kind):
        return value
    raise ValueError(f"{name} is {str(value)[:60]!r}")


def checked_table(frame: pl.DataFrame, table: Table) -> pl.DataFrame:
    """The columns of ``table``, in its order. ValueError says which is missing or of another type, or has what none has."""
    for name, kind in table.columns.items():
        if frame.schema.get(name) != kind:
            found = f"has the type {frame.schema[name]}, not {kind}" if name in frame.schema else "is missing"
            raise ValueError(f"its column {name} {found}")
    frame = frame.select(*table.columns)
    for name, kind in table.columns.items():
        cells = frame[name].drop_nulls()
        if len(cells) < len(frame) and name not in table.optional:
            raise ValueError(f"its column {name} has empty cells")
        numbers = cells.list.explode(empty_as_null=False) if isinstance(kind, pl.List) else cells
        if numbers.null_count():
            raise ValueError(f"its column {name} has lists with empty places")
        if numbers.dtype.is_integer() and (numbers < 0).any():
            raise ValueError(f"its column {name} has numbers below 0")
        if name in table.finite and not (numbers.is_finite() & (numbers >= 0)).all():
            raise ValueError(f"its column {name} has numbers that are not finite, or below 0")
    for name, needs in table.needs.items():
        if frame.filter(pl.col(name).is_not_null() & pl.any_horizontal(pl.col(*needs).is_null())).height:
            raise ValueError(f"a line has {name}, and not all of {', '.join(needs)}")
    if table.key and frame.filter(pl.col(table.counted).is_not_null()).select(*table.key).is_duplicated().any():
        raise ValueError(f"two lines have the same {', '.join(table.key)}")
    return frame
