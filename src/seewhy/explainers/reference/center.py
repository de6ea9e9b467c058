"""The middle of the image: photographs show their object there, so a method must beat this too."""

from dataclasses import dataclass
from typing import ClassVar

import torch

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.explainers.base import EXPLAINERS, Family
from seewhy.types import Attribution, Images, Targets


@EXPLAINERS.register("center")
@dataclass(frozen=True)
class Center:
    """A Gaussian bump in the middle, 1 at its peak.

    Args:
        classifier: only tells which targets exist.
        sigma: standard deviation as a part of the image's height and width.
    """

    family: ClassVar[Family] = "reference"
    class_specific: ClassVar[bool] = False
    paper: ClassVar[str] = ""

    classifier: Classifier
    sigma: float = 0.25

    def __post_init__(self) -> None:
        if self.sigma <= 0:
            raise SeewhyError(f"center needs a positive sigma, got {self.sigma}")

    def explain(self, images: Images, targets: Targets) -> Attribution:
        self.classifier.check(images, targets)
        h, w = images.shape[-2:]
        y, x = (((torch.arange(size, dtype=images.dtype, device=images.device) + 0.5) / size - 0.5) for size in (h, w))
        bump = torch.exp(-(y[:, None] ** 2 + x[None, :] ** 2) / (2 * self.sigma**2))
        return bump.expand(len(images), h, w).clone()
