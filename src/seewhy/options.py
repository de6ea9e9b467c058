"""Options of explainers, metrics and datasets: each is declared once, by the type of its field.

The type of an option says what it takes, and may say more: ``Annotated[int, AtLeast(1), Doc("Images at a time.")]``. The
check of a value, the command line, the documentation and the web page all read these types.
"""

import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING, dataclass, fields
from functools import wraps
from inspect import getdoc, signature
from itertools import chain
from math import isfinite
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from seewhy.errors import SeewhyError
from seewhy.registry import Registry, did_you_mean

T = TypeVar("T")


@dataclass(frozen=True)
class Bound:
    """A bound of the numbers that an option takes."""

    number: int | float


class AtLeast(Bound):
    """The lowest number that an option takes."""


class Above(Bound):
    """An option takes numbers above this one."""


class AtMost(Bound):
    """The highest number that an option takes."""


class Below(Bound):
    """An option takes numbers below this one."""


NETWORKS = ("classifier", "network")
"""Fields that are no options: what is explained, and what a learned explainer has learned. The name of a network is one."""
LARGEST = 2**63 - 1
"""The largest whole number that an option takes, up or down: tensors and seeds hold no larger ones."""
BOUNDS: dict[type[Bound], tuple[str, Callable[[float, float], bool]]] = {
    AtLeast: ("of at least", operator.ge),
    Above: ("above", operator.gt),
    AtMost: ("of at most", operator.le),
    Below: ("below", operator.lt),
}
"""Each kind of bound in words, and the comparison of a value with its number."""


class Doc(NamedTuple):
    """The description of an option, in one or two sentences."""

    text: str


class Option(NamedTuple):
    """An option of a class, for documentation, ``--json`` and forms.

    name     as the field is called
    takes    what values it takes, in words
    default  None where it has none
    text     its description: that of the class's own ``Args:``, else that of its type
    choices  the words that it takes, if it takes only these
    """

    name: str
    takes: str
    default: object
    text: str
    choices: tuple[object, ...]


def described(kind: type[Any]) -> list[Option]:
    """The options of the dataclass ``kind``, in the order of its parameters. Networks are not options."""
    own, hints = _arguments(kind), get_type_hints(kind, include_extras=True)
    found = []
    options = [f for f in fields(kind) if f.name not in NETWORKS or _bare(hints[f.name])[0] is str]
    for f in sorted(options, key=lambda f: f.kw_only is True):
        hint, extras = _bare(hints[f.name])
        text = own.get(f.name) or next((extra.text for extra in extras if isinstance(extra, Doc)), "")
        choices = get_args(hint) if get_origin(hint) is Literal else ()
        default = None if f.default is MISSING else f.default
        found.append(Option(f.name, _spelled(hint, extras), default, text, choices))
    return found


def build(registry: Registry[Any], name: str, *given: object, **options: object) -> Any:
    """The class that ``registry`` has under ``name``, made with ``options``. SeewhyError names what does not fit.

    Args:
        registry: of dataclasses.
        name: in the registry.
        given: arguments before the options: the classifier of an explainer.
        options: by the names of the fields.
    """
    kind = registry[name]
    known = [option.name for option in described(kind)]
    for option in options:
        if option not in known:
            hint = did_you_mean(option, known)
            raise SeewhyError(f"{name} has no option {option!r}.{hint} Options: {', '.join(known) or 'none'}")
    return cast(Any, kind)(*given, **options)


def checked(kind: type[Any], name: str, options: Mapping[str, object]) -> dict[str, Any]:
    """The ``options`` of the dataclass ``kind``, as its fields have them; SeewhyError for one that a field does not take.

    The type of a field says what it takes: a ``Literal`` its words, an ``int`` a whole number, a ``float`` a finite one,
    within the bounds that ``Annotated`` adds. A list becomes a tuple, and a whole number a float, where the field is one.
    ``name`` is what the error calls the dataclass.
    """
    hints = get_type_hints(kind, include_extras=True)
    taken = {}
    for key, value in options.items():
        hint, extras = _bare(hints[key])
        try:
            taken[key] = _taken(value, hint, extras)
        except ValueError:
            raise SeewhyError(f"{name} cannot take {key}={repeated(value)}: give {_spelled(hint, extras)}") from None
    return taken


def repeated(value: object) -> str:
    """A value as an error repeats it. A list within itself, and a number of thousands of digits, have no text."""
    try:
        return repr(value)
    except (ValueError, RecursionError):
        return f"a {type(value).__name__}"


def _bare(hint: Any) -> tuple[Any, tuple[object, ...]]:
    """A type without what ``Annotated`` adds, and all that it adds: to a union, and to the parts of it."""
    if get_origin(hint) is Annotated:
        bare, inner = _bare(get_args(hint)[0])
        return bare, (*get_args(hint)[1:], *inner)
    if get_origin(hint) in (Union, UnionType):
        parts, extras = zip(*map(_bare, get_args(hint)), strict=True)
        return Union[parts], tuple(chain(*extras))  # noqa: UP007
    return hint, ()


def _arguments(kind: type[Any]) -> dict[str, str]:
    """The entries of the ``Args:`` of a docstring, by name."""
    block = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", getdoc(kind) or "", re.MULTILINE | re.DOTALL)
    entries = re.findall(r"^    (\w[\w, ]*): (.*?)(?=^    \w|\Z)", block[1] if block else "", re.MULTILINE | re.DOTALL)
    return {name.strip(): " ".join(text.split()) for names, text in entries for name in names.split(",")}


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


def whole_number(text: str) -> int | None:
    """A number from 0 on, as people write it; None for other text, and for more digits than any option takes."""
    return int(text) if text.isdecimal() and len(text) < len(str(LARGEST)) else None


def from_text(kind: type[Any], texts: Mapping[str, str]) -> dict[str, object]:
    """Values as they are written on a command line: text where the field of ``kind`` takes that text, else JSON.

    So a layer may be called "10", and a number of steps is 10. What is not JSON either stays text.
    """
    hints = get_type_hints(kind)  # without the extras of Annotated
    return {key: _read(text, hints.get(key, NoneType)) for key, text in texts.items()}


def _read(text: str, hint: Any) -> object:
    if text in ("null", "None"):
        return None
    with suppress(ValueError, RecursionError):  # a list where text will do as well, as for layers
        return _taken(json.loads(text) if text.startswith("[") else text, hint, ())
    try:
        return json.loads({"True": "true", "False": "false"}.get(text, text))
    except (ValueError, RecursionError):  # no JSON; a number of thousands of digits; brackets in brackets without end
        return text


def _taken(value: Any, hint: Any, extras: Sequence[object]) -> object:
    """``value`` as the type ``hint`` has it, within the bounds among ``extras``; ValueError if it is none such."""
    parts = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        for part in parts:
            with suppress(ValueError):
                return _taken(value, part, extras)
    elif get_origin(hint) is Literal:
        if any(type(value) is type(part) and value == part for part in parts):
            return value
    elif get_origin(hint) is tuple:
        inner = [parts[0]] * len(value) if isinstance(value, list | tuple) and parts[-1] is ... else parts
        if isinstance(value, list | tuple) and len(value) == len(inner) > 0:
            return tuple(_taken(v, *_bare(h)) for v, h in zip(value, inner, strict=True))
    elif hint in (int, float):
        if is_held(value, hint, extras):
            return hint(value)
    elif hint is Any or isinstance(value, get_origin(hint) or hint):
        return value
    raise ValueError


def is_held(value: object, kind: type[int] | type[float], extras: Sequence[object]) -> bool:
    """Is the value a finite number of this kind, within the bounds among ``extras`` and those of every number?"""
    if isinstance(value, bool) or not isinstance(value, int | kind):
        return False
    finite = abs(value) <= LARGEST if isinstance(value, int) else isfinite(value)
    return finite and all(BOUNDS[type(b)][1](value, b.number) for b in extras if isinstance(b, Bound))


def _plain(number: int | float) -> str:
    """A bound in digits; one with more digits than a reader counts as a power of ten."""
    return str(int(number)) if number == int(number) and abs(number) < 10**9 else f"{number:g}"


def _spelled(hint: Any, extras: Sequence[object]) -> str:
    """What a field takes, in words."""
    parts = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_spelled(part, extras) for part in parts)
    if get_origin(hint) is Literal:
        return " or ".join(map(str, parts))
    if get_origin(hint) is tuple and len(set(parts)) > 1 and parts[-1] is not ...:
        return f"a list of {', '.join(_spelled(*_bare(part)) for part in parts)}"
    if get_origin(hint) is tuple:
        each = f"{'' if parts[-1] is ... else f'{len(parts)}, each '}{_spelled(*_bare(parts[0]))}"
        return f"a list of {each}" + {int: ", such as [1, 2]", float: ", such as [0.1, 0.2]"}.get(parts[0], "")
    bound = " and".join(f" {BOUNDS[type(b)][0]} {_plain(b.number)}" for b in extras if isinstance(b, Bound))
    known = {int: f"a whole number{bound}", float: f"a number{bound}", bool: "true or false", str: "text", NoneType: "null"}
    return known.get(hint, f"a {getattr(hint, '__name__', hint)}")
