"""One process of several: what stops one stops all, and one of them says it."""

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.command import run
from support.evaluations import Others
from support.toys import EVALUATE, MANY_LABELS, SEVERAL, Capture, Spy, Toys, bytes_of, measured
from torch import Tensor

from seewhy import devices, explainers
from seewhy.devices import ShareError
from seewhy.errors import SeewhyError
from seewhy.evaluation import evaluate as evaluation
from seewhy.evaluation import manifest
from seewhy.evaluation.run import open_run


def test_what_the_first_process_cannot_open_stops_the_others_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured(tmp_path / "run", {"spy": Spy()})
    told: list[str] = []
    first, second = Others(0, told), Others(1, told)
    with pytest.raises(SeewhyError, match="seed is 0 there and 1 now"):
        measured(tmp_path / "run", {"spy": Spy()}, seed=1, fabric=first)
    assert [("seed is 0 there and 1 now" in message) for message in told] == [True]
    monkeypatch.setattr(manifest, "read_manifest", pytest.fail)  # the second does not even look
    with pytest.raises(SeewhyError, match="seed is 0 there and 1 now"):
        measured(tmp_path / "run", {"spy": Spy()}, seed=1, fabric=second)
    assert (first.barriers, second.barriers) == (0, 0)


def test_the_first_process_tells_that_all_is_well(tmp_path: Path) -> None:
    told: list[str] = []
    measured(tmp_path / "run", {"spy": Spy()}, fabric=Others(0, told))
    assert told == [""]


def test_other_processes_leave_quietly(tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """But not with what they alone have met."""
    monkeypatch.setattr(devices, "processes", lambda *_: Others(1, ["no room here"]))
    assert run(capfd, *EVALUATE, "--out", tmp_path / "run") == (2, "", "")
    assert run(capfd, *EVALUATE, "--explainer", "grad_kam", "--out", tmp_path / "run") == (2, "", "")
    monkeypatch.setattr(devices, "processes", lambda *_: Others(0, []))
    assert "Did you mean 'grad_cam'" in run(capfd, *EVALUATE, "--explainer", "grad_kam", "--out", tmp_path / "run").err

    def fails(*_: object, **options: object) -> None:
        raise ShareError("process 1: all my images are broken")

    monkeypatch.setattr(devices, "processes", lambda *_: Others(1, [""]))
    monkeypatch.setattr(evaluation, "evaluate", fails)
    result = run(capfd, *EVALUATE, "--out", tmp_path / "run")
    assert result == (2, "", "seewhy: process 1: all my images are broken\n")


def test_a_share_that_fails_says_whose_it_is(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"target": "present", "data": Toys(labels=MANY_LABELS), "classifier": SEVERAL}
    with pytest.raises(ShareError, match=r"^process 1: adcc needs the explainer itself"):
        measured(tmp_path / "run", {"spy": Spy()}, ["adcc"], fabric=Others(1, [""]), **asked)


def test_two_processes_stop_at_a_folder_of_another_question(tmp_path: Path, capfd: Capture) -> None:
    assert run(capfd, *EVALUATE, "--out", tmp_path / "run").status == 0
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    script = tmp_path / "command.py"
    script.write_text("from seewhy.app.cli.main import main\nif __name__ == '__main__':\n    main()\n")
    command = [sys.executable, script, *EVALUATE, "--seed", "1", "--out", tmp_path / "run", "--devices", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=200)
    lines = [line for line in done.stderr.splitlines() if line]
    assert (done.returncode, len(lines)) == (2, 1), done.stderr
    assert "another question (seed is 0 there and 1 now)" in lines[0]
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before


@pytest.mark.parametrize("with_folder", [True, False])
def test_ctrl_c_says_how_to_go_on(
    with_folder: bool, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, calls = tmp_path / "run", []
    command = [*EVALUATE, *(("--out", out) if with_folder else ())]
    true = explainers.GradCAM.explain

    def pressed(self: Any, images: Tensor, targets: Tensor) -> Tensor:
        calls.append(len(images))
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return true(self, images, targets)

    with monkeypatch.context() as patch:
        patch.setattr(explainers.GradCAM, "explain", pressed)
        says = f"seewhy: stopped{f'; the same command goes on in {out}' if with_folder else ''}\n"
        assert run(capfd, *command) == (130, "", says)
        patch.setattr(devices, "processes", lambda *_: Others(1, [""]))
        calls[:] = [0]
        assert run(capfd, *command) == (130, "", "")
    if with_folder:
        with pytest.raises(SeewhyError, match="is not finished"):
            open_run(out)
        assert run(capfd, *command).status == 0
        assert run(capfd, *EVALUATE, "--out", tmp_path / "whole").status == 0
        assert bytes_of(out) == bytes_of(tmp_path / "whole")
