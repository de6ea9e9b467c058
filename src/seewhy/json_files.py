"""JSON that is read back is checked once, where it is read: by the types of dataclasses."""

import json
from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

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
