"""``seewhy.fit``: what it trains, what it writes, when it ends, and one line for each mistake."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from support.command import as_users_run_it, tree
from support.evaluations import Pictures
from support.tiny_models import TINY
from support.trainables import MaskNetwork, SmallMasks, log_of, same, small_classifier, trained
from torch import nn

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.data import Batch
from seewhy.errors import SeewhyError, SeewhyWarning
from seewhy.explainers.learned.learned_explainer import Seen, Step
from seewhy.explainers.learned.settings import Settings
from seewhy.training import alarms, loop, time_budget
from seewhy.training.training_folder import read_training


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    trained(folder, epochs=6)
    return folder


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[Seen]:
    """What every loss was computed from."""
    seen: list[Seen] = []
    monkeypatch.setattr(SmallMasks, "watch", lambda _, found: seen.append(found))
    return seen


class Unlabelled(Pictures):
    def batch(self, indices: Any) -> Batch:
        return super().batch(indices)._replace(labels=None)


# -- what it trains ---------------------------------------------------------------------------------------------------


def test_it_learns_and_keeps_the_best_weights(out: Path) -> None:
    held_out = [float(line["loss"]) for line in log_of(out, "held_out")]
    assert len(held_out) == 7
    assert min(held_out) < held_out[0]
    state = read_training(out).state
    assert state.best == pytest.approx(min(held_out), rel=1e-5)
    assert state.best_step == 5 * held_out.index(min(held_out))
    assert load_file(out / "model.safetensors").keys() == load_file(out / "checkpoints/best.safetensors").keys()
    assert (out / "model.safetensors").read_bytes() == (out / "checkpoints/best.safetensors").read_bytes()


def test_it_returns_the_explainer_that_it_has_written(out: Path, tmp_path: Path) -> None:
    made = trained(tmp_path / "run", epochs=6)
    same(out, tmp_path / "run")
    kept = load_file(out / "model.safetensors")
    assert all(torch.equal(kept[name], t) for name, t in made.network.state_dict().items())
    assert not made.network.training
    images, targets = torch.rand(2, 3, 16, 16), torch.tensor([0, 3])
    assert torch.equal(made.explain(images, targets), made.explain(images, targets))


def test_the_log_has_every_term_of_every_step_and_a_sheet_is_drawn_at_every_validation(out: Path) -> None:
    lines = log_of(out)
    assert [int(line["step"]) for line in lines if line["images"] == "train"] == list(range(1, 31))
    for line in lines:
        assert float(line["kept"]) + float(line["area"]) == pytest.approx(float(line["loss"]), rel=1e-5)
    sheets = sorted((out / "masks").glob("*.png"))
    assert [int(sheet.stem) for sheet in sheets] == [0, 5, 10, 15, 20, 25, 30]
    with Image.open(sheets[0]) as first, Image.open(sheets[-1]) as last:
        assert first.size == last.size
        assert first.tobytes() != last.tobytes(), "a person sees it learn"


@pytest.mark.parametrize("mode", [True, False])
def test_the_explained_network_is_frozen_and_in_eval_mode_at_every_step_and_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: bool
) -> None:
    """It has dropout and batch normalization, and enters in train mode or in eval mode."""
    classifier, seen = small_classifier(), []
    classifier.module.train(mode)
    before = {name: t.clone() for name, t in classifier.module.state_dict().items()}

    def watch(made: Any, found: Seen) -> None:
        parts = list(made.classifier.module.modules())
        seen.append(any(m.training for m in parts) or any(p.requires_grad for p in made.classifier.module.parameters()))
        assert found.logits.grad_fn is None
        assert all(f.grad_fn is None for f in found.features)
        if not torch.is_grad_enabled():
            assert not made.network.training, "held-out images"
        elif len(seen) > 1:
            assert made.network.training

    monkeypatch.setattr(SmallMasks, "watch", watch)
    trained(tmp_path / "run", what=SmallMasks(classifier), classifier=classifier, epochs=2)
    assert len(seen) > 10
    assert not any(seen)
    after = classifier.module.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(m.training == mode for m in classifier.module.modules())
    assert all(p.requires_grad and p.grad is None for p in classifier.module.parameters())


@dataclass(frozen=True)
class Bare:
    """Not an explainer: anything with these four can be trained."""

    settings: ClassVar[Settings] = Settings(epochs=2, batch_size=8)
    network: nn.Module

    def see(self, images: Any, labels: Any) -> Seen:
        return Seen(images, labels, torch.zeros(len(images), 5), ())

    def loss(self, seen: Seen, generator: torch.Generator) -> Step:
        masks = self.network(seen.images).sigmoid()
        return Step({"area": masks.mean()}, masks)


def test_anything_trainable_is_trained_and_the_callers_network_stays_as_it_is(tmp_path: Path) -> None:
    network = nn.Conv2d(3, 1, 1)
    before = network.weight.clone()
    made = trained(tmp_path / "run", what=Bare(network))
    assert torch.equal(network.weight, before)
    assert not torch.equal(made.network.weight, before)


def test_without_labels_a_method_that_needs_none_learns_all_the_same(tmp_path: Path, watched: list[Seen]) -> None:
    what = SmallMasks(small_classifier(), reads_labels=False)
    trained(tmp_path / "run", Unlabelled(n=23), what, epochs=1)
    assert all(seen.labels is None for seen in watched)


def test_progress_and_every_term_are_told(tmp_path: Path, watched: list[Seen]) -> None:
    told: list[tuple[str, int, int, dict[str, float]]] = []
    trained(tmp_path / "run", epochs=2, progress=lambda *said: told.append(said))
    steps = [(done, total, set(terms)) for said, done, total, terms in told if said == "training"]
    assert steps == [(i, 10, {"kept", "area"}) for i in range(1, 11)]
    training = [seen.progress for seen in watched if len(seen.images) == 4]
    assert training == pytest.approx([i / 9 for i in range(10)])


# -- how a step is made -----------------------------------------------------------------------------------------------


def test_a_batch_in_parts_is_the_same_batch(tmp_path: Path) -> None:
    """Where neither draws nor the statistics of a batch matter."""
    what = SmallMasks(small_classifier(), draws=False, plain=True)
    curves = []
    for i, (batch_size, accumulation) in enumerate([(6, 1), (3, 2), (1, 6)]):
        trained(tmp_path / str(i), what=what, batch_size=batch_size, accumulation=accumulation, epochs=3)
        curves.append([float(line["loss"]) for line in log_of(tmp_path / str(i))])
    assert len(curves[0]) == 9 + 4
    assert curves[1] == pytest.approx(curves[0], rel=1e-4)
    assert curves[2] == pytest.approx(curves[0], rel=1e-4)


def test_a_step_has_the_gradient_of_its_mean_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One step of Adam without momentum moves each weight by the learning rate against the sign of its gradient."""
    what = SmallMasks(small_classifier(), draws=False, plain=True).untrained(0)
    start = {name: p.detach().clone() for name, p in what.network.named_parameters()}
    seen: list[Seen] = []
    monkeypatch.setattr(SmallMasks, "watch", lambda _, found: seen.append(found))
    made = trained(
        tmp_path / "run",
        what=what,
        max_steps=1,
        held_out=0.0,
        batch_size=5,
        accumulation=2,
        learning_rate=0.1,
        optimizer="adam",
    )
    assert [len(s.images) for s in seen] == [5, 5]
    with small_classifier().running(gradients=True):
        loss = sum(sum(what.loss(s, torch.Generator()).terms.values()) for s in list(seen)) / 2
        gradients = torch.autograd.grad(loss, list(what.network.parameters()))
    for (name, p), g in zip(made.network.named_parameters(), gradients, strict=True):
        sure = g.abs() > 1e-6
        assert torch.allclose(p[sure], (start[name] - 0.1 * g.sign())[sure], atol=1e-4)


def test_an_image_that_cannot_be_read_is_left_out_and_named(tmp_path: Path, watched: list[Seen]) -> None:
    with pytest.warns(SeewhyWarning, match=r"left out of the training: image 4 \(image 4 is broken\)"):
        trained(tmp_path / "run", Pictures((4, 9), n=23), epochs=2)
    assert set(read_training(tmp_path / "run").state.left_out) == {"image 4", "image 9"}
    assert {len(seen.images) for seen in watched} >= {3, 4}
    with pytest.warns(SeewhyWarning):
        trained(tmp_path / "again", Pictures((4, 9), n=23), epochs=2, max_steps=3)
    with pytest.warns(SeewhyWarning):
        trained(tmp_path / "again", Pictures((4, 9), n=23), epochs=2)
    same(tmp_path / "run", tmp_path / "again")


def test_a_dataset_of_its_own_validates(tmp_path: Path, watched: list[Seen]) -> None:
    trained(tmp_path / "run", validation=Pictures(n=3), epochs=1)
    assert [len(seen.images) for seen in watched] == [3, *[4] * 5, 3]
    trained(tmp_path / "none", held_out=0.0, epochs=1)
    assert log_of(tmp_path / "none", "held_out") == []
    assert (tmp_path / "none" / "model.safetensors").is_file()


# -- when it ends -----------------------------------------------------------------------------------------------------


def test_what_is_finished_is_returned_at_once_and_more_epochs_go_on(out: Path, tmp_path: Path, watched: list[Seen]) -> None:
    trained(tmp_path / "run", epochs=3)
    n, before = len(watched), tree(tmp_path)
    made = trained(tmp_path / "run", epochs=3)
    assert len(watched) == n
    assert {name: about for name, about in tree(tmp_path).items() if ".lock" not in name} == before
    kept = load_file(tmp_path / "run" / "model.safetensors")
    assert all(torch.equal(kept[name], t) for name, t in made.network.state_dict().items())
    trained(tmp_path / "run", epochs=6)
    same(out, tmp_path / "run")


def test_it_stops_early_where_the_held_out_loss_no_longer_falls(tmp_path: Path) -> None:
    how = {"learning_rate": 1e-12, "patience": 2, "epochs": 20}
    trained(tmp_path / "run", **how)
    state = read_training(tmp_path / "run").state
    assert state.ended == "patience"
    losses = [float(line["loss"]) for line in log_of(tmp_path / "run", "held_out")]
    assert len(losses) < 20
    trained(tmp_path / "run", **{**how, "patience": 4})
    assert read_training(tmp_path / "run").state.waited == 4


def test_it_ends_well_inside_its_time_with_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock on which a step takes a second and a validation two."""
    clock = SimpleNamespace(now=100.0)
    for module in (time_budget, loop):
        monkeypatch.setattr(module, "monotonic", lambda: clock.now)
    monkeypatch.setattr("seewhy.training.fit.monotonic", lambda: clock.now)

    def watch(*_: Any) -> None:
        clock.now += 1.0

    monkeypatch.setattr(SmallMasks, "watch", watch)
    trained(tmp_path / "run", epochs=100, max_time=30.0)
    assert clock.now <= 130.0
    state = read_training(tmp_path / "run").state
    assert state.ended == "time"
    assert state.step > 15
    assert (tmp_path / "run" / f"checkpoints/{state.step:08d}.pt").is_file()


def test_a_stop_is_answered_between_two_steps(tmp_path: Path) -> None:
    asked = []
    trained(tmp_path / "run", epochs=6, should_stop=lambda: len(asked) > 8 or bool(asked.append(0)))
    assert read_training(tmp_path / "run").state.ended == "stop"
    assert 0 < read_training(tmp_path / "run").state.step < 10


def test_the_weights_of_a_stopped_training_are_the_best_so_far(tmp_path: Path) -> None:
    """Also where it stops between two validations; the checkpoint does not know of that."""
    made = trained(tmp_path / "run", epochs=6, max_steps=4)
    state = read_training(tmp_path / "run").state
    assert (state.best_step, state.step) == (0, 4)
    last = load_file(tmp_path / "run" / "checkpoints" / "00000004.safetensors")
    assert all(torch.equal(last[name], t) for name, t in made.network.state_dict().items())


# -- mistakes ---------------------------------------------------------------------------------------------------------


def refused(match: str, folder: Path, *given: Any, **options: Any) -> None:
    with as_users_run_it(), pytest.raises(SeewhyError, match=match):
        trained(folder, *given, **options)


def test_nothing_is_left_of_a_training_that_cannot_begin(tmp_path: Path) -> None:
    out = tmp_path / "a" / "run"
    refused("SmallMasks learns from labels, and the dataset unlabelled has none", out, Unlabelled(n=23))
    refused("none of 16 images can be read: image 0 is broken", out, Pictures(tuple(range(23)), n=23))
    refused("no setting 'epoch'. Did you mean 'epochs'", out, epoch=3)
    refused("cannot take epochs=0", out, epochs=0)
    refused("a step has 3 images, too few for 5 micro-batches", out, Pictures(n=4), accumulation=5)
    refused("grad_cam does not learn, so there is nothing to train", out, what="grad_cam")
    refused("unknown preset 'nothing'", out, preset="nothing")
    refused("is no dataset", out, "pictures")
    refused("max_steps is 0", out, max_steps=0)
    few = Classifier(nn.Sequential(*list(small_classifier().module)[:-1], nn.Linear(8, 3)), input_size=(16, 16))
    refused(r"the dataset has a class \d, and the classifier only classes 0 to 2", out, what=SmallMasks(few), classifier=few)
    one = SmallMasks(small_classifier(), target="bee")
    other = labelled(0, 2, None, 4)
    refused("SmallMasks explains 'bee', and none of the 3 pictures has that label: give pictures of it", out, other, one)
    refused("'z'", out, other, SmallMasks(small_classifier(), target="z"))
    assert not list(tmp_path.iterdir())


def labelled(*labels: int | None) -> Any:
    """Pictures of which the labels are known before they are read."""
    dataset: Any = Pictures(n=len(labels))
    dataset.entries = [SimpleNamespace(label=label, group="") for label in labels]
    return dataset


def test_one_class_is_explained_where_the_pictures_show_it_or_where_nobody_knows(tmp_path: Path) -> None:
    one = SmallMasks(small_classifier(), target="bee")
    for i, labels in enumerate([(0, 1, 2, 1), (None,) * 4]):
        trained(tmp_path / str(i), labelled(*labels), one, max_steps=1, held_out=0.0)


def test_another_question_is_refused_and_nothing_changes(out: Path, tmp_path: Path) -> None:
    before = {name: about for name, about in tree(out).items() if Path(name).is_file()}
    refused("training of another question .settings's learning_rate is 0.01 there and 0.02 now", out, learning_rate=0.02)
    refused("method's options's area is 0.5 there and 0.25 now", out, what=SmallMasks(small_classifier(), area=0.25))
    refused("dataset's images is not the same", out, Pictures(n=24))
    refused("network", out, what=SmallMasks(small_classifier()).untrained(5))
    assert {name: about for name, about in tree(out).items() if Path(name).is_file()} == before
    (tmp_path / "manifest.json").write_text("{}")
    refused("has a run of another command", tmp_path)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "training.json").write_text("{")
    refused("training.json cannot be read", tmp_path / "damaged")


def test_a_damaged_checkpoint_is_one_line(tmp_path: Path) -> None:
    trained(tmp_path / "run", max_steps=3)
    for suffix in ("pt", "safetensors"):
        file = tmp_path / "run" / "checkpoints" / f"00000003.{suffix}"
        whole = file.read_bytes()
        for content in (whole[: len(whole) // 2], b""):
            file.write_bytes(content)
            refused(rf"00000003.{suffix} cannot be read", tmp_path / "run")
        file.write_bytes(whole)


def test_a_loss_that_becomes_nan_ends_the_training_before_the_weights_are_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def watch(made: Any, seen: Seen) -> None:
        calls.append(0)
        if len(calls) == 9:
            seen.images.fill_(float("nan"))

    monkeypatch.setattr(SmallMasks, "watch", watch)
    refused(r"the loss is nan \(its term kept\) at step 7: lower --learning-rate, or clip .* has the weights of step 5$",
            tmp_path / "run")  # fmt: skip
    kept = load_file(tmp_path / "run" / "checkpoints" / "00000005.safetensors")
    assert all(torch.isfinite(t).all() for t in kept.values())


@pytest.mark.parametrize(("bias", "said"), [(-50.0, "every mask has been 0 .* small less"), (50.0, "1 everywhere .* more")])
def test_masks_that_show_nothing_end_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bias: float, said: str
) -> None:
    monkeypatch.setattr(alarms, "PATIENCE", 7)
    what = SmallMasks(small_classifier(), plain=True).untrained(0)
    what.network.weigh.bias.data.fill_(bias)
    refused(said, tmp_path / "run", what=what)
    assert read_training(tmp_path / "run").state.step == 5


def test_masks_that_show_nothing_for_a_while_are_none_of_that() -> None:
    dull = 0
    for low, high in [(0.0, 0.0)] * 99 + [(0.0, 0.5)] + [(1.0, 1.0)] * 99:
        dull = alarms.dull_after(dull, low, high)
        alarms.must_show_something(dull, 5)
    assert dull == -99
    with pytest.raises(SeewhyError, match="every mask has been 1"):
        alarms.must_show_something(alarms.dull_after(dull, 1.0, 1.0), 5)
    assert alarms.dull_after(-99, 0.0, 0.0) == 1


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "out of memory: lower --batch-size"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out of memory"),
        (ValueError("Expected more than 1 value per channel when training"), "batch normalization needs more than one"),
    ],
)
def test_errors_of_pytorch_that_a_user_can_correct(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def watch(*_: Any) -> None:
        raise error

    monkeypatch.setattr(SmallMasks, "watch", watch)
    refused(said, tmp_path / "run")


def test_two_commands_do_not_train_in_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = []

    def watch(*_: Any) -> None:
        monkeypatch.setattr(SmallMasks, "watch", lambda *_: None)
        with pytest.raises(SeewhyError, match="another command trains in") as error:
            trained(tmp_path / "run")
        said.append(error)

    monkeypatch.setattr(SmallMasks, "watch", watch)
    trained(tmp_path / "run", epochs=1)
    assert said


def test_memory_stays_flat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """tools/studies/memory_of_training.py does the same for 10,000 steps."""
    sizes = []

    def watch(*_: Any) -> None:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        sizes.append(pages * os.sysconf("SC_PAGE_SIZE") / 2**20)

    if not Path("/proc/self/statm").exists():
        pytest.skip("the system does not say how much memory a process has")
    monkeypatch.setattr(SmallMasks, "watch", watch)
    trained(tmp_path / "run", epochs=50, every=100, max_steps=250)
    assert sizes[-1] - sizes[60] < 4


def test_a_network_that_is_given_is_trained_further(tmp_path: Path) -> None:
    what = SmallMasks(small_classifier()).untrained(3)
    assert isinstance(what.network, MaskNetwork)
    made = trained(tmp_path / "run", what=what, max_steps=2)
    assert not torch.equal(made.network.mix.weight, what.network.mix.weight)
    assert replace(made, network=None) == replace(what, network=None)


def test_what_is_trained_in_bfloat16_is_loaded_for_the_same_network(tmp_path: Path) -> None:
    classifier = TINY["cnn"]()
    seewhy.fit("nemt", classifier, Pictures(n=8), tmp_path / "run", precision="bf16", epochs=1, batch_size=4)
    assert seewhy.load_explainer(tmp_path / "run", classifier).network is not None
