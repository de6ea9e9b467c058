"""Held-out images, kept features, time, and the log."""

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.evaluations import Pictures
from support.trainables import SmallMasks, small_classifier

from seewhy.data import Shapes
from seewhy.errors import SeewhyError
from seewhy.training import time_budget
from seewhy.training.held_out import mask_sheet, split
from seewhy.training.seen_images import SeenImages
from seewhy.training.time_budget import TimeBudget, seconds_in
from seewhy.training.training_log import TrainingLog, must_have_tensorboard

# -- held-out images --------------------------------------------------------------------------------------------------


def test_a_share_is_held_out_and_at_most_200_images() -> None:
    kept, held = split(Pictures(n=50), 0.1, seed=0)
    assert len(held) == 5
    assert sorted(kept + held) == list(range(50))
    assert split(Pictures(n=50), 0.1, seed=0) == (kept, held)
    assert split(Pictures(n=50), 0.1, seed=1) != (kept, held)
    assert len(split(Shapes(n=5_000), 0.1, 0)[1]) == 200
    assert len(split(Pictures(n=3), 0.1, 0)[1]) == 1
    assert split(Pictures(n=3), 0.0, 0) == ([0, 1, 2], [])


def test_no_group_is_parted() -> None:
    """Such as the pictures of one patient."""
    dataset: Any = Pictures(n=40)
    dataset.entries = [SimpleNamespace(group=f"patient {i % 8}") for i in range(40)]
    kept, held = split(dataset, 0.2, seed=0)
    assert {i % 8 for i in kept}.isdisjoint({i % 8 for i in held})
    assert len(held) == 10
    dataset.entries = [SimpleNamespace(group="all")] * 40
    with pytest.raises(SeewhyError, match="of one group"):
        split(dataset, 0.2, seed=0)


def test_a_sheet_shows_masks_as_they_are() -> None:
    masks = torch.full((2, 1, 16, 16), 0.2)
    picture = mask_sheet(torch.rand(2, 3, 16, 16), masks, "step 3")
    colors = {color for _, color in picture.getcolors(10**6)}
    assert (51, 51, 51) in colors


# -- what is kept -----------------------------------------------------------------------------------------------------


def seen_images(dataset: Any, memory: int, n: int = 10, precision: Any = "fp32") -> SeenImages:
    what = SmallMasks(small_classifier()).untrained(0)
    return SeenImages(what, what.classifier, dataset, range(n), precision, memory)


@pytest.mark.parametrize("memory", [0, 40_000, 200_000, 10**9])
def test_what_is_kept_is_what_is_seen(memory: int) -> None:
    """All, some of it, or nothing: the same images in the order that was asked for, and the same features."""
    dataset = Pictures(n=10)
    kept = seen_images(dataset, memory)
    kept.fill(4)
    for places in ([3], [9, 0, 4, 4], list(range(10)), [5, 2]):
        found, batch = kept.seen(places), dataset.batch(places)
        alone = kept.what.see(batch.images, batch.labels)
        assert torch.equal(found.images, batch.images)
        assert torch.equal(found.labels, batch.labels)
        assert torch.allclose(found.logits, alone.logits, atol=1e-6)
        assert torch.allclose(found.features[0], alone.features[0], atol=1e-6)
    assert kept.memory <= memory


def test_what_fits_is_read_and_seen_once() -> None:
    dataset = Pictures(n=10)
    kept = seen_images(dataset, 10**9)
    kept.fill(4)
    dataset.read.clear()
    kept.what.classifier.module.register_forward_hook(lambda *_: pytest.fail("it is seen again"))
    assert kept.seen([1, 2, 3]) is not None
    assert dataset.read == []


def test_images_go_before_features() -> None:
    """Of 10 images of 3 kB each all are kept; features of 8 x 16 x 16 do not fit beside them."""
    dataset = Pictures(n=10)
    kept = seen_images(dataset, 10 * 3 * 16 * 16 * 4 + 1000)
    kept.fill(5)
    kept.seen(list(range(10)))
    dataset.read.clear()
    kept.seen(list(range(10)))
    assert dataset.read == []
    assert kept._seen == {}


def test_pictures_of_8_bits_are_kept_in_bytes() -> None:
    class Bytes(Pictures):
        def batch(self, indices: Any) -> Any:
            found = super().batch(indices)
            return found._replace(images=(found.images * 255).round() / 255)

    dataset = Bytes(n=10)
    kept = seen_images(dataset, 10 * 3 * 16 * 16)
    assert torch.equal(kept.seen(list(range(10))).images, dataset.batch(range(10)).images)
    assert kept.memory == 0
    assert torch.equal(kept.seen([7, 3]).images, dataset.batch([7, 3]).images)


def test_features_have_the_precision_of_the_run() -> None:
    kept = seen_images(Pictures(n=10), 10**9, precision="bf16")
    kept.fill(4)
    seen = kept.seen([0, 5])
    assert seen.features[0].dtype == torch.bfloat16
    assert seen.images.dtype == torch.float32


def test_a_network_without_finite_logits_is_named() -> None:
    kept = seen_images(Pictures(n=10), 0)
    with torch.no_grad():
        kept.classifier.module[-1].bias.fill_(float("nan"))
    with pytest.raises(SeewhyError, match="returns NaN or infinite logits for image 3: check its weights"):
        kept.seen([3])


# -- time -------------------------------------------------------------------------------------------------------------


def test_a_budget_leaves_room_for_the_longest_step_and_for_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=0.0)
    monkeypatch.setattr(time_budget, "monotonic", lambda: clock.now)
    budget = TimeBudget(100.0, 0.0)
    budget.lasted("step", 2.0)
    budget.lasted("step", 1.0)
    budget.lasted("validation", 10.0)
    clock.now = 81.0
    assert not budget.is_over()
    clock.now = 83.0
    assert budget.is_over()
    assert not TimeBudget(None, 0.0).is_over()


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400), ("2 d", 172800)])
def test_times_as_people_write_them(text: str, seconds: float) -> None:
    assert seconds_in(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "-3", "0", "1e9", "ten minutes", "10 m m", "9" * 50])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(SeewhyError, match="is no time: write a number of seconds, or 90s"):
        seconds_in(text)


# -- the log ----------------------------------------------------------------------------------------------------------


def test_a_log_forgets_what_is_done_again(tmp_path: Path) -> None:
    log = TrainingLog(tmp_path, tensorboard=False)
    log.begin(0)
    for step in range(1, 6):
        log.add("train", step, {"a": step / 2, "b, c": 1.0}, learning_rate=0.1)
    log.close()
    with log.file.open("a") as opened:
        opened.write("6,1.2,tra")
    log = TrainingLog(tmp_path, tensorboard=False)
    log.begin(3)
    log.add("held_out", 3, {"a": 7.0, "b, c": 0.0})
    log.close()
    with log.file.open() as opened:
        lines = list(csv.DictReader(opened))
    assert [(line["step"], line["images"], line["a"], line["b, c"]) for line in lines] == [
        ("1", "train", "0.5", "1"), ("2", "train", "1", "1"), ("3", "train", "1.5", "1"), ("3", "held_out", "7", "0")
    ]  # fmt: skip
    TrainingLog(tmp_path, tensorboard=False).begin(0)
    assert log.file.read_text() == ""


def test_tensorboard_is_written_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seewhy.training.training_log.find_spec", lambda _: None)
    assert not must_have_tensorboard(None)
    assert not must_have_tensorboard(False)
    with pytest.raises(SeewhyError, match=r'pip install "seewhy\[tensorboard\]"'):
        must_have_tensorboard(True)
    pytest.importorskip("tensorboard")
    log = TrainingLog(tmp_path, tensorboard=True)
    log.begin(0)
    log.add("train", 1, {"area": 0.25})
    log.close()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/area")] == [(1, 0.25)]
