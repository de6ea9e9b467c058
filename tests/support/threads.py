"""Works that run at the same time, each in a thread of its own."""

from collections.abc import Callable
from threading import Thread
from time import monotonic
from typing import Any

PATIENCE = 60.0
"""Seconds after which a thread counts as hanging."""


def in_threads(*works: Callable[[], Any]) -> list[Any]:
    """What each of the works returns, each in a thread of its own; an exception is returned too. None may hang."""
    found: list[Any] = [TimeoutError("a thread hangs")] * len(works)

    def do(i: int) -> None:
        try:
            found[i] = works[i]()
        except Exception as error:
            found[i] = error

    running = [Thread(target=do, args=(i,), daemon=True) for i in range(len(works))]
    for thread in running:
        thread.start()
    until = monotonic() + PATIENCE
    for thread in running:
        thread.join(max(0.0, until - monotonic()))
    return found
