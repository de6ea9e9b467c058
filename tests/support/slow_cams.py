"""Parts of the slow, literal CAMs: networks in float64, layers, and a weighted sum of channels."""

from copy import deepcopy
from dataclasses import replace
from functools import cache

import torch
from support import oracles
from support.tiny_models import TINY
from torch import Tensor

from seewhy.classifier.classifier import Classifier

PREFIX = {"vit": 1, "vit_registers": 5}
LAYER = {"vit": "blocks.1.norm1", "vit_registers": "blocks.1.norm1", "functional": "last"}  # the others: "6"


@cache
def double(model: str) -> Classifier:
    classifier = TINY[model]()
    return replace(classifier, module=deepcopy(classifier.module).double())


def same(actual: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    """Up to a part ``tolerance`` of the largest entry; and it is not all about zeros."""
    scale = expected.abs().max().item()
    assert scale > 1e-5
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance * scale)


def weighed(a: oracles.Grid, weights: list[float]) -> list[list[float]]:
    """ReLU(sum_k w_k A_k)"""
    h, w = len(a[0]), len(a[0][0])
    sums = [[sum(wk * ak[i][j] for wk, ak in zip(weights, a, strict=True)) for j in range(w)] for i in range(h)]
    return [[max(v, 0.0) for v in row] for row in sums]


def logit(classifier: Classifier, image: Tensor, c: int) -> float:
    return classifier.logits(image[None])[0, c].item()
