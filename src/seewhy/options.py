"""Options by name, held against the types of the fields that take them: the one door of all options."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import fields
from functools import wraps
from inspect import signature
from math import isfinite
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from seewhy.errors import SeewhyError

T = TypeVar("T")


def checked(kind: type[Any], name: str, options: Mapping[str, object]) -> dict[str, Any]:
    """The ``options`` of the dataclass ``kind``, as its fields have them; SeewhyError for one that a field does not take.

    The type of a field says what it takes: a ``Literal`` its words, an ``int`` a whole number, a ``float`` a finite one.
    Numbers are not negative, unless the metadata of the field say "signed"; those whose default is at least 1 count
    something and are at least 1. A list becomes a tuple,
    and a whole number a float, where the field is one. ``name`` is what the error calls the dataclass.
    """
    hints = get_type_hints(kind)
    counts = {f.name for f in fields(kind) if isinstance(f.default, int) and f.default >= 1}
    signed = {f.name for f in fields(kind) if f.metadata.get("signed")}
    taken = {}
    for key, value in options.items():
        least = None if key in signed else 1 if key in counts else 0
        try:
            taken[key] = _taken(value, hints[key], least)
        except ValueError:
            wanted = _spelled(hints[key], least)
            raise SeewhyError(f"{name} cannot take {key}={value!r}: give {wanted}") from None
    return taken


def checking(name: str, kind: type[T]) -> type[T]:
    """The dataclass ``kind`` itself, whose options are ``checked`` from now on, however it is made."""
    cls: Any = kind
    make, asked = cls.__init__, signature(kind)

    @wraps(make)
    def init(self: T, *args: object, **given: object) -> None:
        options = asked.bind(*args, **given).arguments
        free = {key: value for key, value in options.items() if key != "classifier"}
        make(self, **options | checked(kind, name, free))

    cls.__init__ = init
    return kind


def pairs(texts: Sequence[str]) -> dict[str, str]:
    """``["steps=20", "baseline=blur"]`` as a dict of text."""
    found = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key.strip():
            raise SeewhyError(f"cannot read the option {text!r}: write key=value")
        found[key.strip()] = value
    return found


def from_text(kind: type[Any], texts: Mapping[str, str]) -> dict[str, object]:
    """Values as they are written on a command line: text where the field of ``kind`` takes that text, else JSON.

    So a layer may be called "10", and a number of steps is 10. What is not JSON either stays text.
    """
    hints = get_type_hints(kind)
    return {key: _read(text, hints.get(key, NoneType)) for key, text in texts.items()}


def _read(text: str, hint: Any) -> object:
    if text in ("null", "None"):
        return None
    with suppress(ValueError):  # a list where text will do as well, as for layers
        return _taken(json.loads(text), hint, 0) if text.startswith("[") else _taken(text, hint, 0)
    try:
        return json.loads({"True": "true", "False": "false"}.get(text, text))
    except json.JSONDecodeError:
        return text


def _taken(value: Any, hint: Any, least: int | None) -> object:
    """``value`` as the type ``hint`` has it; ValueError if it is none such."""
    parts = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        for part in parts:
            with suppress(ValueError):
                return _taken(value, part, least)
    elif get_origin(hint) is Literal:
        if any(type(value) is type(part) and value == part for part in parts):
            return value
    elif get_origin(hint) is tuple:
        inner = [parts[0]] * len(value) if isinstance(value, list | tuple) and parts[-1] is ... else parts
        if isinstance(value, list | tuple) and len(value) == len(inner) > 0:
            return tuple(_taken(v, h, None) for v, h in zip(value, inner, strict=True))
    elif hint in (int, float):
        number = isinstance(value, int | hint) and not isinstance(value, bool)
        if number and isfinite(value) and (least is None or value >= least):
            return hint(value)
    elif hint is Any or isinstance(value, get_origin(hint) or hint):
        return value
    raise ValueError


def _spelled(hint: Any, least: int | None) -> str:
    """What a field takes, in words."""
    parts = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_spelled(part, least) for part in parts)
    if get_origin(hint) is Literal:
        return " or ".join(map(str, parts))
    if get_origin(hint) is tuple:
        each = f"{'' if parts[-1] is ... else f'{len(parts)}, each '}{_spelled(parts[0], None)}"
        return f"a list of {each}" + {int: ", such as [1, 2]", float: ", such as [0.1, 0.2]"}.get(parts[0], "")
    bound = "" if least is None else f" of at least {least}"
    known = {int: f"a whole number{bound}", float: f"a number{bound}", bool: "true or false", str: "text", NoneType: "null"}
    return known.get(hint, f"a {getattr(hint, '__name__', hint)}")
