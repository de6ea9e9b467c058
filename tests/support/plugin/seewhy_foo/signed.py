"""Explainers of a third party: one that registers itself by the decorator, and one that keeps no promise."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.explainers import EXPLAINERS


@EXPLAINERS.register("foo_signed")
@dataclass(frozen=True)
class SignedFoo:
    """Brightness of the pixels above the mean of the picture. Signed."""

    family: ClassVar[str] = "reference"
    class_specific: ClassVar[bool] = False
    paper: ClassVar[str] = ""

    classifier: Classifier

    def explain(self, images: Tensor, targets: Tensor) -> Tensor:
        brightness = images.detach().mean(1)
        return brightness - brightness.mean((1, 2), keepdim=True)


@dataclass(frozen=True)
class Careless:
    """Has no family and no paper."""

    classifier: Classifier
    class_specific: ClassVar[bool] = False

    def explain(self, images: Tensor, targets: Tensor) -> Tensor:
        return images.mean(1)
