"""Metrics that show masked images to the classifier, and cases for them."""

from dataclasses import replace

import numpy as np
import torch
from support.tiny_models import SIZE, TINY
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.metrics.case import Case
from seewhy.metrics.class_masks import ClassMasks
from seewhy.metrics.masked_classification import MaskedClassification
from seewhy.metrics.segmentation import SaliencyScore

N = 6
METRICS = [
    SaliencyScore(),
    SaliencyScore(use="halves", baseline="black"),
    ClassMasks(thresholds=3),
    MaskedClassification(),
    MaskedClassification(on="image", threshold=0.4),
]


def random_case(kind: str = "cnn", dtype: torch.dtype = torch.float64) -> Case:
    g = torch.Generator().manual_seed(0)
    classifier = TINY[kind]()
    maps = torch.randn(N, SIZE, SIZE, generator=g, dtype=torch.float64)
    maps[::2] = maps[::2].round()
    labels = torch.rand(N, 5, generator=g) < 0.4
    labels[0] = False
    return Case(
        replace(classifier, module=classifier.module.to(dtype)),
        torch.rand(N, 3, SIZE, SIZE, generator=g, dtype=torch.float64).to(dtype),
        torch.arange(N) % 5,
        torch.arange(N) % 5,
        maps.to(dtype),
        labels=labels.long() if kind == "cnn_multilabel" else torch.arange(N) % 5,
        regions=maps > 0.5,
        class_maps=torch.randn(N, 3, SIZE, SIZE, generator=g, dtype=torch.float64).to(dtype),
        map_classes=torch.tensor([3, 0, 1]),
        batch_size=4,
    )


def near(actual: Tensor, expected: list[float]) -> None:
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=actual.dtype), rtol=1e-10, atol=1e-10)


def ask(case: Case, image: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return case.classifier.logits(torch.as_tensor(image)[None])[0].numpy()


class Halves(nn.Module):
    """The logits are ten times the mean brightness of the left and of the right half."""

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean((1, 2))
        half = x.shape[-1] // 2
        return 10 * torch.stack([means[:, :half].mean(1), means[:, half:].mean(1)], 1)


def halves(multilabel: bool = False) -> tuple[Classifier, Tensor, Tensor]:
    """The classifier on black as mean color, two white images, and the maps of the two classes."""
    network = Classifier(Halves().eval(), (0.0,) * 3, (1.0,) * 3, (4, 4), multilabel=multilabel)
    left = torch.zeros(4, 4, dtype=torch.float64)
    left[:, :2] = 1
    return network, torch.ones(2, 3, 4, 4, dtype=torch.float64), torch.stack([left, 1 - left])


SURE = 1 / (1 + np.exp(-10))
"""The softmax of (10, 0)."""
