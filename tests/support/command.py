"""The command line as a user meets it, run inside the test's own process."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import jaxtyping
import pytest

from seewhy.app.cli import main


class Result(NamedTuple):
    status: int
    out: str
    err: str


@contextmanager
def as_users_run_it() -> Iterator[None]:
    """Without the type checks that the tests switch on: a user's mistake must be caught by the library itself."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


def run(capfd: pytest.CaptureFixture[str], *arguments: object) -> Result:
    """``seewhy ARGUMENTS``: what it returns and writes. An exception that is not caught fails the test.

    The plain lines of long work are left out: on a busy machine any command may write one.
    """
    capfd.readouterr()
    argv, sys.argv = sys.argv, ["seewhy", *map(str, arguments)]
    try:
        with as_users_run_it():
            main.main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    finally:
        sys.argv = argv
    out, err = capfd.readouterr()
    return Result(status, out, re.sub(r"^[a-z ]+: \d.* (so far|left)(, .* passes)?\n", "", err, flags=re.MULTILINE))


def tree(*folders: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder below, hidden ones too; of the files, size and time of the last change."""
    below = [path for folder in folders for path in [folder, *folder.rglob("*")]]
    return {str(p): (p.lstat().st_size, p.lstat().st_mtime_ns) if p.is_file() else (0, 0) for p in below}
