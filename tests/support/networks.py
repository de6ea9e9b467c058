"""Networks of other libraries, small and untrained, and networks that return what you like."""

from collections.abc import Callable

import pytest
import torch
from support.tiny_models import cnn
from torch import Tensor, nn


def from_timm(name: str, **options: object) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import timm

        return timm.create_model(name, pretrained=False, num_classes=5, **options)

    return build


def from_torchvision(name: str, **options: object) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import torchvision

        return getattr(torchvision.models, name)(weights=None, num_classes=5, **options)

    return build


def from_hugging_face(name: str, **options: object) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        transformers = pytest.importorskip(
            "transformers", reason="transformers is not installed: this test needs its models"
        )
        config = getattr(transformers, f"{name}Config")(num_labels=5, **options)
        return getattr(transformers, f"{name}ForImageClassification")(config)

    return build


class Wrapped(nn.Module):
    def __init__(self, wrap: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.body, self.wrap = cnn(), wrap

    def forward(self, x: Tensor) -> object:
        return self.wrap(self.body(x))


def same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-11)
