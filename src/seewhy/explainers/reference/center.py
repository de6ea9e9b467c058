"""The middle of the image: photographs show their object there, so a method must beat this too."""

from typing import Annotated

import torch

from seewhy.explainers.base import Method
from seewhy.options import Above
from seewhy.types import Attribution, Images, Targets


class Center(Method, name="center", family="reference", class_specific=False):
    """A Gaussian bump in the middle, 1 at its peak.

    Args:
        sigma: standard deviation as a part of the image's height and width.
    """

    sigma: Annotated[float, Above(0)] = 0.25

    def explain(self, images: Images, targets: Targets) -> Attribution:
        self.classifier.check(images, targets)
        h, w = images.shape[-2:]
        y, x = (((torch.arange(size, dtype=images.dtype, device=images.device) + 0.5) / size - 0.5) for size in (h, w))
        bump = torch.exp(-(y[:, None] ** 2 + x[None, :] ** 2) / (2 * self.sigma**2))
        return bump.expand(len(images), h, w).clone()
