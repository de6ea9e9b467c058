"""One small class that names things; the command line, the docs and the contract tests read its instances."""

import re
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Generic, TypeVar

from seewhy.errors import SeewhyError

T = TypeVar("T")


class Registry(Generic[T]):
    """Names for classes or functions of one kind; a duplicate raises, an unknown name is answered with its neighbors."""

    def __init__(self, kind: str, prepare: Callable[[str, T], T] = lambda _, entry: entry) -> None:
        self.kind = kind
        self._prepare = prepare
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator: store what it decorates under ``name`` and return it, prepared as the registry's entries are."""

        def add(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is already registered, by {self._entries[name]!r}")
            self._entries[name] = self._prepare(name, entry)
            return self._entries[name]

        return add

    def __getitem__(self, name: str) -> T:
        if name not in self._entries:
            raise SeewhyError(f"unknown {self.kind} {name!r}.{did_you_mean(name, self)} Known: {', '.join(self)}")
        return self._entries[name]

    def name_of(self, entry: type) -> str:
        """The name under which a class is registered; its own, if it is the user's."""
        return next((name for name, registered in self._entries.items() if registered is entry), entry.__name__)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        """The names, in alphabetical order."""
        return iter(sorted(self._entries))

    def __len__(self) -> int:
        return len(self._entries)


def did_you_mean(name: str, known: "Registry[T] | list[str]") -> str:
    """``" Did you mean 'x'?"`` for up to three known names with that word in them, or the closest one, or nothing."""
    word = re.compile(rf"(?:^|[\W_]){re.escape(name)}(?:[\W_]|$)")
    found = [k for k in known if len(name) > 2 and word.search(k)][:3] or get_close_matches(name, list(known), n=1)
    return f" Did you mean {' or '.join(map(repr, found))}?" if found else ""
