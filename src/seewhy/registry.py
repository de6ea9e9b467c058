"""Names for things of one kind; the command line, the documentation and the contract tests read the registries.

An installed package can add names by entry points. The package is imported when one of its names is asked for.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import is_dataclass
from difflib import get_close_matches
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

from seewhy.errors import SeewhyError, cause

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")
MAX_NAME_LENGTH = 200
"""Longer names have no neighbors."""


class PlugInError(SeewhyError):
    """A name that an installed package promises and does not deliver."""


class Registry(Generic[T]):
    """Classes or functions of one kind by name. An unknown name is answered with its neighbors.

    Args:
        kind: what the registry holds, for messages: "explainer".
        prepare: applied to each entry before it is stored; takes the name and the entry.
        group: entry points of installed packages that add names: "seewhy.explainers".
        members: what a dataclass of another package must have; without them anything is taken.
    """

    def __init__(
        self,
        kind: str,
        prepare: Callable[[str, T], T] = lambda _, entry: entry,
        group: str = "",
        members: Sequence[str] = (),
    ) -> None:
        self.kind = kind
        self.group = group
        self._prepare = prepare
        self._members = members
        self._entries: dict[str, T] = {}
        self._imported: set[str] = set()
        self._broken: dict[str, str] = {}
        self._adding = Lock()

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator: prepare what it decorates, store the result under ``name`` and return it.

        Raises ValueError where the name is taken, and where a member is missing.
        """

        def add(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is already registered, by {self._entries[name]!r}")
            if lacks := [member for member in self._members if not hasattr(entry, member)]:
                what = getattr(entry, "__name__", type(entry).__name__)
                raise ValueError(f"{self.kind} {name!r}: {what} has no {' and no '.join(lacks)}")
            self._entries[name] = self._prepare(name, entry)
            return self._entries[name]

        return add

    def __getitem__(self, name: str) -> T:
        if name not in self._entries and name in self._plug_ins:
            self._import(name)
        if name not in self._entries:
            raise SeewhyError(f"unknown {self.kind} {name!r}.{did_you_mean(name, self)} Known: {', '.join(self)}")
        return self._entries[name]

    def items(self) -> Iterator[tuple[str, T]]:
        """Names and entries in alphabetical order, without the plug-ins that cannot be imported."""
        for name in self:
            try:
                yield name, self[name]
            except PlugInError:
                continue

    def name_of(self, entry: type) -> str:
        """The name under which a class is registered; the class's own name where it is not."""
        return next((name for name, registered in self._entries.items() if registered is entry), entry.__name__)

    def __contains__(self, name: object) -> bool:
        return name in self._entries or name in self._plug_ins

    def __iter__(self) -> Iterator[str]:
        """The names, in alphabetical order."""
        return iter(sorted({*self._entries, *self._plug_ins}))

    def __len__(self) -> int:
        return len({*self._entries, *self._plug_ins})

    def problems(self) -> list[str]:
        """A line for each plug-in that cannot be used. All plug-ins are imported for this."""
        for _ in self.items():
            pass
        taken = [
            f"{_origin(point)} {self.kind} {name!r} is not used: seewhy has one of that name"
            for name, point in self._plug_ins.items()
            if name in self._entries and name not in self._imported and not _is_from(self._entries[name], point)
        ]
        return [*taken, *self._broken.values()]

    @cached_property
    def _plug_ins(self) -> dict[str, "EntryPoint"]:
        if not self.group:
            return {}
        from importlib.metadata import entry_points

        return {point.name: point for point in sorted(entry_points(group=self.group), key=_origin, reverse=True)}

    def _import(self, name: str) -> None:
        """Import the plug-in ``name`` and store it. PlugInError says in one line why that cannot be."""
        if name not in self._broken:
            point = self._plug_ins[name]
            try:
                entry = point.load()
                if self._members and not is_dataclass(entry):
                    raise TypeError(f"{point.value} is no dataclass")
                lacks = [member for member in self._members if not hasattr(entry, member)]
                if lacks:
                    raise AttributeError(f"{point.value} has no {' and no '.join(lacks)}")
                with self._adding:  # two threads may ask for it at the same time
                    if name not in self._entries:  # the package may have registered it while it was imported
                        self.register(name)(entry)
                self._imported.add(name)
                return
            except Exception as error:  # foreign code may fail in any way
                self._entries.pop(name, None)
                self._broken[name] = f"{_origin(point)} {self.kind} {name!r} cannot be imported ({cause(error)})"
        raise PlugInError(self._broken[name])


def _origin(point: "EntryPoint") -> str:
    """Whose entry point it is: ``seewhy-foo's``."""
    return f"{point.dist.name if point.dist else point.module}'s"


def _is_from(entry: object, point: "EntryPoint") -> bool:
    """Is the entry of the package that the entry point names? The package may have registered it itself."""
    return getattr(entry, "__module__", "").partition(".")[0] == point.module.partition(".")[0]


def did_you_mean(name: str, known: "Registry[T] | list[str]") -> str:
    """``" Did you mean 'x'?"`` for up to three known names with that word in them, or the closest one, or nothing."""
    if len(name) > MAX_NAME_LENGTH:  # no misspelled name; a comparison takes time that grows with both lengths
        return ""
    known = [k for k in known if len(k) <= MAX_NAME_LENGTH]
    word = re.compile(rf"(?:^|[\W_]){re.escape(name)}(?:[\W_]|$)", re.IGNORECASE)
    found = [k for k in known if _letters(name) and _letters(k) == _letters(name)][:3]  # "Grad-CAM" is grad_cam
    found = found or [k for k in known if len(name) > 2 and word.search(k)][:3] or get_close_matches(name, known, n=1)
    if not found:
        of_lower = {k.lower(): k for k in known}
        found = [of_lower[k] for k in get_close_matches(name.lower(), list(of_lower), n=1)]
    return f" Did you mean {' or '.join(map(repr, found))}?" if found else ""


def _letters(name: str) -> str:
    """A name as people hear it: without capitals and without signs between words; "++" is pp."""
    return re.sub(r"[\W_]", "", name.replace("++", "pp")).lower()
