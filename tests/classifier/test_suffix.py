"""What follows a layer: run without outputs that nothing reads, and as one matrix where it is one."""

from copy import deepcopy
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from support.tiny_models import TINY
from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.classifier.suffix import suffix_of


@cache
def double(model: str) -> Classifier:
    classifier = TINY[model]()
    return replace(classifier, module=deepcopy(classifier.module).double())


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def suffixes(classifier: Classifier, images: Tensor, layer: str | None = None) -> Any:
    with classifier.running():
        return suffix_of(classifier, layer or classifier.layer, images)


@pytest.mark.parametrize(
    ("model", "layer", "holds"),
    [("cnn", "6", True), ("cnn", "5", False), ("cnn", "4", False), ("vit", None, False), ("functional", "last", False)],
)
@torch.no_grad()
def test_the_closed_form_is_used_where_pooling_and_a_linear_layer_follow(
    model: str, layer: str | None, holds: bool, images: Tensor
) -> None:
    """Layer 5 has as many channels as the linear layer reads, and a ReLU after it."""
    classifier = double(model)
    suffix = suffixes(classifier, images, layer)
    with classifier.running():
        linear = suffix.linear()
    assert (linear is not None) == holds
    if holds:
        assert torch.equal(linear, classifier.module[-1].weight)


@torch.no_grad()
def test_outputs_that_nothing_reads_are_not_repeated(images: Tensor) -> None:
    """Of a plain network nothing before the layer is needed; of one with a skip the source of the skip is."""
    for model, layer, left in (("cnn", "6", 0), ("functional", "last", 1)):
        suffix = suffixes(double(model), images, layer)
        with suffix.classifier.running():
            lean = suffix.without_unread()
        calls = [call.output for outputs in lean.recorded.finished.values() for call in outputs]
        assert sum(output.ndim > 0 for output in calls) <= left + (model == "functional")  # "shared" is called twice
        assert len(calls) > left
        assert lean.images.shape == (2, 3, 1, 1)
