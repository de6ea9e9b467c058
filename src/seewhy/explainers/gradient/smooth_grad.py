"""SmoothGrad (Smilkov et al., 2017)."""

from collections.abc import Iterator
from typing import Annotated

import torch

from seewhy.explainers.gradient.gradient_sum import GradientSum
from seewhy.explainers.gradients import Point, largest_magnitude
from seewhy.explainers.options import Samples, Seed
from seewhy.options import AtLeast
from seewhy.types import Images


class SmoothGrad(GradientSum, name="smooth_grad", family="gradient", paper="smilkov2017smoothgrad", merge=largest_magnitude):
    """Saliency of the gradient's mean over noisy copies of the image. Not negative.

    Every image meets the same noise, so that its map does not depend on the batch.

    Args:
        samples: noisy copies, the paper's n.
        noise_level: standard deviation of the noise as a part of the image's own range, the paper's 10 to 20 %.
    """

    samples: Samples = 50
    noise_level: Annotated[float, AtLeast(0)] = 0.15
    seed: Seed = 0

    def points(self, images: Images) -> Iterator[Point]:
        generator = torch.Generator().manual_seed(self.seed)
        spread = images.amax((1, 2, 3), keepdim=True) - images.amin((1, 2, 3), keepdim=True)
        for _ in range(self.samples):
            noise = torch.randn(images.shape[1:], generator=generator, dtype=torch.float32).to(images)
            yield Point(images + self.noise_level * spread * noise, 1 / self.samples)
