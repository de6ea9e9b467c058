"""What the tests of masks found by descent explain."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from support.tiny_models import TINY
from torch import Tensor

from seewhy.classifier.classifier import Classifier


@pytest.fixture
def double() -> Classifier:
    """A tiny network in float64."""
    classifier = TINY["cnn"]()
    return replace(classifier, module=deepcopy(classifier.module).double(), mean=(0.4, 0.5, 0.3), std=(0.2, 0.3, 0.25))


@pytest.fixture
def image() -> Tensor:
    """Not square, and smaller than the network's own size."""
    return torch.rand(1, 3, 10, 8, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
