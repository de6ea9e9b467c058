"""Maps while a training runs: pictures appear, and the training is the same to the bit."""

import random
import warnings
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from PIL import Image
from support.command import as_users_run_it
from support.tiny_models import SIZE, cnn
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset

import seewhy
from seewhy import Classifier, SeewhyError, SeewhyWarning
from seewhy.explanation.watch import Watch


class Noisy(nn.Module):
    """Batch normalization, dropout, and random draws of all three kinds in every pass."""

    def __init__(self) -> None:
        super().__init__()
        self.network = cnn()

    def forward(self, x: Tensor) -> Tensor:
        noise = torch.randn(()) + random.random() + np.random.random()
        return self.network(x + 1e-3 * noise)


def pictures(n: int = 6) -> Tensor:
    return torch.rand(n, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def labels(n: int = 6) -> Tensor:
    return torch.arange(n) % 5


def seeded(kind: type[nn.Module] = Noisy) -> nn.Module:
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)
    return kind()


def of(network: nn.Module, **fields: Any) -> Classifier:
    return Classifier(network, mean=(0.5,) * 3, std=(0.25,) * 3, input_size=(SIZE, SIZE), **fields)


def trained(network: nn.Module, watch: Any, steps: int = 5) -> tuple[list[Tensor], list[Tensor]]:
    """The state and the gradients after a plain loop; ``watch`` is called in the middle of a step too."""
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    network.train()
    for step in range(steps):
        optimizer.zero_grad()
        loss = cross_entropy(network(pictures() - 0.5), labels())
        watch(step)
        loss.backward()
        optimizer.step()
        watch(step)
    assert all(m.training for m in network.modules())
    assert all(p.requires_grad for p in network.parameters())
    return [t.clone() for t in network.state_dict().values()], [p.grad for p in network.parameters() if p.grad is not None]


@pytest.mark.parametrize("explainer", ["grad_cam", "occlusion"])
def test_a_training_that_is_watched_is_the_same_to_the_bit(explainer: str, tmp_path: Path) -> None:
    with as_users_run_it():  # the checks of types draw random numbers
        alone = trained(seeded(), lambda _: None)
        network = seeded()
        watch = seewhy.watch(of(network), pictures()[:2], explainer=explainer, every=2, out=tmp_path)
        watched = trained(network, watch)
    assert len(alone[1]) == len(watched[1]) > 0
    for before, after in zip(alone, watched, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert [file.name for file in sorted(tmp_path.iterdir())] == [f"step_{step:08}.png" for step in (0, 2, 4)]


def test_the_sheet_shows_the_class_that_is_predicted_now_or_the_one_that_was_named(tmp_path: Path) -> None:
    """The network learns to say another class: the captions, and so the sheets, follow."""
    network = seeded(cnn)  # type: ignore[arg-type]
    classifier = of(network, classes=("ant", "bee", "cat", "dog", "elk"))
    now = seewhy.watch(classifier, pictures()[:1], every=1, out=tmp_path)
    named = seewhy.watch(classifier, pictures()[:1], ["cat"], every=1, out=tmp_path)
    same = seewhy.watch(classifier, pictures()[:1], torch.tensor([2]), every=1, out=tmp_path)
    sheets = []
    for step, wanted in enumerate((2, 4)):
        with torch.no_grad():
            network[-1].bias.zero_()[wanted] = 50.0  # type: ignore[index]
        sheets.append([w.draw(step) for w in (now, named, same)])
    for drawn in sheets:
        assert all(isinstance(picture, Image.Image) for picture in drawn)
        assert drawn[1].tobytes() == drawn[2].tobytes()
    assert sheets[0][0].tobytes() == sheets[0][1].tobytes()  # cat is predicted at step 0
    assert sheets[1][0].tobytes() != sheets[1][1].tobytes()  # and elk at step 1


class Gated(nn.Module):
    """A second stage behind a gate that is closed at first, as many trainings begin."""

    def __init__(self) -> None:
        super().__init__()
        self.early, self.late = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, 2, padding=1)
        self.gate, self.head = nn.Parameter(torch.zeros(())), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        early = self.early(x).relu()
        return self.head(early.mean((2, 3)) + self.gate * self.late(early).relu().mean((2, 3)))


def test_what_was_found_with_other_weights_is_found_again(tmp_path: Path) -> None:
    network = seeded(Gated)
    watch = seewhy.watch(of(network), pictures()[:2], every=1, out=tmp_path)
    assert of(network).layer == "early"
    assert watch(0) is not None
    with torch.no_grad():
        network.gate.fill_(1)
    assert of(network).layer == "late"
    drawn, afresh = watch(1), seewhy.watch(of(network), pictures()[:2], every=1, out=tmp_path)(1)
    assert drawn is not None
    assert afresh is not None
    assert drawn.tobytes() == afresh.tobytes()


def test_a_last_layer_of_zeros_with_which_trainings_begin_is_one_warning(tmp_path: Path) -> None:
    network = seeded(cnn)  # type: ignore[arg-type]
    nn.init.zeros_(network[-1].weight)  # type: ignore[index]
    watch = seewhy.watch(of(network), pictures()[:2], every=1, out=tmp_path)
    with pytest.warns(SeewhyWarning, match="no picture of step 0: no layer of Sequential"):
        assert watch(0) is None
    nn.init.normal_(network[-1].weight)  # type: ignore[index]
    assert watch(1) is not None


class Breaking(nn.Module):
    """Fails from a pass on."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.broken = cnn(), False

    def forward(self, x: Tensor) -> Tensor:
        if self.broken:
            raise MemoryError("no more")
        return self.network(x)


def test_what_fails_is_one_warning_and_the_training_goes_on(tmp_path: Path) -> None:
    network = Breaking().train()
    watch = seewhy.watch(of(network), pictures()[:1], every=1, out=tmp_path / "new")
    assert watch(0) is not None
    network.broken = True
    with pytest.warns(SeewhyWarning, match="watch has no picture of step 1: .*no more"):
        assert watch(1) is None
    assert all(m.training for m in network.modules())
    network.broken = False
    with torch.no_grad():
        network.network[-1].bias[0] = torch.nan  # type: ignore[index]
    with pytest.warns(SeewhyWarning, match="no picture of step 2: .*NaN"):
        assert watch(2) is None
    (tmp_path / "new" / "step_00000003.png").mkdir()
    with torch.no_grad():
        network.network[-1].bias[0] = 0  # type: ignore[index]
    with pytest.warns(SeewhyWarning, match="no picture of step 3: cannot write"):
        assert watch(3) is None


def test_mistakes_are_said_before_the_training(tmp_path: Path) -> None:
    classifier = of(cnn(), classes=("ant", "bee", "cat", "dog", "elk"))
    (tmp_path / "file").touch()
    for said, make in {
        "no Classifier": lambda: seewhy.watch(cnn(), pictures()),  # type: ignore[arg-type]
        "in \\[0, 1\\]": lambda: seewhy.watch(classifier, pictures() * 255),
        "6 pictures and 1 targets": lambda: seewhy.watch(classifier, pictures(), [0]),
        "class 'fox'": lambda: seewhy.watch(classifier, pictures(), ["fox"] * 6),
        "unknown explainer 'grad_kam'": lambda: seewhy.watch(classifier, pictures(), explainer="grad_kam"),
        "every is a number of steps": lambda: seewhy.watch(classifier, pictures(), every=0),
        "is a file": lambda: seewhy.watch(classifier, pictures(), out=tmp_path / "file"),
    }.items():
        with as_users_run_it(), pytest.raises(SeewhyError, match=said):
            make()


def test_a_network_that_waits_for_other_processes_is_refused(tmp_path: Path) -> None:
    torch.distributed.init_process_group("gloo", f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        with pytest.raises(SeewhyError, match="give the module inside it"):
            seewhy.watch(of(DistributedDataParallel(cnn())), pictures())
    finally:
        torch.distributed.destroy_process_group()


class Written:
    """What a training has written into TensorBoard."""

    def __init__(self) -> None:
        self.images: list[tuple[str, int, tuple[int, ...]]] = []

    def add_image(self, tag: str, img_tensor: Any, global_step: int, *, dataformats: str) -> None:
        assert dataformats == "HWC"
        self.images.append((tag, global_step, img_tensor.shape))


def test_a_summary_writer_gets_the_sheets(tmp_path: Path) -> None:
    writer = Written()
    watch = seewhy.watch(of(cnn().eval()), pictures(10), every=10, out=writer)
    sheet = watch(20)
    assert sheet is not None
    assert writer.images == [("seewhy", 20, (sheet.height, sheet.width, 3))]
    assert watch(20) is None  # once for each step, however often it is asked
    assert watch(21) is None


class Lit(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.network = seeded()

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        return cross_entropy(self.network(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


def fitted(module: Lit, folder: Path, callbacks: list[Callback]) -> list[Tensor]:
    loader = DataLoader(TensorDataset(pictures() - 0.5, labels()), batch_size=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pl.Trainer(
            max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=folder, callbacks=callbacks, accumulate_grad_batches=3,
        ).fit(module, loader)  # fmt: skip
    return list(module.state_dict().values())


def test_a_lightning_training_is_watched(tmp_path: Path) -> None:
    with as_users_run_it():  # the checks of types draw random numbers
        alone = fitted(Lit(), tmp_path, [])
        module = Lit()
        watch = seewhy.watch(of(module.network), pictures()[:2], every=1, out=tmp_path / "watch")
        watched = fitted(module, tmp_path, [watch.lightning()])
    assert all(torch.equal(a, b) for a, b in zip(alone, watched, strict=True))
    steps = [f"step_{step:08}.png" for step in (0, 1, 2)]  # three batches make a step
    assert [file.name for file in sorted((tmp_path / "watch").iterdir())] == steps


def test_a_hugging_face_training_is_watched(tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="the Trainer of Hugging Face needs accelerate")
    from transformers import Trainer, TrainingArguments

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = seeded()

        def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
            logits = self.network(pixel_values)
            return {"logits": logits} if labels is None else {"loss": cross_entropy(logits, labels), "logits": logits}

    def fit(network: nn.Module, watch: Watch | None = None) -> list[Tensor]:
        rows = [{"pixel_values": x - 0.5, "labels": y} for x, y in zip(pictures(), labels(), strict=True)]
        arguments = TrainingArguments(
            str(tmp_path), max_steps=3, per_device_train_batch_size=2, report_to=[], use_cpu=True, save_strategy="no",
            disable_tqdm=True, logging_strategy="no",
        )  # fmt: skip
        callbacks = [] if watch is None else [watch.trainer()]
        Trainer(network, arguments, train_dataset=rows, callbacks=callbacks).train()
        return list(network.state_dict().values())

    with as_users_run_it():  # the checks of types draw random numbers
        alone = fit(Network())
        network = Network()
        watched = fit(network, seewhy.watch(of(network), pictures()[:2], every=2, out=tmp_path / "watch"))
    assert all(torch.equal(a, b) for a, b in zip(alone, watched, strict=True))
    assert [file.name for file in sorted((tmp_path / "watch").iterdir())] == ["step_00000000.png", "step_00000002.png"]
