"""The number of threads that PyTorch computes with."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def threads(n: int) -> Iterator[None]:
    """Inside the block PyTorch computes with ``n`` threads; afterwards with as many as before.

    Threads share out a sum, and so change its rounding: the same results need the same number of threads.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)
