"""A training that was killed goes on to the weights of an undisturbed one, bit for bit: at any moment, ten times."""

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.evaluations import Pictures
from support.trainables import SmallMasks, same, small_classifier, trained

from seewhy.training import records, training_folder
from seewhy.training.training_folder import read_training

HOW = {"accumulation": 2, "batch_size": 2, "every": 7, "epochs": 4, "optimizer": "prodigy", "learning_rate": 1.0}


class Killed(BaseException):
    """Like SIGKILL: nothing is written after it."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("undisturbed") / "run"
    trained(out, **HOW)
    return out


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint at every step."""
    monkeypatch.setattr(records, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(records, "WRITING_SHARE", float("inf"))


def in_a_child(work: Callable[[], object]) -> int:
    """The number of a process that does the work and ends."""
    child = os.fork()
    if child:
        return child
    try:
        work()
    finally:
        os._exit(0)


def step_of(out: Path) -> int:
    found = read_training(out)
    return found.state.step if found else 0


@pytest.mark.usefixtures("often")
def test_killed_ten_times_at_random_it_has_the_weights_of_an_undisturbed_run(undisturbed: Path, tmp_path: Path) -> None:
    out, draw, stopped = tmp_path / "run", random.Random(3), []
    for kill in range(10):
        child = in_a_child(lambda: trained(out, **HOW))
        until = time.monotonic() + 60
        while step_of(out) < 2 * kill - 1 and time.monotonic() < until:
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        stopped.append((status, step_of(out)))
    assert all(os.WIFSIGNALED(status) for status, _ in stopped)
    assert len({step for _, step in stopped}) > 4, "it was killed at different steps"
    assert stopped[-1][1] < 20
    trained(out, **HOW)
    same(undisturbed, out)
    assert not list(out.rglob(".*")), "nothing is left of the killed commands"


@pytest.mark.parametrize("seed", range(2))
def test_interrupted_between_checkpoints_and_in_the_middle_of_a_step(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Also within an epoch, and between the micro-batches of a step: what was done since the checkpoint is done again."""
    draw, calls = random.Random(seed), [0]
    for _ in range(3):
        calls[0] = draw.randrange(2, 13)

        def watch(*_: Any) -> None:
            calls[0] -= 1
            if calls[0] == 0:
                raise Killed

        monkeypatch.setattr(SmallMasks, "watch", watch)
        with pytest.raises(Killed):
            trained(tmp_path / "run", **HOW)
    monkeypatch.undo()
    trained(tmp_path / "run", **HOW)
    same(undisturbed, tmp_path / "run")


@pytest.mark.usefixtures("often")
@pytest.mark.parametrize("write", [0, 2, 5, 31])
def test_killed_while_it_writes(undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: int) -> None:
    """Between any two files of a checkpoint."""
    true, left = training_folder.write_atomically, [write]

    def write_atomically(*given: Any) -> None:
        if left[0] == 0:
            raise Killed
        left[0] -= 1
        true(*given)

    monkeypatch.setattr(training_folder, "write_atomically", write_atomically)
    with pytest.raises(Killed):
        trained(tmp_path / "run", **HOW)
    monkeypatch.setattr(training_folder, "write_atomically", true)
    trained(tmp_path / "run", **HOW)
    same(undisturbed, tmp_path / "run")


@pytest.mark.parametrize(
    ("optimizer", "schedule"), [("adam", "one_cycle"), ("adamw", "cosine"), ("prodigy", "cosine"), ("adamw", "constant")]
)
def test_stopped_after_some_steps_every_optimizer_goes_on(tmp_path: Path, optimizer: str, schedule: str) -> None:
    how = {"optimizer": optimizer, "schedule": schedule, "learning_rate": 0.02, "warmup_steps": 3, "epochs": 2, "clip": 0.1}
    trained(tmp_path / "at once", **how)
    for steps in (3, 7, None):
        trained(tmp_path / "run", max_steps=steps, **how)
    same(tmp_path / "at once", tmp_path / "run")


@pytest.mark.parametrize("cache", [0, 1024])
def test_another_process_sees_the_same_features(tmp_path: Path, cache: int) -> None:
    """Whether they are kept or computed at each step; in bfloat16, where a batch of another size rounds otherwise."""
    how = {"precision": "bf16", "cache": cache, "epochs": 2}
    trained(tmp_path / "at once", **how)
    for steps in (4, None):
        trained(tmp_path / "run", max_steps=steps, **how)
    same(tmp_path / "at once", tmp_path / "run")


def test_the_global_generator_matters_neither_before_nor_after(undisturbed: Path, tmp_path: Path) -> None:
    made = SmallMasks(small_classifier())
    torch.manual_seed(123)
    state = torch.get_rng_state()
    trained(tmp_path / "run", Pictures(n=23), made, made.classifier, **HOW)
    assert torch.equal(torch.get_rng_state(), state)
    same(undisturbed, tmp_path / "run")
