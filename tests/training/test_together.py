"""Two processes train as one does, on the same batches."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.evaluations import Pictures
from support.trainables import SmallMasks, log_of, small_classifier, trained

from seewhy.devices import processes
from seewhy.errors import SeewhyError
from seewhy.explainers.learned.salvage import Salvage
from seewhy.training.together import Together
from seewhy.training.training_folder import read_training

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forked")


def two(out: Path, *given: Any, **options: Any) -> list[int]:
    """Train in two processes, and return their exit statuses: 2 after a SeewhyError, which goes to ``out.RANK``."""
    import lightning.fabric  # noqa: F401, each process would import it

    with socket.socket() as opened:
        opened.bind(("", 0))
        port = str(opened.getsockname()[1])
    children = []
    for rank in range(2):
        child = os.fork()
        if not child:
            status = 1
            try:
                os.environ |= {"LOCAL_RANK": str(rank), "MASTER_PORT": port, "MASTER_ADDR": "127.0.0.1"}
                trained(out, *given, fabric=processes(2, 1, "cpu", out), **options)
                status = 0
            except SeewhyError as error:
                out.with_suffix(f".{rank}").write_text(str(error))
                status = 2
            finally:
                os._exit(status)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def losses(out: Path, images: str) -> list[float]:
    return [float(line["loss"]) for line in log_of(out, images)]


def test_two_processes_have_the_losses_of_one_and_go_on_where_they_stopped(tmp_path: Path) -> None:
    """The same batches, cut into the same parts: also with dropout, draws, and statistics of a batch."""
    how = {"batch_size": 3, "accumulation": 2, "epochs": 3}
    trained(tmp_path / "one", **how)
    assert two(tmp_path / "two", max_steps=4, **how) == [0, 0]
    assert two(tmp_path / "two", **how) == [0, 0]
    assert len(losses(tmp_path / "one", "train")) == 9
    assert losses(tmp_path / "two", "train") == pytest.approx(losses(tmp_path / "one", "train"), rel=1e-4)
    one, both = (load_file(tmp_path / name / "checkpoints" / "00000009.safetensors") for name in ("one", "two"))
    for name in ("mix.weight", "norm.weight", "norm.bias", "weigh.weight", "weigh.bias"):
        assert torch.allclose(both[name], one[name], atol=1e-3), name
    assert read_training(tmp_path / "two").details["processes"] == 2


def test_a_part_for_each_process_is_the_same_batch_too(tmp_path: Path) -> None:
    """With fewer parts than processes; a picture that cannot be read, and held-out images, are shared out as well."""
    what, how = SmallMasks(small_classifier(), draws=False, plain=True), {"batch_size": 5, "held_out": 0.3, "epochs": 2}
    with pytest.warns(UserWarning, match="left out"):
        trained(tmp_path / "one", Pictures((4,), n=23), what, **how)
    assert two(tmp_path / "two", Pictures((4,), n=23), what, **how) == [0, 0]
    for images in ("train", "held_out"):
        assert losses(tmp_path / "two", images) == pytest.approx(losses(tmp_path / "one", images), rel=1e-4)


def test_what_one_process_has_asked_both_remember(tmp_path: Path) -> None:
    """An image may be the other process's in the next epoch: its sets are there."""
    what = Salvage(small_classifier(), sets=4, size=4, monitor=1, sampling="uniform")
    how = {"batch_size": 3, "accumulation": 2, "epochs": 3, "held_out": 0.2}
    trained(tmp_path / "one", Pictures(n=15), what, **how)
    assert two(tmp_path / "two", Pictures(n=15), what, max_steps=3, **how) == [0, 0]
    assert two(tmp_path / "two", Pictures(n=15), what, **how) == [0, 0]
    assert losses(tmp_path / "two", "train") == pytest.approx(losses(tmp_path / "one", "train"), rel=1e-4)
    one, both = (load_file(tmp_path / name / "checkpoints" / "00000006.sets") for name in ("one", "two"))
    assert all(torch.equal(one[name], both[name]) for name in ("places", "counts", "bits"))


def test_a_mistake_ends_both(tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "manifest.json").write_text("{}")
    assert two(tmp_path / "two") == [2, 2]
    assert {(tmp_path / f"two.{rank}").read_text() for rank in range(2)} == {
        f"{tmp_path / 'two'} has a run of another command: give another folder"
    }


def test_one_process_is_itself() -> None:
    alone = Together(None)
    assert alone.mine(["a", "b", "c"]) == [(0, "a"), (1, "b"), (2, "c")]
    assert alone.everybody("x") == ["x"]
    assert alone.first_does(lambda: 3) == 3
