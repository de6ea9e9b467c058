"""Checkpoints as real trainers save them, each after one step of training, and what the library loads of them.

    python tools/studies/checkpoints.py --out checkpoints.md

Each trainer trains a small network for one step on noise and saves it in its own way. The file is then loaded by name, and
the outputs of the network that was trained, or of its average, are compared with those of the one that was loaded. A
trainer that is not installed is left out: install fastai and accelerate for the whole table.
"""

import argparse
import logging
import tempfile
import warnings
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import timm
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import seewhy
from seewhy.classifier.checkpoint import load_weights
from seewhy.errors import SeewhyError

CLASSES = 10
IMAGES = torch.rand(8, 3, 64, 64, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(8)


class Saved(NamedTuple):
    """A checkpoint: how it was saved, the name and the weights to load, and the network that it should hold."""

    how: str
    name: str
    weights: Path | None
    network: nn.Module
    options: dict[str, object] = {}  # noqa: RUF012


def network() -> nn.Module:
    return timm.create_model("test_resnet", num_classes=CLASSES)


def step(module: nn.Module, extra: nn.Module | None = None) -> torch.optim.Optimizer:
    optimizer = torch.optim.AdamW([*module.parameters(), *(extra.parameters() if extra else [])], lr=1e-2)
    nn.functional.cross_entropy(module.train()(IMAGES), LABELS).backward()
    optimizer.step()
    return optimizer


def plain(folder: Path) -> Iterator[Saved]:
    module = network()
    optimizer = step(module)
    wrapped, compiled = nn.DataParallel(module), torch.compile(module)
    files = {
        "torch.save(model.module.state_dict())": wrapped.module.state_dict(),
        "torch.save(DataParallel(model).state_dict())": wrapped.state_dict(),
        "torch.save(compiled.state_dict())": compiled.state_dict(),
        'torch.save({"net": ..., "optimizer": ..., "acc": ...})': {
            "net": wrapped.state_dict(),
            "optimizer": optimizer.state_dict(),
            "acc": 71.2,
            "args": Namespace(lr=0.1),
        },
    }
    average = torch.optim.swa_utils.AveragedModel(module)
    average.update_parameters(module)
    files["torch.save(AveragedModel(model).state_dict())"] = average.state_dict()
    for i, (how, content) in enumerate(files.items()):
        torch.save(content, folder / f"{i}.pth")
        yield Saved(how, "test_resnet", folder / f"{i}.pth", module)


def of_timm(folder: Path) -> Iterator[Saved]:
    from timm.utils import CheckpointSaver, ModelEmaV3

    module = network()
    average = ModelEmaV3(module, decay=0.5)
    optimizer = step(module)
    average.update(module)
    args = Namespace(model="test_resnet", lr=0.1, output=Path("output"))
    saver = CheckpointSaver(module, optimizer, args=args, model_ema=average, checkpoint_dir=str(folder))
    saver.save_checkpoint(0, metric=0.5)
    yield Saved("timm's CheckpointSaver with EMA", "test_resnet", folder / "last.pth.tar", average.module)
    last = {"weights_place": "state_dict"}
    yield Saved("the same, weights_place=state_dict", "test_resnet", folder / "last.pth.tar", module, last)
    timm.models.save_for_hf(module, folder / "hub", safe_serialization=True)
    yield Saved("timm's save_for_hf, as hf/FOLDER", f"hf/{folder / 'hub'}", None, module)


def of_lightning(folder: Path) -> Iterator[Saved]:
    from lightning import LightningModule, Trainer
    from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Task(LightningModule):
        def __init__(self, args: Namespace) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.model, self.loss = network(), nn.CrossEntropyLoss(weight=torch.ones(CLASSES))

        def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
            return self.loss(self.model(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=1e-2)

    for how, averages in (("Lightning", []), ("Lightning with EMAWeightAveraging", [EMAWeightAveraging(decay=0.5)])):
        task, place = Task(Namespace(lr=0.1, data=Path("data"))), folder / str(len(averages))
        trainer = Trainer(
            max_steps=2, logger=False, accelerator="cpu", enable_progress_bar=False, enable_model_summary=False,
            callbacks=[*averages, ModelCheckpoint(place, filename="last", every_n_train_steps=2)], default_root_dir=folder,
        )  # fmt: skip
        trainer.fit(task, DataLoader(TensorDataset(IMAGES, LABELS), batch_size=4))
        trained = averages[0]._average_model.module.model if averages else task.model
        yield Saved(how, "test_resnet", place / "last.ckpt", trained)


def of_fastai(folder: Path) -> Iterator[Saved]:
    import fastai.callback.progress  # noqa: F401 - adds no_bar
    from fastai.data.core import DataLoaders
    from fastai.learner import Learner

    data = DataLoader(TensorDataset(IMAGES, LABELS), batch_size=8)
    learner = Learner(DataLoaders(data, data), network(), loss_func=nn.CrossEntropyLoss(), path=folder)
    with learner.no_bar(), learner.no_logging():
        learner.fit(1, lr=1e-2)
    yield Saved("fastai, learn.save", "test_resnet", learner.save("whole"), learner.model)
    yield Saved("fastai, learn.save(with_opt=False)", "test_resnet", learner.save("alone", with_opt=False), learner.model)


def of_hugging_face(folder: Path) -> Iterator[Saved]:
    import transformers

    config = transformers.ViTConfig(
        image_size=64, patch_size=16, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        num_labels=CLASSES,
    )  # fmt: skip
    module = transformers.ViTForImageClassification(config)
    processor = transformers.ViTImageProcessor(size={"height": 64, "width": 64})
    settings = transformers.TrainingArguments(
        str(folder / "run"),
        max_steps=1,
        save_steps=1,
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        remove_unused_columns=False,
    )

    def collate(rows: list[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
        return {"pixel_values": torch.stack([x for x, _ in rows]), "labels": torch.stack([y for _, y in rows])}

    data = TensorDataset(IMAGES, LABELS)
    trainer = transformers.Trainer(module, settings, data_collator=collate, train_dataset=data, processing_class=processor)
    trainer.train()
    trainer.save_model(str(folder / "final"))
    yield Saved("Hugging Face Trainer, save_model, as hf/FOLDER", f"hf/{folder / 'final'}", None, module)
    checkpoint = folder / "run" / "checkpoint-1"
    yield Saved("Hugging Face Trainer, checkpoint-1, as hf/FOLDER", f"hf/{checkpoint}", None, module)
    file = checkpoint / "model.safetensors"
    yield Saved("the same, its file as weights of another folder", f"hf/{folder / 'final'}", file, module)


def of_accelerate(folder: Path) -> Iterator[Saved]:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    module = network()
    prepared, optimizer = accelerator.prepare(module, torch.optim.AdamW(module.parameters(), lr=1e-2))
    accelerator.backward(nn.functional.cross_entropy(prepared.train()(IMAGES), LABELS))
    optimizer.step()
    accelerator.save_state(str(folder / "state"))
    accelerator.save_model(prepared, str(folder / "model"))
    torch.save({"net": accelerator.get_state_dict(prepared), "epoch": 1}, folder / "net.pt")
    yield Saved("accelerate, save_state", "test_resnet", folder / "state" / "model.safetensors", module)
    yield Saved("accelerate, save_model", "test_resnet", folder / "model" / "model.safetensors", module)
    yield Saved("accelerate, get_state_dict below net", "test_resnet", folder / "net.pt", module)


TRAINERS: dict[str, Callable[[Path], Iterator[Saved]]] = {
    "torch": plain, "timm": of_timm, "lightning": of_lightning, "fastai": of_fastai,
    "transformers": of_hugging_face, "accelerate": of_accelerate,
}  # fmt: skip


def loaded(saved: Saved) -> tuple[float, str]:
    """The largest difference of the outputs, and what the library says of the place of the weights."""
    classifier = seewhy.load(saved.name, weights=saved.weights, options=saved.options)
    place = saved.options.get("weights_place")
    said = load_weights(classifier.module, saved.weights, None if place is None else str(place)) if saved.weights else ""
    with torch.no_grad():
        found, expected = (module.eval()(IMAGES) for module in (classifier.module, saved.network))
    found, expected = (getattr(output, "logits", output) for output in (found, expected))
    return float((found - expected).abs().max()), said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("checkpoints.md"))
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    lines = ["| saved by | largest difference of the outputs | what is said |", "|---|---|---|"]
    for trainer, save in TRAINERS.items():
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as folder:
            try:
                for saved in save(Path(folder)):
                    try:
                        difference, said = loaded(saved)
                        lines.append(f"| {saved.how} | {difference:.2g} | {said} |")
                    except SeewhyError as error:
                        lines.append(f"| {saved.how} | refused | {str(error).replace(folder, '')} |")
            except ModuleNotFoundError as error:
                lines.append(f"| {trainer} | not installed | {error.name} is missing |")
    given.out.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
