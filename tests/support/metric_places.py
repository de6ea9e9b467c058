"""Metrics of place, and maps with many ties with regions and boxes from empty to full."""

from dataclasses import replace

import numpy as np
import torch
from support.tiny_models import TINY
from torch import Tensor

from seewhy.metrics.boxes import (
    BoxAccuracy,
    LocalizationError,
    OfficialMetric,
    PixelF1,
    SaliencyMetric,
)
from seewhy.metrics.case import Case
from seewhy.metrics.regions import (
    EnergyPointingGame,
    PointingGame,
    RelevanceIoU,
    RelevanceMass,
    RelevanceRank,
)
from seewhy.metrics.segmentation import MaskAccuracy, MaskIoU, MaskMAE

H, W, N = 6, 7, 12
REGION_METRICS = [
    RelevanceMass(),
    RelevanceRank(),
    RelevanceIoU(),
    PointingGame(),
    PointingGame(tolerance=2),
    EnergyPointingGame(),
    PixelF1(),
    MaskAccuracy(),
    MaskIoU(),
    MaskMAE(),
]
BOX_METRICS = [LocalizationError(), OfficialMetric(), BoxAccuracy(), SaliencyMetric(), SaliencyMetric(classified="crop")]


def name(metric: object) -> str:
    return repr(metric)


def random_case(n: int = N, dtype: torch.dtype = torch.float64, kind: str = "cnn") -> Case:
    """Maps with many ties and both signs, sparse ones, and regions from empty to full, each with its boxes."""
    g = torch.Generator().manual_seed(0)
    maps = torch.randn(n, H, W, generator=g, dtype=torch.float64)
    maps[::3] = (maps[::3] * 2).round() / 2
    maps[1::3] = maps[1::3].relu()
    boxes = []
    for i in range(n):
        corners = torch.rand(1 + i % 2, 2, 2, generator=g, dtype=torch.float64).sort(1).values
        boxes.append((corners * torch.tensor([W, H])).reshape(-1, 4) + torch.tensor([0, 0, 0.5, 0.5]))
    boxes[-1] = torch.zeros(0, 4, dtype=torch.float64)
    regions = torch.rand(n, H, W, generator=g) < torch.linspace(0, 1.01, n)[:, None, None]
    classifier = TINY[kind]()
    return Case(
        replace(classifier, module=classifier.module.to(dtype)),
        torch.rand(n, 3, H, W, generator=g, dtype=torch.float64).to(dtype),
        torch.arange(n) % 5,
        torch.arange(n) % 5,
        maps.to(dtype),
        labels=torch.arange(n) % 5,
        regions=regions,
        boxes=tuple(boxes),
    )


def case_of(maps: Tensor, regions: Tensor) -> Case:
    """A case of these maps and regions, for metrics that look at nothing else."""
    n, h, w = maps.shape
    classes = torch.zeros(n, dtype=torch.long)
    return Case(TINY["cnn"](), torch.rand(n, 3, h, w), classes, classes, maps, regions=regions)


CASE = random_case()


def arrays(*tensors: Tensor) -> list[tuple[np.ndarray, ...]]:
    return list(zip(*(t.numpy() for t in tensors), strict=True))


def same(actual: Tensor, expected: list[float]) -> None:
    tolerance = 1e-12 if actual.dtype == torch.float64 else 1e-6
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=actual.dtype), rtol=tolerance, atol=tolerance)


SMALL = torch.tensor([[[4.0, 2.0, 2.0], [2.0, 0.0, -4.0]]])
LEFT = torch.tensor([[[True, True, False], [False, True, False]]])


def blob() -> tuple[Tensor, tuple[Tensor, ...]]:
    region = torch.zeros(2, H, W, dtype=torch.bool)
    region[0, 1:4, 2:6] = True
    region[1, 0:2, 0:3] = True
    return region, (torch.tensor([[2.0, 1, 6, 4]]), torch.tensor([[0.0, 0, 3, 2]]))
