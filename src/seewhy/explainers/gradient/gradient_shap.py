"""GradientSHAP, also "expected gradients" (Lundberg & Lee, 2017; Erion et al., 2021)."""

from collections.abc import Iterator
from typing import Annotated

import torch
from torch import Tensor

from seewhy.explainers.gradient.gradient_sum import GradientSum
from seewhy.explainers.gradients import Point, channel_sum
from seewhy.explainers.options import Samples, Seed
from seewhy.masking.baselines import Baseline, baseline_images
from seewhy.options import AtLeast
from seewhy.types import Images


class GradientShap(GradientSum, name="gradient_shap", family="gradient", paper="lundberg2017unified", merge=channel_sum):
    """Mean of (image - baseline) times the gradient at a random place between the two, summed over channels. Signed.

    Each sample draws one baseline, one place and one noise, the same for every image of a batch. With one baseline and
    no noise its expectation is integrated gradients.

    Args:
        baselines: starts of the samples, one of several drawn each time: names, grays, or tensors (c, h, w).
        noise: standard deviation of the noise that is added to the image, in [0, 1] pixel units.
    """

    samples: Samples = 50
    baselines: tuple[Baseline | float | Tensor, ...] = ("black", "white", "mean_color", "blur")
    noise: Annotated[float, AtLeast(0)] = 0.0
    seed: Seed = 0

    def points(self, images: Images) -> Iterator[Point]:
        generator = torch.Generator().manual_seed(self.seed)
        for _ in range(self.samples):
            chosen = int(torch.randint(len(self.baselines), (), generator=generator))
            alpha = float(torch.rand((), generator=generator, dtype=torch.float32))
            noise = self.noise * torch.randn(images.shape[1:], generator=generator, dtype=torch.float32).to(images)
            start = baseline_images(self.baselines[chosen], self.classifier, images)
            way = images + noise - start
            yield Point(start + alpha * way, way / self.samples)
