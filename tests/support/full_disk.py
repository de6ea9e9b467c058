"""A disk that takes no more, for the length of a block."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HIDDEN = ".seewhy-"


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """No file grows beyond ``size`` bytes.

    A write across this line is cut short, and the next one fails: that is what a full disk does. The error is EFBIG where
    that of a full disk is ENOSPC.
    """
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def no_more_open_files() -> Iterator[None]:
    """No file can be opened."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def unfinished(folder: Path) -> list[Path]:
    """Parts of files, and hidden folders of files, that nobody has put into place."""
    return [path for path in folder.rglob(".*") if path.name.startswith(HIDDEN) or path.suffix == ".part"]
