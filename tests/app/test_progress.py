"""Long work speaks: plain lines where there is no terminal, also while one picture takes long."""

import re
import threading
import time
from itertools import count

import pytest
import torch
from rich.progress import Progress
from support.tiny_models import TINY

from seewhy.app.cli import progress
from seewhy.app.cli.progress import Bar, EvaluationBar, Lines, Stage, TrainingBar, how_far
from seewhy.process import PASSES


def spoken(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def until(said: threading.Event) -> None:
    assert said.wait(20)


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> "list[tuple[str, threading.Event]]":
    """What the lines say, each with an event that the test may wait for."""
    lines: list[tuple[str, threading.Event]] = [("", threading.Event()) for _ in range(3)]
    number = count()

    def say(line: str, err: bool) -> None:
        place = min(next(number), 2)
        lines[place] = (line, lines[place][1])
        lines[place][1].set()

    monkeypatch.setattr(progress, "say", say)
    return lines


def test_lines_come_while_one_picture_takes_long(said: "list[tuple[str, threading.Event]]") -> None:
    with Lines(first=0.01, more=0.01) as lines:
        for _ in lines.track([1, 2], description="explaining"):
            PASSES.images += 40  # as one explainer does that removes parts of one picture
            until(said[0][1])
            until(said[1][1])
            break
    assert re.fullmatch(r"explaining: 0 of 2, 0 %, \d+ s so far, 40 passes", said[1][0])


def test_short_work_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines(first=5) as lines:
        assert list(lines.track("abc", description="explaining")) == ["a", "b", "c"]
    assert spoken(capsys) == []


def test_lines_after_an_error_end(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError), Lines(first=0.01, more=0.01):
        _ = 1 / 0
    time.sleep(0.05)
    assert spoken(capsys) == []
    assert not [t for t in threading.enumerate() if t.name == "progress lines"]


@pytest.mark.parametrize(
    ("stage", "now", "says"),
    [
        (Stage("evaluating", 200, 20, 0, 0), 60, "evaluating: 20 of 200, 10 %, about 9 min left"),
        (Stage("evaluating", 200, 110, 100, 0), 10, "evaluating: 110 of 200, 55 %, about 2 min left"),
        (Stage("evaluating", 200, 100, 100, 0), 10, "evaluating: 100 of 200, 50 %, 10 s so far"),
        (Stage("evaluating", 8, 0.125, 0, 0), 3600, "evaluating: 0.125 of 8, 2 %, about 2.6 days left"),
        (Stage("making the page", None, 0, 0, 5), 65, "making the page: 60 s so far"),
    ],
)
def test_what_a_line_says(stage: Stage, now: float, says: str) -> None:
    assert how_far(stage, now) == says


def test_a_bar_of_rich_and_lines_are_used_alike() -> None:
    for bar in (Lines(first=9), Progress(disable=True)):
        assert isinstance(bar, Bar)
        with bar:
            evaluation, training = EvaluationBar(bar), TrainingBar(bar)
            evaluation(3.0, 10, 0)
            evaluation(3.5, 10, 1)
            training("epoch 1", 1, 4, {"class": 0.5})
            training("validation", 1, 2, {})
            task = bar.add_task("measuring")
            bar.update(task, completed=1, total=2)
            bar.advance(task)


def test_passes_through_networks_are_counted() -> None:
    network, before = TINY["cnn"](), PASSES.images
    images = network.to_device(torch.rand(3, 3, 16, 16))
    network.logits(images)
    assert PASSES.images >= before + 3


def test_an_evaluation_of_days_is_told_how_many_images_take_minutes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress, "monotonic", lambda: now[0])
    shown = EvaluationBar(Progress(disable=True), quiet=False)
    for now[0], done in ((0.0, 100.0), (5.0, 100.5), (20.0, 101.0), (40.0, 102.0)):
        shown(done, 50_100, 0)
    assert spoken(capsys) == [
        "50100 images take about 11.6 days; --limit 30 takes about 10 min, spread evenly over them, and a larger limit goes "
        "on from there"
    ]
    short = EvaluationBar(Progress(disable=True), quiet=False)
    for now[0], done in ((0.0, 0.0), (20.0, 10.0)):
        short(done, 100, 0)
    assert spoken(capsys) == []
