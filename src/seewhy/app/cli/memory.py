"""How the process deals with memory that it has used."""

import ctypes
import sys

MMAP_THRESHOLD, TRIM_THRESHOLD = -3, -1
"""Names of mallopt(3)."""


def keep_freed() -> None:
    """Keep freed blocks for the next forward pass, instead of giving them back and having each page zeroed anew.

    Without it glibc returns every large tensor to the system at once, and up to a third of a forward pass on a CPU is
    page faults. Only the command line does this: a library has no business with the memory of the process that uses it.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, 1 << 30)
        mallopt(TRIM_THRESHOLD, (1 << 31) - 1)
