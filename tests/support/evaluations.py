"""Data and explainers that watch what an evaluation asks of them."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from support.tiny_models import TINY
from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.data import Batch
from seewhy.errors import SeewhyError
from seewhy.evaluation.evaluate import Evaluation, evaluate
from seewhy.explainers import explainer
from seewhy.metrics import Case

N = 11
METRICS = ["deletion", "relevance_mass", "complexity"]
CURVED = ["deletion", "insertion", "lif", "mif", "srg", "black_deletion", "white_deletion", "road"]


class Pictures:
    """Eleven random pictures, some of which cannot be read."""

    classes: ClassVar[tuple[str, ...]] = ("a", "b", "c", "d", "e")

    def __init__(self, broken: tuple[int, ...] = (), n: int = N) -> None:
        self.broken, self.n = broken, n
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.n

    @property
    def ids(self) -> list[str]:
        return [f"image {i}" for i in range(self.n)]

    def digest(self, indices: Sequence[int]) -> str:
        return " ".join(self.ids[i] for i in indices)

    def batch(self, indices: Sequence[int]) -> Batch:
        for i in indices:
            if i in self.broken:
                raise SeewhyError(f"image {i} is broken")
        self.read.extend(indices)
        draws = [torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(i)) for i in indices]
        regions = torch.zeros(len(indices), 16, 16, dtype=torch.bool)
        regions[:, 4:9, 3:12] = True
        return Batch([self.ids[i] for i in indices], torch.stack(draws), torch.tensor([i % 5 for i in indices]), regions)


class Watched:
    """An explainer that remembers what it explained, and may fail or wait."""

    family: ClassVar[Any] = "reference"
    class_specific: ClassVar[bool] = False
    paper: ClassVar[str] = ""

    def __init__(self, fails: Any = None, wait: float = 0.0) -> None:
        self.fails, self.wait = fails, wait
        self.asked: list[int] = []

    def explain(self, images: Tensor, targets: Tensor) -> Tensor:
        self.asked.append(len(images))
        time.sleep(self.wait)
        if self.fails is not None:
            self.fails(images)
        return images.mean(1)


class Others:
    """Stands for Lightning Fabric in one of two processes: what the first one tells reaches the second."""

    world_size = 2

    def __init__(self, rank: int, told: list[str]) -> None:
        self.global_rank = self.local_rank = rank
        self.told, self.device, self.barriers = told, torch.device("cpu"), 0

    def broadcast(self, message: str) -> str:
        if self.global_rank == 0:
            self.told.append(message)
        return self.told[-1]

    def barrier(self) -> None:
        self.barriers += 1


CNN: Classifier = TINY["cnn"]()


def measured(
    out: Path | None, dataset: Any = None, methods: Any = None, metrics: Any = METRICS, **options: Any
) -> Evaluation:
    methods = {"watched": Watched(), "grad_cam": explainer("grad_cam", CNN)} if methods is None else methods
    return evaluate(CNN, methods, metrics, dataset or Pictures(), out=out, **{"batch_size": 3, **options})


def bytes_of(folder: Path) -> list[bytes]:
    return [(folder / f"{name}.parquet").read_bytes() for name in ("scores", "curves", "images")]


SCRIPT = """
import sys, time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
import torch
from support.evaluations import METRICS, Pictures, Watched
from support.tiny_models import TINY
from seewhy.evaluation.evaluate import evaluate
from seewhy.explainers import explainer
from seewhy.metrics import Case
CNN = TINY["cnn"]()
methods = {"slow": Watched(wait=0.05), "grad_cam": explainer("grad_cam", CNN)}
print("begun", flush=True)
evaluate(CNN, methods, METRICS, Pictures(n=40), out=Path(sys.argv[1]), batch_size=3)
"""


def process(code: str, *arguments: object) -> "subprocess.Popen[str]":
    """A Python process of its own, which has imported all that it needs when it says so."""
    tests = str(Path(__file__).parents[1])
    around = {**os.environ, "PYTHONPATH": os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=around)
    assert started.stdout is not None
    assert started.stdout.readline() == "begun\n"
    return started


@dataclass(frozen=True)
class Picky:
    """A metric that fails on dark images."""

    family: ClassVar[Any] = "masking"
    higher_is_better: ClassVar[bool | None] = True
    range: ClassVar[tuple[float, float]] = (0, 1)
    needs: ClassVar[tuple[Any, ...]] = ()
    reads: ClassVar[str] = "none"
    target: ClassVar[Any] = "any"
    paper: ClassVar[str] = ""
    limit: float = 0.5

    def score(self, case: Case) -> Tensor:
        light = case.images.mean((1, 2, 3))
        if (light < self.limit).any():
            raise ZeroDivisionError("too dark")
        return light
