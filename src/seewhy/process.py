"""What belongs to the whole process, and not to one thread, is changed by one thread at a time."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import RLock


@dataclass
class Passes:
    """How many images networks have seen in this process. It only grows; long work shows by it that it goes on."""

    images: int = 0


PASSES = Passes()
PROCESS_STATE = RLock()
"""Held while a state of the process is changed for a moment. Never wait for a network or for the internet with it."""


@contextmanager
def without_warnings(category: type[Warning]) -> Iterator[None]:
    """Inside the block warnings of ``category`` are kept back.

    Python's filters belong to the process. Two threads that each save and restore them can leave a filter for good.
    """
    with PROCESS_STATE, warnings.catch_warnings():
        warnings.simplefilter("ignore", category)
        yield
