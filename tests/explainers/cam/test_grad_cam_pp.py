"""Grad-CAM++ beside the equation 19 of others, as its documentation says they differ."""

from typing import Any

import pytest
import torch
from support.tiny_models import TINY
from torch import Tensor

from seewhy.explainers import GradCAMPlusPlus

FEATURES = torch.rand(2, 6, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
SLOPES = torch.randn(2, 6, 4, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def of_grad_cam(features: Tensor, gradients: Tensor) -> Tensor:
    """The weights of grad-cam's own code."""
    library: Any = pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed: this test compares with it")
    arrays = features.numpy(), gradients.numpy()
    weights = library.GradCAMPlusPlus.get_cam_weights(None, None, None, None, *arrays)
    return (torch.from_numpy(weights)[:, :, None, None] * features).sum(1).relu()


def test_grad_cam_agrees_for_large_gradients_and_not_for_small_ones() -> None:
    """It adds 1e-6 to the denominator, beside twice the squared gradient."""
    ours = GradCAMPlusPlus(TINY["cnn"]())
    torch.testing.assert_close(of_grad_cam(FEATURES, SLOPES), ours.combine(FEATURES, SLOPES), rtol=1e-2, atol=1e-3)
    small = 1e-5 * SLOPES
    assert of_grad_cam(FEATURES, small).max() < 1e-2 * ours.combine(FEATURES, small).max()
