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
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if hasattr(libc, "mallopt"):
        libc.mallopt(MMAP_THRESHOLD, 1 << 30)
        libc.mallopt(TRIM_THRESHOLD, (1 << 31) - 1)
