"""Remembered sets: what was asked comes back, in bounded memory; and a killed training goes on with them, bit for bit."""

from pathlib import Path

import pytest
import torch
from support.evaluations import Pictures
from support.trainables import same, small_classifier
from torch import Tensor

from seewhy.explainers.learned.learned_explainer import ValuedSets
from seewhy.explainers.learned.salvage import Salvage
from seewhy.training import records
from seewhy.training.fit import fit
from seewhy.training.remembered import RememberedSets
from seewhy.training.training_folder import TrainingFolder, read_training

CPU = torch.device("cpu")
HOW = {"batch_size": 4, "epochs": 3, "every": 3, "tensorboard": False, "threads": 1}


def sets(n: int, m: int, p: int = 11, k: int = 3) -> ValuedSets:
    return ValuedSets(torch.rand(n, m, p) > 0.5, torch.randn(n, m, k), torch.ones(n, m, dtype=torch.bool))


def test_what_was_asked_comes_back_in_order() -> None:
    torch.manual_seed(0)
    memory, first, second = RememberedSets(10**6, 5), sets(2, 3), sets(1, 2)
    assert memory.of([4, 0], CPU) is None
    memory.add([4, 0], first)
    memory.add([0], second)
    found = memory.of([0, 3, 4], CPU)
    assert found is not None
    assert found.there.tolist() == [[True] * 5, [False] * 5, [True] * 3 + [False] * 2]
    assert torch.equal(found.kept[0], torch.cat([first.kept[1], second.kept[0]]))
    assert torch.equal(found.logits[0], torch.cat([first.logits[1], second.logits[0]]))
    assert torch.equal(found.kept[2, :3], first.kept[0])
    assert torch.equal(found.logits[2, :3], first.logits[0])


def test_memory_is_bounded_and_the_oldest_sets_make_room() -> None:
    torch.manual_seed(0)
    each = 2 + 3 * 4  # bytes: 11 players, 3 logits
    memory, parts = RememberedSets(2 * 4 * each, 2), [sets(1, 3) for _ in range(3)]
    for part in parts:
        memory.add([7], part)
    found = memory.of([7], CPU)
    assert found is not None
    assert torch.equal(found.kept[0], torch.cat([p.kept[0] for p in parts])[-4:])
    assert sum(t.nbytes for name, t in memory.tensors().items() if name in ("bits", "logits")) == 4 * each
    small = RememberedSets(each, 2)  # less than a set for each image
    small.add([7], parts[0])
    assert small.of([7], CPU) is None
    assert not RememberedSets(0, 2).is_on


def test_what_a_checkpoint_keeps_is_all_of_it() -> None:
    torch.manual_seed(0)
    memory, again = RememberedSets(10**6, 9), RememberedSets(10**6, 9)
    memory.add([8, 2, 5], sets(3, 2))
    memory.add([2], sets(1, 4))
    again.restore(memory.tensors())
    for one, other in zip(memory.of([2, 5, 8], CPU) or (), again.of([2, 5, 8], CPU) or (), strict=True):
        assert torch.equal(one, other)
    empty = RememberedSets(10**6, 9)
    empty.restore(RememberedSets(10**6, 9).tensors())
    assert empty.of([2], CPU) is None


class Stopped(BaseException):
    """Like SIGKILL: nothing is written after it."""


def trained(out: Path, **options: object) -> Salvage:
    method = Salvage(small_classifier(), sets=4, size=4, monitor=2, **options)  # type: ignore[arg-type]
    made = fit(method, method.classifier, Pictures(n=14), out, held_out=0.15, **HOW)  # type: ignore[arg-type]
    assert isinstance(made, Salvage)
    return made


def test_a_killed_training_remembers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of the second epoch it is killed; the weights at the end are those of an undisturbed training."""
    monkeypatch.setattr(records, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(records, "WRITING_SHARE", float("inf"))
    trained(tmp_path / "whole")
    steps, loss = list[int](), Salvage.loss

    def killing(self: Salvage, seen: object, generator: torch.Generator) -> object:
        if self.ready.training:
            steps.append(1)
            if len(steps) == 6:
                raise Stopped
        return loss(self, seen, generator)  # type: ignore[arg-type]

    with monkeypatch.context() as killed:
        killed.setattr(Salvage, "loss", killing)
        with pytest.raises(Stopped):
            trained(tmp_path / "killed")
    found = read_training(tmp_path / "killed")
    assert found is not None
    assert found.state.step == 5
    kept = TrainingFolder(tmp_path / "killed").sets(5)
    assert int(kept["counts"].sum()) == 5 * 4 * 4  # steps, images, sets
    trained(tmp_path / "killed")
    same(tmp_path / "whole", tmp_path / "killed")


def test_without_memory_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen_sets = list[Tensor | None]()
    loss = Salvage.loss

    def watching(self: Salvage, seen: object, generator: torch.Generator) -> object:
        seen_sets.append(seen.sets)  # type: ignore[attr-defined]
        return loss(self, seen, generator)  # type: ignore[arg-type]

    monkeypatch.setattr(Salvage, "loss", watching)
    trained(tmp_path / "run", remember=0)
    assert seen_sets
    assert all(one is None for one in seen_sets)
    assert not list((tmp_path / "run" / "checkpoints").glob("*.sets"))
