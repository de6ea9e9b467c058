"""What is raced: for each case the same network, weights, images and question, answered by us and by a rival.

A contender is a function that sets up and returns ``run``; ``run()`` returns the maps that are compared. Networks have
random weights: speed does not depend on them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import timm
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor, nn

Run = Callable[[], NDArray[np.float32]]
IDENTITY = {"mean": (0.0,) * 3, "std": (1.0,) * 3}


@dataclass(frozen=True)
class Race:
    """A race.

    question    what both answer
    same        the largest difference of two maps in [0, 1] (or relative one) up to which the answers are the same
    floor       images whose bare forward passes are the least that any answer costs
    contenders  name -> set-up; the first is ours
    """

    question: str
    network: Callable[[], nn.Module]
    images: Callable[[], Tensor]
    contenders: dict[str, Callable[[nn.Module, Tensor], Run]]
    same: float = 1e-3
    floor: int = 1
    repeats: int = 7


def network(name: str, k: int) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        torch.manual_seed(0)
        if name.startswith("torchvision/"):
            return torchvision.models.get_model(name.partition("/")[2], num_classes=k).eval()
        return timm.create_model(name, num_classes=k).eval()

    return build


def images(n: int, size: int = 224) -> Callable[[], Tensor]:
    return lambda: torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(1))


def predicted(module: nn.Module, x: Tensor) -> Tensor:
    """With random weights the map of any other class is often zero everywhere, which proves nothing."""
    with torch.no_grad():
        return module(x).argmax(1)
