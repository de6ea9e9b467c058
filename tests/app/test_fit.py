"""``seewhy fit`` as a user meets it: what it says, what it goes on from, and one line for each mistake."""

import signal
from pathlib import Path
from typing import Any

import pytest
from support.command import Result, run
from support.toys import Capture
from support.trainables import SmallMasks, same

from seewhy.app.cli import stop
from seewhy.app.cli.progress import TrainingBar
from seewhy.errors import SeewhyError
from seewhy.explainers.base import EXPLAINERS
from seewhy.training.training_folder import read_training


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, and a method that learns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(EXPLAINERS._entries, "small_masks", SmallMasks)
    monkeypatch.setattr(SmallMasks, "family", "learned", raising=False)
    return tmp_path


def fitted(capfd: Capture, *more: object, out: str = "run", method: str = "small_masks") -> Result:
    shapes = ["--model", "shapes", "--data", "shapes", "--limit", 12, "--threads", 1, "--no-tensorboard"]
    return run(capfd, "fit", method, *shapes, "--out", out, "--batch-size", 5, "--epochs", 2, *more)


def test_it_says_what_it_has_learned_and_goes_on_where_it_was_stopped(capfd: Capture, work: Path) -> None:
    found = fitted(capfd)
    assert found.status == 0, found.err
    first, last = found.out.splitlines()
    assert first.startswith("held-out loss ")
    assert "kept" in first
    assert "area" in first
    assert last == "the explainer in run: seewhy explain PICTURE --model shapes --explainer run"
    assert "was finished before; with more --epochs it goes on" in fitted(capfd).out
    found = fitted(capfd, "--max-steps", 1, out="again")
    assert "ended after 1 steps by --max-steps; the same command without it goes on in again" in found.out
    assert fitted(capfd, "--quiet", out="again") == Result(0, "", "")
    same(work / "run", work / "again")


def test_options_go_before_a_preset_and_this_before_the_method(capfd: Capture, work: Path) -> None:
    settings = "[explainer]\narea = 0.25\ndraws = false\n[training]\nlearning_rate = 0.5\nclip = 2"
    (work / "mine.toml").write_text(f"about = 'mine'\nmethod = 'small_masks'\n{settings}")
    found = fitted(capfd, "--preset", "mine.toml", "--option", "area=0.75", "--clip", 3, "--max-steps", 1)
    assert found.status == 0, found.err
    asked = read_training(work / "run").asked
    assert (asked["method"]["options"]["area"], asked["method"]["options"]["draws"]) == (0.75, False)
    used = asked["settings"]
    assert (used["learning_rate"], used["clip"], used["batch_size"]) == (0.5, 3, 5)
    assert SmallMasks.settings.learning_rate == 0.01


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--option", "areas=3"], "small_masks has no option 'areas'. Did you mean 'area'"),
        (["--epochs", "0"], "cannot take epochs=0"),
        (["--optimizer", "sgd"], "cannot take optimizer='sgd': give adam or adamw or prodigy"),
        (["--max-time", "soon"], "'soon' is no time"),
        (["--preset", "nothing"], "unknown preset 'nothing'"),
        (["--validation", "nowhere"], "unknown dataset 'nowhere'"),
        (["--devices", "2", "--device", "mps"], "--devices shares out cpu or cuda, not mps"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(capfd: Capture, work: Path, more: list[str], said: str) -> None:
    found = fitted(capfd, *more)
    assert found.status == 2
    assert said in found.err
    assert len(found.err.splitlines()) == 1
    assert not list(work.iterdir())


def test_what_does_not_learn_is_said(capfd: Capture) -> None:
    found = fitted(capfd, method="grad_cam")
    assert (found.status, found.out) == (2, "")
    assert "grad_cam does not learn, so there is nothing to train. What learns: " in found.err
    assert "unknown explainer 'nemx'" in fitted(capfd, method="nemx").err


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGTERM", 143)])
def test_a_signal_is_answered_with_a_checkpoint_and_a_line(
    capfd: Capture, work: Path, monkeypatch: pytest.MonkeyPatch, name: str, status: int
) -> None:
    fitted(capfd)
    calls = []

    def watch(*_: Any) -> None:
        calls.append(0)
        if len(calls) == 3:
            signal.raise_signal(getattr(signal, name))
            signal.raise_signal(getattr(signal, name))

    monkeypatch.setattr(SmallMasks, "watch", watch)
    found = fitted(capfd, out="stopped")
    assert (found.status, found.out) == (status, "")
    assert found.err == "seewhy: stopped; the same command goes on in stopped\n"
    assert read_training(work / "stopped").state.step == 2, "the step in which it came is finished"
    monkeypatch.setattr(SmallMasks, "watch", lambda *_: None)
    fitted(capfd, out="stopped")
    same(work / "run", work / "stopped")


def test_a_second_signal_much_later_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stop, "CLEANING_SECONDS", -1)
    with stop.noted() as told:
        signal.raise_signal(signal.SIGTERM)
        assert [one.status for one in told] == [143]
        with pytest.raises(stop.Stopped):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_the_bar_shows_every_term_and_what_is_left() -> None:
    from rich.progress import Progress

    bar = Progress(disable=True)
    show = TrainingBar(bar)
    show("looking at images", 3, 10, {})
    show("training", 40, 100, {})
    show("training", 41, 100, {"area": 0.25, "change": -0.125})
    (task,) = bar.tasks
    assert (task.completed, task.total) == (41, 100)
    assert task.description == "training  loss 0.125 = area 0.25 + change -0.125"


def test_presets_are_listed(capfd: Capture) -> None:
    assert run(capfd, "list", "presets").status == 0


def test_read_training_says_what_is_wrong(work: Path) -> None:
    assert read_training(work) is None
    (work / "training.json").write_text('{"schema": 99}')
    with pytest.raises(SeewhyError, match="written by another version"):
        read_training(work)
