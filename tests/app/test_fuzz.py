"""Damaged inputs of every kind: a result or one line, in time, and nothing is left behind.

Here are 500 of them. ``tools/studies/fuzz.py`` tries as many as one likes.
"""

import subprocess
import sys
import time
from pathlib import Path
from random import Random

import pytest
from support.fuzz import trial
from support.fuzz.makers import MAKERS, SHARES, write_good
from support.fuzz.trial import Trial, attempt, attempts

from seewhy.app.cli import main
from seewhy.errors import SeewhyError

N, SEED = 500, 18


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    write_good(folder)
    return folder


@pytest.mark.parametrize("kind", MAKERS)
def test_damaged_inputs(kind: str, good: Path, tmp_path: Path) -> None:
    n = N * SHARES[kind] // sum(SHARES.values())
    outcomes = list(attempts(MAKERS, {kind: 1}, n, good, tmp_path, SEED))
    wrong = [str(outcome) for outcome in outcomes if outcome.problem]
    assert not wrong, "\n\n".join(wrong)
    refused = sum(outcome.refused for outcome in outcomes)
    assert n // 10 < refused, "the damage is noticed"
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("kind", MAKERS)
def test_the_same_seed_makes_the_same_input(kind: str, good: Path, tmp_path: Path) -> None:
    made = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        made.append((MAKERS[kind](Random("3"), good, tmp_path / name), _content(tmp_path / name)))
    assert made[0][0] == made[1][0]
    assert made[0][1].keys() == made[1][1].keys()
    same = [name for name, content in made[0][1].items() if content == made[1][1][name]]
    assert len(same) == len(made[0][1]) or kind in ("run", "weights"), "zip files and tables hold the time of their making"


def _content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def _fails(what: str) -> None:
    """A command with a fault."""
    if what == "a traceback":
        raise ZeroDivisionError
    if what == "hangs":
        time.sleep(9)
    if what == "two lines":
        print("seewhy: a\nb", file=sys.stderr)
        sys.exit(2)
    if what == "a warning":
        print("libtiff: noise", file=sys.stderr)
    if what == "an escape code":
        print("\x1b[2J")
    if what == "a leftover":
        Path("out").mkdir()
    if what == "a hidden file":
        Path("out/.part").parent.mkdir()
        Path("out/.part").touch()
        sys.exit(0)
    if what == "status":
        sys.exit(1)
    if what != "all is well":
        print("seewhy: no", file=sys.stderr)
        sys.exit(2)


@pytest.mark.parametrize(
    ("what", "problem"),
    [
        ("a traceback", "a traceback"),
        ("hangs", "takes more than"),
        ("two lines", "2 lines on stderr"),
        ("a warning", "2 lines on stderr"),
        ("an escape code", "an escape code"),
        ("a leftover", "left behind"),
        ("a hidden file", "left behind"),
        ("status", "status 1"),
        ("all is well", ""),
        ("refused", ""),
    ],
)
def test_every_fault_is_noticed(what: str, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "SECONDS", 0.3)
    monkeypatch.setattr(main, "main", lambda: _fails(what))
    outcome = attempt("fault", 0, lambda *_: Trial([], what), tmp_path, tmp_path / "here", 0)
    assert outcome.problem.startswith(problem)
    assert bool(outcome.problem) == bool(problem)


def test_in_a_process_of_its_own(good: Path, tmp_path: Path) -> None:
    """What a user's shell sees: a warning of a library would show here."""
    for kind in ("picture", "csv", "weights", "options"):
        work = tmp_path / kind
        work.mkdir()
        made = MAKERS[kind](Random("7"), good, work)
        command = [sys.executable, "-c", "from seewhy.app.cli.main import main; main()", *made.arguments]
        done = subprocess.run(command, cwd=work, capture_output=True, check=False, timeout=120)
        said = done.stderr.decode(errors="replace")
        assert done.returncode in (0, 2), said
        assert done.returncode == 0 or said.startswith("seewhy: "), said
        assert len(said.splitlines()) <= 1, said
    assert issubclass(SeewhyError, ValueError)
