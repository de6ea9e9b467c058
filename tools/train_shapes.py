"""Train the networks that come with seewhy on its built-in pictures and write their weights.

    python tools/train_shapes.py --model cnn --out src/seewhy/classifier/weights
    python tools/train_shapes.py --model all --threads 4 --workers 4

Pictures are made once and kept as bytes. While training they are turned, mirrored and recolored at random. The test
pictures are of the other split; the figures measured on them go into the metadata of the written file.
"""

import argparse
import json
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from seewhy.classifier.shapes_models import MEAN, STD, ShapesCNN, ShapesViT
from seewhy.data.shapes.shapes import Shapes, Shortcut, Split

CHUNK = 100
"""Pictures that a process makes at a time."""


@dataclass(frozen=True)
class Recipe:
    """How one network is trained.

    file       the name of its weights
    teacher    the name of the weights from which it learns
    start      the name of the weights with which it begins
    permuted   how many pictures it learns by heart, each with the label of another picture
    tested_on  the shortcuts of its test pictures
    """

    file: str
    network: type[nn.Module]
    steps: int
    shortcut: Shortcut = "none"
    multilabel: bool = False
    learning_rate: float = 4e-3
    teacher: str | None = None
    start: str | None = None
    permuted: int = 0
    tested_on: tuple[Shortcut, ...] = ("none",)


RECIPES = {
    "cnn": Recipe("shapes_cnn", ShapesCNN, steps=9000),
    "vit": Recipe("shapes_vit", ShapesViT, steps=4000, learning_rate=1.2e-3, teacher="shapes_cnn"),
    "shortcut": Recipe(
        "shapes_cnn_shortcut", ShapesCNN, 2000, shortcut="correlated", tested_on=("correlated", "random", "none")
    ),
    "multilabel": Recipe(
        "shapes_cnn_multilabel", ShapesCNN, steps=4000, multilabel=True, learning_rate=2e-3, start="shapes_cnn"
    ),
    "permuted": Recipe("shapes_cnn_permuted", ShapesCNN, steps=1200, learning_rate=2e-3, permuted=1000),
}


@dataclass(frozen=True)
class Pictures:
    """Pictures in memory: images (n, 3, h, w) bytes, labels (n,) or (n, k)."""

    images: Tensor
    labels: Tensor


def draw_chunk(dataset: Shapes, start: int) -> tuple[np.ndarray, np.ndarray]:
    """Up to CHUNK pictures from ``start`` on, as bytes, and their labels."""
    torch.set_num_threads(1)
    samples = [dataset.sample(index) for index in range(start, min(start + CHUNK, len(dataset)))]
    images = torch.stack([(sample.image * 255).round().to(torch.uint8) for sample in samples])
    return images.numpy(), torch.stack([sample.label for sample in samples]).numpy()


def draw(n: int, split: Split, recipe: Recipe, shortcut: Shortcut, arguments: argparse.Namespace) -> Pictures:
    """``n`` pictures, made by ``--workers`` processes."""
    dataset = Shapes(n=n, multilabel=recipe.multilabel, shortcut=shortcut, split=split, seed=arguments.data_seed)
    kept = arguments.cache and arguments.cache / f"{n}-{split}-{recipe.multilabel}-{shortcut}-{arguments.data_seed}.npz"
    if kept and kept.exists():
        with np.load(kept) as loaded:
            return Pictures(torch.from_numpy(loaded["images"]), torch.from_numpy(loaded["labels"]))
    starts = range(0, n, CHUNK)
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
        chunks = list(pool.map(draw_chunk, [dataset] * len(starts), starts))
    images, labels = (np.concatenate(part) for part in zip(*chunks, strict=True))
    if kept:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.savez(kept, images=images, labels=labels)
    return Pictures(torch.from_numpy(images), torch.from_numpy(labels))


def normalize(images: Tensor) -> Tensor:
    """Bytes as network input (n, 3, h, w), channels last."""
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    return ((images.float() / 255 - mean) / std).contiguous(memory_format=torch.channels_last)


def augment(images: Tensor, tagged: bool) -> Tensor:
    """The pictures of a batch, all turned and mirrored alike, and each with other colors.

    Neither turn nor color tells a class, so each picture is worth 8 turns times any mixture of colors. The colors of tags do
    tell a class: channels of ``tagged`` pictures are not exchanged.
    """
    turns = int(torch.randint(4, ()))
    images = torch.rot90(images, turns, (2, 3))
    images = images.flip(3) if torch.rand(()) < 0.5 else images
    images = images[:, torch.randperm(3)] if torch.rand(()) < 0.5 and not tagged else images
    scale = 1 + 0.2 * (torch.rand(len(images), 3, 1, 1) - 0.5)
    shift = 0.6 * (torch.rand(len(images), 3, 1, 1) - 0.5)
    shift = shift + 0.1 * torch.randn(len(images), 1, 1, 1)
    return (images * scale + shift).contiguous(memory_format=torch.channels_last)


def permuted_labels(labels: Tensor) -> Tensor:
    """The labels, each at another picture. The permutation is always the same, so that a test can repeat it."""
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]


def shift_pictures(images: Tensor, most: int = 6) -> Tensor:
    """All pictures of a batch, moved alike by up to ``most`` pixels; their borders are repeated."""
    down, right = (int(v) for v in torch.randint(-most, most + 1, (2,)))
    size = images.shape[-1]
    padded = F.pad(images.float(), (most, most, most, most), mode="replicate").to(torch.uint8)
    return padded[:, :, most + down : most + down + size, most + right : most + right + size]


def loss_of(logits: Tensor, labels: Tensor, taught: Tensor | None) -> Tensor:
    """The loss of a batch. ``taught``, the logits of a teacher for the same pictures, are half of it."""
    if taught is not None:
        return 0.5 * F.cross_entropy(logits, labels) + 0.5 * F.cross_entropy(logits, taught.softmax(1))
    if labels.ndim == 2:
        return F.binary_cross_entropy_with_logits(logits, labels.float())
    return F.cross_entropy(logits, labels, label_smoothing=0.05)


def plain_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The fused attention, written out: on a CPU in bfloat16, the backward pass is four times as fast."""
    n, h, t, d = q.shape
    weights = torch.bmm((q * d**-0.5).reshape(n * h, t, d), k.reshape(n * h, t, d).transpose(1, 2)).softmax(-1)
    return torch.bmm(weights.to(v.dtype), v.reshape(n * h, t, d)).reshape(n, h, t, d)


def learn_from(network: nn.Module, file: Path) -> nn.Module:
    """The CNN in ``file``, as a teacher. Its first layers are copied into the stem of a vision transformer."""
    teacher = ShapesCNN()
    teacher.load_state_dict(load_file(file))
    if isinstance(network, ShapesViT):
        stem = network.patch_embed
        for mine, its in [(stem.conv1, teacher.conv1), (stem.bn1, teacher.bn1), (stem.layer1, teacher.layer1),
                          (stem.layer2, teacher.layer2[0])]:  # fmt: skip
            mine.load_state_dict(its.state_dict())
    return teacher.eval().to(memory_format=torch.channels_last)


def parameter_groups(network: nn.Module) -> list[dict[str, object]]:
    """Weight decay for matrices; none for biases, norms, tokens and positions."""
    decayed = [p for p in network.parameters() if p.ndim > 1 and p.shape[0] > 1]
    kept = [p for p in network.parameters() if not (p.ndim > 1 and p.shape[0] > 1)]
    return [{"params": decayed, "weight_decay": 0.05}, {"params": kept, "weight_decay": 0.0}]


def train(network: nn.Module, pictures: Pictures, recipe: Recipe, arguments: argparse.Namespace) -> nn.Module:
    """Train the network by AdamW on a one-cycle schedule."""
    steps = arguments.steps or recipe.steps
    teacher = learn_from(network, arguments.out / f"{recipe.teacher}.safetensors") if recipe.teacher else None
    optimizer = torch.optim.AdamW(parameter_groups(network), lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.learning_rate, total_steps=steps, pct_start=0.15, cycle_momentum=False
    )
    network.train().to(memory_format=torch.channels_last)
    order, started, total = torch.randperm(len(pictures.images)), time.time(), 0.0
    place = 0
    for step in range(1, steps + 1):
        if place + arguments.batch_size > len(order):
            order, place = torch.randperm(len(order)), 0
        chosen = order[place : place + arguments.batch_size]
        place += arguments.batch_size
        images = pictures.images[chosen]
        if recipe.permuted:  # pictures that are learned by heart are not changed
            images = normalize(images)
        else:
            images = augment(normalize(shift_pictures(images)), tagged=recipe.shortcut != "none")
        with torch.autocast("cpu", torch.bfloat16, enabled=arguments.bf16):
            logits = network(images)
            with torch.no_grad():
                taught = teacher(images).float() if teacher else None
        loss = loss_of(logits.float(), pictures.labels[chosen], taught)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        total += loss.item()
        if step % 100 == 0:
            print(f"{recipe.file} {step}/{steps} loss {total / 100:.4f} {time.time() - started:.0f} s", flush=True)
            total = 0.0
    return network


@torch.no_grad()
def measure(network: nn.Module, pictures: Pictures) -> float:
    """The accuracy; for several labels a picture, the mean over classes of the average precision."""
    network.eval()
    logits = torch.cat([network(normalize(part)) for part in pictures.images.split(200)])
    if pictures.labels.ndim == 1:
        return float((logits.argmax(1) == pictures.labels).float().mean())
    precisions = []
    for scores, present in zip(logits.T, pictures.labels.T, strict=True):
        hits = present[scores.argsort(descending=True)].double()
        precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
        precisions.append(float((precision * hits).sum() / hits.sum()))
    return sum(precisions) / len(precisions)


def run(name: str, arguments: argparse.Namespace) -> None:
    """Train one network, store it in half precision, and measure the stored network."""
    recipe = RECIPES[name]
    torch.manual_seed(arguments.seed)
    started = time.time()
    n = recipe.permuted or arguments.pictures
    pictures = draw(n, "train", recipe, recipe.shortcut, arguments)
    if recipe.permuted:
        pictures = Pictures(pictures.images, permuted_labels(pictures.labels))
    print(f"{n} pictures in {time.time() - started:.0f} s", flush=True)
    network = recipe.network()
    if recipe.start:
        network.load_state_dict(load_file(arguments.out / f"{recipe.start}.safetensors"))
    with mock.patch.object(F, "scaled_dot_product_attention", plain_attention):
        network = train(network, pictures, recipe, arguments)
    stored = {key: value.half().contiguous() if value.is_floating_point() else value.contiguous()
              for key, value in network.state_dict().items()}  # fmt: skip
    network.load_state_dict(stored)
    figure = "mean average precision" if recipe.multilabel else "accuracy"
    figures = {}
    for shortcut in recipe.tested_on:
        tested = draw(arguments.test_pictures, "test", recipe, shortcut, arguments)
        figures[f"{figure}, {arguments.test_pictures} test pictures, shortcut={shortcut}"] = measure(network, tested)
    if recipe.permuted:
        figures[f"{figure}, {n} training pictures with permuted labels"] = measure(network, pictures)
    print(json.dumps(figures, indent=2), flush=True)
    metadata = {
        "network": recipe.network.__name__,
        "classes": ",".join(Shapes.classes),
        "multilabel": str(recipe.multilabel).lower(),
        "trained_with_shortcut": recipe.shortcut,
        **{key: f"{value:.4f}" for key, value in figures.items()},
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    save_file(stored, arguments.out / f"{recipe.file}.safetensors", metadata)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=[*RECIPES, "all"], default="all")
    parser.add_argument("--out", type=Path, default=Path("src/seewhy/classifier/weights"))
    parser.add_argument("--steps", type=int, help="training steps; by default those of the recipe")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--pictures", type=int, default=20000, help="training pictures made and kept in memory")
    parser.add_argument("--test-pictures", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0, help="of the weights and the training")
    parser.add_argument("--data-seed", type=int, default=0, help="of the pictures")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2, help="processes that make pictures")
    parser.add_argument("--cache", type=Path, help="folder that keeps the pictures for another run")
    parser.add_argument("--bf16", action=argparse.BooleanOptionalAction, default=True, help="train in bfloat16")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name in RECIPES if arguments.model == "all" else [arguments.model]:
        run(name, arguments)


if __name__ == "__main__":
    main()
