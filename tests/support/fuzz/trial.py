"""One input, given to the command line: it ends in time with a result or with one line, and leaves nothing behind."""

import io
import os
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from types import FrameType
from typing import NamedTuple

from support.command import as_users_run_it, tree

from seewhy.app.cli import main

SECONDS = 20
"""Of computing. An input that takes longer hangs; a sound one takes less than one second."""
WAIT = 6
"""So many times as long may an input take on a clock: other programs may use the same processor."""
RESULTS = ("out", "run")
"""Folders in which a command that succeeds leaves its results."""


class Trial(NamedTuple):
    """What is given to the command line.

    arguments  of ``seewhy``
    note       what is wrong with the input, for whoever reads of a failure
    anywhere   whether the arguments may name any folder for the results
    """

    arguments: list[str]
    note: str
    anywhere: bool = False


Maker = Callable[[Random, Path, Path], Trial]
"""Makes an input in the second folder from the good files in the first."""


class Outcome(NamedTuple):
    """How a trial went. ``problem`` is empty where all is well; ``refused``: the input was refused."""

    kind: str
    number: int
    trial: Trial
    refused: bool
    problem: str
    said: str

    def __str__(self) -> str:
        about = f"{self.trial.note}\n  {self.trial.arguments!a:.300}\n  {self.said:.1500}"
        return f"{self.kind} {self.number}: {self.problem}\n  {about}"


class Hang(BaseException):
    """Raised in a command that takes too long."""


def attempt(kind: str, number: int, make: Maker, good: Path, folder: Path, seed: int) -> Outcome:
    """Make the input ``number`` of a kind in ``folder``, which is empty, and give it to the command line."""
    random = Random(f"{seed} {kind} {number}")
    work, scratch = folder / "work", folder / "scratch"
    work.mkdir(parents=True)
    scratch.mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of those who make the input
        trial = make(random, good, work)
    encoding = random.choice(("utf-8",) * 6 + ("ascii", "latin-1"))
    before = tree(work)
    status, out, err, broke = _run(trial.arguments, work, scratch, encoding)
    after, problem = tree(work), ""
    new = [name for name in after if name not in before and name != str(work)]
    if "Hang" in broke:
        problem = f"takes more than {SECONDS} seconds"
    elif broke or "Traceback" in err:
        problem = "a traceback"
    elif status not in (0, 2):
        problem = f"status {status}"
    elif status == 2 and len(err.splitlines()) != 1:
        problem = f"{len(err.splitlines())} lines on stderr"
    elif status == 2 and not err.startswith("seewhy: "):
        problem = "a line that does not begin with the name of the program"
    elif len(err) > 2_000:
        problem = f"{len(err)} letters on stderr"
    elif any(letter in err + out for letter in "\x1b\x07\x00"):
        problem = "an escape code"
    elif (status == 2 and (strange := _unlike(before, after, work))) or (
        status == 0 and (strange := [name for name in new if _is_strange(Path(name), work, trial.anywhere)])
    ):
        problem = f"left behind {strange[:3]}"
    elif any(scratch.iterdir()):
        problem = "left something in the folder of temporary files"
    return Outcome(kind, number, trial, status == 2, problem, broke or err)


def _unlike(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]], work: Path) -> list[str]:
    """What a refusal has made, changed or removed. An evaluation keeps in its run folder what it has done."""
    changed = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    going_on = any(str(work / "run" / name) in before for name in ("units", "manifest.json"))
    return [name for name in changed if not going_on or (name != str(work / "run") and _is_strange(Path(name), work))]


def _is_strange(path: Path, work: Path, anywhere: bool = False) -> bool:
    """Is a new file outside the folders of results, or hidden?"""
    parts = path.relative_to(work).parts
    return (parts[0] not in RESULTS and not anywhere) or any(part.startswith(".") and part != ".lock" for part in parts)


def _run(arguments: list[str], work: Path, scratch: Path, encoding: str) -> tuple[int, str, str, str]:
    """Status, stdout, stderr, and the traceback of what was raised beside an exit."""
    here, argv, home = Path.cwd(), sys.argv, tempfile.tempdir
    out, err, broke, status = io.BytesIO(), io.BytesIO(), "", 0
    try:
        os.chdir(work)
        sys.argv, tempfile.tempdir = ["seewhy", *arguments], str(scratch)
        with _captured(out, err, encoding), _limited(), warnings.catch_warnings(), as_users_run_it():
            _as_python_warns()
            try:
                main.main()
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
            except BaseException:
                broke = traceback.format_exc(limit=-6)
    finally:
        os.chdir(here)
        sys.argv, tempfile.tempdir = argv, home
    return status, out.getvalue().decode(encoding, "replace"), err.getvalue().decode(encoding, "replace"), broke


def _as_python_warns() -> None:
    """A warning of a library is a line on stderr, as in a process of its own."""
    warnings.resetwarnings()
    for kind in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
        warnings.simplefilter("ignore", kind)
    warnings.showwarning = lambda message, category, file, line, *_: print(
        f"{file}:{line}: {category.__name__}: {message}", file=sys.stderr
    )


@contextmanager
def _captured(out: io.BytesIO, err: io.BytesIO, encoding: str) -> Iterator[None]:
    """What is written to the two streams, by Python and by libraries in C, as a process of its own would write it."""
    streams = sys.stdout, sys.stderr
    for stream in streams:
        stream.flush()
    saved = [os.dup(1), os.dup(2)]
    with (
        tempfile.TemporaryFile(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as first,
        tempfile.TemporaryFile() as second,
    ):
        os.dup2(first.fileno(), 1)
        os.dup2(second.fileno(), 2)
        sys.stdout = open(1, "w", encoding=encoding, closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding=encoding, errors="backslashreplace", closefd=False)  # noqa: SIM115
        try:
            yield
        finally:
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            sys.stdout, sys.stderr = streams
            for number, old in zip((1, 2), saved, strict=True):
                os.dup2(old, number)
                os.close(old)
            for file, content in ((first, out), (second, err)):
                file.seek(0)
                content.write(file.read())


@contextmanager
def _limited() -> Iterator[None]:
    def late(signum: int, frame: FrameType | None) -> None:
        raise Hang

    clocks = {signal.SIGPROF: (signal.ITIMER_PROF, SECONDS), signal.SIGALRM: (signal.ITIMER_REAL, WAIT * SECONDS)}
    before = {number: signal.signal(number, late) for number in clocks}
    for clock, seconds in clocks.values():
        signal.setitimer(clock, seconds)
    try:
        yield
    finally:
        for number, (clock, _) in clocks.items():
            signal.setitimer(clock, 0)
            signal.signal(number, before[number])


def attempts(
    makers: dict[str, Maker], shares: dict[str, int], n: int, good: Path, folder: Path, seed: int
) -> Iterator[Outcome]:
    """``n`` trials, each kind with its share of them; each folder is removed after its trial."""
    total = sum(shares.values())
    for kind, share in shares.items():
        for number in range(max(1, round(n * share / total))):
            place = folder / kind
            try:
                yield attempt(kind, number, makers[kind], good, place, seed)
            finally:
                shutil.rmtree(place, ignore_errors=True)
