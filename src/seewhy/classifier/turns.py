"""Whose turn it is: a network is used by one thread at a time, so that no thread runs into the hooks of another."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import wraps
from threading import Condition, get_ident, local
from typing import Any, Generic, TypeVar, overload

import torch
from torch import nn

from seewhy.errors import SeewhyError

T = TypeVar("T")

_changed = Condition()
_holders: dict[int, int] = {}
"""The thread that holds a part of a network, by the ``id`` of the part."""
_waiting: list[tuple[int, set[int]]] = []
"""The threads that wait, in the order in which they came, and the parts that each of them waits for."""


class _Mine(local):
    """The networks that this thread holds."""

    def __init__(self) -> None:
        self.networks: set[nn.Module] = set()


_mine = _Mine()


@contextmanager
def turn(*networks: nn.Module) -> Generator[None]:
    """Inside the block no other thread uses the ``networks``; a thread that wants one waits, first come first served.

    Two networks that share a module or a weight count as one. A thread may open a block within a block of its own, and any
    thread may close it, since a generator is sometimes closed by another thread. Several networks that are given together
    are taken together. SeewhyError where two threads would wait for each other for ever, each with the network of the other.
    """
    held = _mine.networks
    wanted = {network for network in networks if network not in held}
    if not wanted:  # the block around this one, of the same thread, gives back
        yield
        return
    taken = _take({id(part) for network in wanted for part in (*network.modules(), *network.parameters())}, bool(held))
    held |= wanted
    try:
        yield
    finally:
        held -= wanted
        with _changed:
            for part in taken:
                del _holders[part]
            _changed.notify_all()


def in_turn(method: Callable[..., T]) -> Callable[..., T]:
    """Decorator: ``method`` runs in a turn with all networks in the fields of its arguments."""

    @wraps(method)
    def run(*given: Any, **named: Any) -> T:
        with turn(*networks_in((*given, *named.values()))):
            return method(*given, **named)

    return run


def networks_in(item: object, depth: int = 4) -> Iterator[nn.Module]:
    """The networks in a tuple, or in the fields of a dataclass: those of classifiers, and of methods in methods."""
    if isinstance(item, nn.Module):
        yield item
    elif depth and isinstance(item, tuple):
        for part in item:
            yield from networks_in(part, depth)
    elif depth and is_dataclass(item):
        for f in fields(item):
            yield from networks_in(getattr(item, f.name, None), depth - 1)


def _take(parts: set[int], holds: bool) -> set[int]:
    """Wait until no other thread holds any of the ``parts``; those of them that this thread did not hold before.

    A thread that ``holds`` another network does not stand in line: those before it may wait for what it holds.
    """
    me = get_ident()
    with _changed:
        parts = {part for part in parts if _holders.get(part) != me}
        request = (me, parts)
        _waiting.append(request)
        try:
            while _blockers(parts) or (not holds and _before(request)):
                if holds and _wait_for(me, parts):
                    raise SeewhyError(
                        "two threads wait for each other, each with the network that the other needs: let both ask for "
                        "the two networks in the same order"
                    )
                _changed.wait()
        finally:
            _waiting.remove(request)
            _changed.notify_all()
        _holders.update(dict.fromkeys(parts, me))
    return parts


def _blockers(parts: set[int]) -> set[int]:
    """The threads that hold some of the parts."""
    return {_holders[part] for part in parts & _holders.keys()}


def _before(request: tuple[int, set[int]]) -> bool:
    """Did a request for any of the same parts come earlier?"""
    return any(not request[1].isdisjoint(parts) for _, parts in _waiting[: _waiting.index(request)])


def _wait_for(me: int, parts: set[int]) -> bool:
    """Does a thread that holds some of the parts wait, itself or through others, for what this thread holds?"""
    found: set[int] = set()
    ahead = _blockers(parts)
    while ahead - found:
        found |= ahead
        ahead = {t for thread, wanted in _waiting if thread in found for t in _blockers(wanted)}
    return me in found


@contextmanager
def on_cpu_by_default() -> Generator[None]:
    """Tensors that name no device are made on the CPU inside the block, whatever ``torch.set_default_device`` says."""
    if torch.get_default_device().type == "cpu":
        yield
        return
    with torch.device("cpu"):
        yield


class FoundOnce(Generic[T]):
    """Decorator: a property of a classifier that its network is asked for once; a failure is not kept.

    The property is found in a turn with the network. The lock of ``functools.cached_property`` (up to Python 3.11) would be
    a second one, and two threads could each hold one and wait for the other.
    """

    def __init__(self, find: Callable[[Any], T]) -> None:
        self.find = find
        self.__doc__ = find.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, classifier: None, owner: type) -> "FoundOnce[T]": ...

    @overload
    def __get__(self, classifier: object, owner: type) -> T: ...

    def __get__(self, classifier: Any, owner: type) -> Any:
        """The value; the next look finds it in the classifier itself."""
        if classifier is None:
            return self
        kept = classifier.__dict__
        with turn(classifier.module), on_cpu_by_default():
            if self.name not in kept:
                kept[self.name] = self.find(classifier)
            return kept[self.name]
