"""The number of threads that PyTorch computes with."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, local

import torch

_lock = Lock()
_open: list[int] = []
"""For each block that is open in any thread, how many threads PyTorch had before the first of them."""


class _Mine(local):
    """The numbers of this thread's own open blocks, the innermost last."""

    def __init__(self) -> None:
        self.numbers: list[int] = []


_mine = _Mine()


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Inside the block PyTorch computes with ``n`` threads; afterwards with as many as before.

    Threads share out a sum, and so change its rounding: the same results need the same number of threads. Python's threads
    share a part of PyTorch's setting. What a thread finds may therefore be the number of another thread's block, so a block
    that overlaps others gives back the number from before the first of them.
    """
    own = _mine.numbers
    with _lock:
        outer = _open[0] if _open else torch.get_num_threads()
        _open.append(outer)
        before = own[-1] if own else outer
        own.append(n)
        torch.set_num_threads(n)
    try:
        yield
    finally:
        with _lock:
            _open.remove(outer)
            own.pop()
            torch.set_num_threads(before)
