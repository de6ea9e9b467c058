"""A third party's package: an explainer, a metric, a dataset and a source of models, found by entry points."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.classifier.sources import Request
from seewhy.data import Batch
from seewhy.metrics import Case


@dataclass(frozen=True)
class Foo:
    """Brightness of the pixels, whatever the class. Not negative.

    Args:
        classifier: what is explained.
        power: exponent of the brightness.
    """

    family: ClassVar[str] = "reference"
    class_specific: ClassVar[bool] = False
    paper: ClassVar[str] = ""

    classifier: Classifier
    power: int = 1

    def explain(self, images: Tensor, targets: Tensor) -> Tensor:
        return images.detach().mean(1) ** self.power


@dataclass(frozen=True)
class FooMean:
    """The mean of the map, raised to a power."""

    family: ClassVar[str] = "complexity"
    higher_is_better: ClassVar[bool | None] = None
    range: ClassVar[tuple[float, float]] = (-float("inf"), float("inf"))
    needs: ClassVar[tuple[str, ...]] = ()
    target: ClassVar[str] = "any"
    paper: ClassVar[str] = ""
    reads: ClassVar[str] = "raw"

    power: int = 1

    def score(self, case: Case) -> Tensor:
        share = case.attributions.abs().amax((1, 2), keepdim=True).clamp_min(1e-12)
        return (case.attributions / share).mean((1, 2)) ** self.power


@dataclass(frozen=True)
class FooNoise:
    """Pictures of noise, with labels."""

    takes: ClassVar[tuple[str, ...]] = ("classes", "size", "n")

    classes: tuple[str, ...] = ()
    size: int = 32
    n: int = 4

    @property
    def ids(self) -> Sequence[str]:
        return [f"noise {i}" for i in range(self.n)]

    def __len__(self) -> int:
        return self.n

    def digest(self, indices: Sequence[int]) -> str:
        return f"noise {self.size} {sorted(indices)}"

    def batch(self, indices: Sequence[int]) -> Batch:
        draws = [torch.Generator().manual_seed(i) for i in indices]
        images = torch.stack([torch.rand(3, self.size, self.size, generator=g) for g in draws])
        return Batch([self.ids[i] for i in indices], images, torch.tensor([i % 3 for i in indices]))


def foo_nets(request: Request) -> Classifier:
    """One convolution and its mean."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)]
    return Classifier(nn.Sequential(*layers), input_size=(32, 32), classes=("one", "two", request.name))
