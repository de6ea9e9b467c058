"""Ctrl-C, SIGTERM and SIGHUP are answered alike: one line, a status of its own, nothing left; the same command goes on."""

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from support.command import as_users_run_it, run
from support.full_disk import unfinished
from support.toys import EVALUATE, Capture, bytes_of
from torch import Tensor

from seewhy import explainers
from seewhy.app.cli import main
from seewhy.errors import SeewhyError

EXPLAIN = ["explain", "pictures", "--model", "factories:small", "--quiet", "--out", "run"]
NUMBERS = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}


class Sent(Exception):
    """The signal has not stopped the command."""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from torchvision.utils import save_image

    from seewhy.data import Shapes

    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    for i, image in enumerate(Shapes(n=2, size=32).batch(range(2)).images):
        save_image(image, tmp_path / "pictures" / f"{i}.png")
    return tmp_path


@pytest.fixture
def signals(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The signals that are sent with the second map; a signal that Python does not answer would end the tests."""
    true, sent, calls = explainers.GradCAM.explain, list[str](), list[int]()

    def explain(self: Any, images: Tensor, targets: Tensor) -> Tensor:
        calls.append(0)
        if len(calls) == 2:
            for name in sent:
                number = getattr(signal, name)
                if signal.getsignal(number) is signal.SIG_DFL:
                    raise Sent
                signal.raise_signal(number)
        return true(self, images, targets)

    monkeypatch.setattr(explainers.GradCAM, "explain", explain)
    return sent


@pytest.mark.parametrize("name", list(NUMBERS))
@pytest.mark.parametrize("command", ["explain", "evaluate", "evaluate without a folder"])
def test_a_signal_is_one_line(command: str, name: str, work: Path, capfd: Capture, signals: list[str]) -> None:
    words = EXPLAIN if command == "explain" else [*EVALUATE, *(["--out", "run"] if command == "evaluate" else [])]
    signals.append(name)
    says = "seewhy: stopped\n" if "without" in command else "seewhy: stopped; the same command goes on in run\n"
    assert run(capfd, *words) == (NUMBERS[name], "", says)
    assert unfinished(work) == []
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert run(capfd, *words).status == 0
    if command == "evaluate":
        assert run(capfd, *words[:-1], "whole").status == 0
        assert bytes_of(work / "run") == bytes_of(work / "whole")


def test_a_signal_while_the_network_is_loaded_is_one_line(
    work: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object, **options: object) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("seewhy.classifier.load.load", load)
    for words in (EXPLAIN, [*EVALUATE, "--out", "run"]):
        result = run(capfd, *words)
        assert (result.status, result.out) == (130, "")
        assert result.err.startswith("seewhy: stopped")
    assert not (work / "run").exists()


def test_a_signal_of_which_a_library_makes_an_error_of_its_own(
    work: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a library in another language may that has called Python when the signal came."""

    def load(*_: object, **options: object) -> None:
        try:
            signal.raise_signal(signal.SIGTERM)
        except BaseException as error:
            raise SeewhyError("the file cannot be read") from error

    monkeypatch.setattr("seewhy.classifier.load.load", load)
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        assert run(capfd, *EXPLAIN) == (143, "", "seewhy: stopped\n")
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def test_a_report_can_be_stopped(work: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(capfd, *EVALUATE, "--out", "run").status == 0
    before = sorted((work / "run").iterdir())
    with monkeypatch.context() as patch:
        patch.setattr("seewhy.report.page.tables.as_latex", lambda _: signal.raise_signal(signal.SIGINT))
        assert run(capfd, "report", "run") == (130, "", "seewhy: stopped\n")
        patch.setattr("seewhy.report.page.write_text", lambda *_: signal.raise_signal(signal.SIGINT))
        patch.setattr("seewhy.report.page.tables.as_latex", lambda _: "")
        assert run(capfd, "report", "run") == (130, "", "seewhy: stopped\n")
    assert sorted((work / "run").iterdir()) == before


def test_impatience_does_not_disturb_the_cleaning(work: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is pressed twice, and the second time while the hidden folder is removed."""
    from seewhy import files

    true, pressed = files.shutil.rmtree, list[int]()

    def remove(*arguments: Any, **options: Any) -> None:
        pressed.append(0)
        signal.raise_signal(signal.SIGINT)
        true(*arguments, **options)

    monkeypatch.setattr(files.shutil, "rmtree", remove)
    monkeypatch.setattr(explainers.GradCAM, "explain", lambda *_: signal.raise_signal(signal.SIGINT))
    assert run(capfd, *EXPLAIN) == (130, "", "seewhy: stopped; the same command goes on in run\n")
    assert len(pressed) == 1
    assert list(work.iterdir()) == [work / "pictures"]


def test_a_signal_that_is_ignored_stays_ignored(work: Path, capfd: Capture, signals: list[str]) -> None:
    """As SIGHUP under nohup."""
    signals.append("SIGHUP")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert run(capfd, *EXPLAIN).status == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_command_may_run_in_a_thread(capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no signal arrives."""
    ended: list[object] = []

    def in_thread() -> None:
        with as_users_run_it():
            try:
                main.main()
            except SystemExit as end:
                ended.append(end.code)

    monkeypatch.setattr(sys, "argv", ["seewhy", "--version"])
    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    assert ended == [0]


KILLED = """
import sys, time
from seewhy.files import staged
with staged(sys.argv[1]):
    print("begun", flush=True)
    time.sleep(600)
"""


def test_what_a_killed_command_has_left_is_removed_by_the_next(work: Path, capfd: Capture) -> None:
    killed = subprocess.Popen([sys.executable, "-c", KILLED, "run"], stdout=subprocess.PIPE, text=True)
    assert killed.stdout is not None
    assert killed.stdout.readline() == "begun\n"
    killed.kill()
    killed.communicate()
    assert len(unfinished(work)) == 1
    assert run(capfd, *EXPLAIN).status == 0
    assert unfinished(work) == []


def test_parts_of_files_are_removed_from_a_run_folder(work: Path, capfd: Capture) -> None:
    """A process is killed in the middle of every kind of file."""
    code = "import os, signal; from pathlib import Path; import seewhy.files\n"
    code += "Path.replace = lambda self, target: os.kill(os.getpid(), signal.SIGKILL)\n"
    code += "seewhy.files.write_json(Path({0!r}), dict())\n"
    parts = [
        "run/manifest.json",
        "run/units/a/b.parquet",
        "run/pictures/000000.jpg",
        "run/pictures/x/1.npz",
        "run/maps/y/1.npz",
    ]
    for file in parts:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        done = subprocess.run([sys.executable, "-c", code.format(file)], check=False)
        assert done.returncode == -signal.SIGKILL
    assert len(unfinished(work)) == len(parts)
    assert run(capfd, *EVALUATE, "--out", "run").status == 0
    assert unfinished(work) == []
