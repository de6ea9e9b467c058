"""What the command line writes on the terminal: its own lines, harmless, and no noise of other libraries."""

import codecs
import ctypes
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

import typer

from seewhy.errors import SeewhyWarning
from seewhy.text import printable

PLAIN = {"↑": "^", "↓": "v", "–": "-", "—": "-", "…": "...", "×": "x", "≈": "~", "•": "*"}
"""Signs of this library's own for a terminal that has no others."""


def say(line: object, err: bool = False) -> None:
    """One line on stdout, or on stderr. A class or a file whose name has escape codes cannot steer the terminal."""
    typer.echo(printable(str(line)), err=err)


@contextmanager
def own_lines_alone() -> Iterator[None]:
    """A block in which a warning of this library is a line, and warnings of others are kept back.

    What they warn of is for those who write programs; a damaged picture has its own line. Whoever asks Python for warnings
    (``PYTHONWARNINGS``, ``-W``) gets them all.
    """
    _silence_libtiff()
    for library in ("PIL", "pydicom"):
        logging.getLogger(library).setLevel(logging.CRITICAL + 1)
    with warnings.catch_warnings():
        if not sys.warnoptions:
            warnings.simplefilter("ignore")
            warnings.simplefilter("default", SeewhyWarning)
        other = warnings.showwarning

        def show(
            message: Warning | str, category: type[Warning], filename: str, lineno: int,
            file: TextIO | None = None, line: str | None = None,
        ) -> None:  # fmt: skip
            if issubclass(category, SeewhyWarning):
                say(f"seewhy: {message}", err=True)
            else:
                other(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        yield


def _silence_libtiff() -> None:
    """The libtiff that came with Pillow says on stderr what is wrong with a file; Pillow raises it as well.

    Only that private copy is told to be silent. A libtiff of the system, which other libraries may share, is left alone.
    """
    spec = find_spec("PIL")
    folders = [Path(spec.origin).parents[1] / "pillow.libs"] if spec is not None and spec.origin else []
    for file in (file for folder in folders for file in folder.glob("libtiff-*")):
        library = ctypes.CDLL(str(file))
        for name in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
            handler = getattr(library, name)
            handler.argtypes, handler.restype = [ctypes.c_void_p], ctypes.c_void_p
            handler(None)


def speak_plainly() -> None:
    """Let stdout and stderr show any text: what the terminal's encoding lacks becomes a plain sign or an escape."""
    codecs.register_error("seewhy", lambda error: (_plain(error), error.end))  # type: ignore[attr-defined]
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="seewhy")


def _plain(error: UnicodeError) -> str:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN.get(letter) or letter.encode("ascii", "backslashreplace").decode() for letter in lacking)
