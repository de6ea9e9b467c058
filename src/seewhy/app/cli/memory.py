"""How the process keeps memory that it has used."""

import ctypes
import sys

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""Parameters of mallopt(3)."""


def keep_freed() -> None:
    """Keep freed blocks for the next forward pass instead of giving them back to the system.

    Without this glibc returns every large tensor at once, the system zeroes each page anew, and up to a third of a forward
    pass on a CPU is page faults. Only the command line does this: a library must not change the memory of its user's
    process.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, 1 << 30)
        mallopt(TRIM_THRESHOLD, (1 << 31) - 1)
