"""Fixtures of all tests."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny_models import SIZE, TINY
from torch import Tensor

from seewhy.classifier.classifier import Classifier


@pytest.fixture(autouse=True)
def the_same_draws() -> None:
    """A test that draws without a seed of its own still draws the same in any order and on any worker."""
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture(autouse=True)
def memory_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line tells its process to keep freed memory; the tests that share it would measure that."""
    monkeypatch.setattr("seewhy.app.cli.main.keep_freed", lambda: None)


@pytest.fixture(params=list(TINY))
def classifier(request: pytest.FixtureRequest) -> Classifier:
    return TINY[request.param]()


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    """Three images and a target each, of which no two are the same."""
    return torch.rand(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 3, 1])


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real photographs and weights; the test is skipped where the environment names none."""
    folder = os.environ.get("SEEWHY_REAL_DATA")
    if not folder:
        pytest.skip("set SEEWHY_REAL_DATA to the folder of real photographs and weights to run this test")
    return Path(folder)
