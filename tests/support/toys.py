"""Toy pictures and an explainer that remembers what it explained, for evaluations that are stopped, mended or added to."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from support.tiny_models import TINY
from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.data import Batch
from seewhy.errors import SeewhyError
from seewhy.evaluation.evaluate import Evaluation, evaluate
from seewhy.evaluation.plan import spread_order
from seewhy.metrics import Case, metric

N = 11


CNN: Classifier = TINY["cnn"]()


SEVERAL: Classifier = TINY["cnn_multilabel"]()


MANY_LABELS = torch.tensor([[i % 2, 1, i % 3 == 0, 0, i % 5 == 0] for i in range(N)]).float()


Capture = pytest.CaptureFixture[str]


class Toys:
    """Eleven random pictures; those that are broken cannot be read."""

    classes: ClassVar[tuple[str, ...]] = CNN.classes

    def __init__(self, broken: tuple[int, ...] = (), labels: Tensor | None = None, sizes: Sequence[int] = ()) -> None:
        self.sizes = sizes
        self.broken, self.labels = broken, torch.arange(N) % 5 if labels is None else labels

    def __len__(self) -> int:
        return N

    @property
    def ids(self) -> list[str]:
        return [f"toy {i}" for i in range(N)]

    def digest(self, indices: Sequence[int]) -> str:
        return " ".join(f"{self.ids[i]} {self.sizes[i] if self.sizes else 0} {self.labels[i].tolist()}" for i in indices)

    def batch(self, indices: Sequence[int]) -> Batch:
        for i in indices:
            if i in self.broken:
                raise SeewhyError(f"toy {i} is broken")
        images = torch.stack([torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(i)) for i in indices])
        return Batch([self.ids[i] for i in indices], images, self.labels[list(indices)])


class Spy:
    """An explainer that remembers the images it explained; its map is the class, and in the corner half a pixel more."""

    family: ClassVar[Any] = "reference"
    class_specific: ClassVar[bool] = True
    paper: ClassVar[str] = ""

    def __init__(self, meanwhile: Callable[[int], object] = lambda calls: None) -> None:
        self.meanwhile = meanwhile
        self.seen: list[Tensor] = []
        self.calls = 0

    def explain(self, images: Tensor, targets: Tensor) -> Tensor:
        self.calls += 1
        self.meanwhile(self.calls)
        self.seen += [*images]
        return targets[:, None, None] + images[:, 0] / 2

    @property
    def indices(self) -> list[int]:
        """Places of the images in the dataset."""
        all_of_them = Toys().batch(range(N)).images
        return [next(i for i in range(N) if torch.equal(all_of_them[i], image)) for image in self.seen]


@dataclass(frozen=True)
class Corner:
    """A metric that is the first pixel of the map."""

    scale: Any = 1.0
    family: ClassVar[Any] = "complexity"
    higher_is_better: ClassVar[bool | None] = None
    range: ClassVar[tuple[float, float]] = (0, 6)
    needs: ClassVar[tuple[Any, ...]] = ()
    reads: ClassVar[str] = "raw"
    target: ClassVar[Any] = "any"
    paper: ClassVar[str] = ""

    def score(self, case: Case) -> Tensor:
        return case.attributions[:, 0, 0]


def measured(out: Path | None, methods: Any, metrics: Any = ("complexity",), data: Any = None, **options: Any) -> Evaluation:
    measures = metrics if isinstance(metrics, dict) else {name: metric(name) for name in metrics}
    asked = {"batch_size": 3, "classifier": CNN, **options}
    return evaluate(asked.pop("classifier"), methods, measures, data or Toys(), out=out, **asked)


def interrupted(out: Path, methods: Any, *arguments: Any, **options: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        measured(out, methods, *arguments, **options)


def stop_at(call: int) -> Spy:
    """An explainer during whose given call somebody presses Ctrl-C."""

    def stop(calls: int) -> None:
        if calls == call:
            raise KeyboardInterrupt

    return Spy(stop)


def bytes_of(folder: Path) -> list[bytes]:
    return [(folder / f"{name}.parquet").read_bytes() for name in ("scores", "curves", "images")]


def counts(found: Evaluation) -> dict[tuple[str, str], int]:
    return {(e, m): n for e, m, n in found.frame.group_by("explainer", "metric").len().iter_rows()}


def few(n: int) -> set[int]:
    """The images that a limit of n takes."""
    return {i for i, rank in enumerate(spread_order(N)) if rank < n}


METRICS = ["complexity", "black_deletion"]


EVALUATE = [
    "evaluate",
    "--model",
    "shapes",
    "--data",
    "shapes",
    "--limit",
    "6",
    "--batch-size",
    "2",
    "--quiet",
    "--metric",
    "complexity",
]
