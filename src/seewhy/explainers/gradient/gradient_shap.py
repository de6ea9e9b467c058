"""GradientSHAP, also "expected gradients" (Lundberg & Lee, 2017; Erion et al., 2021)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.explainers.base import EXPLAINERS, Family
from seewhy.explainers.gradients import Point, class_maps, input_gradients
from seewhy.masking.baselines import Baseline, baseline_images
from seewhy.types import Attribution, ChannelAttribution, ClassAttribution, Classes, Images, Targets


@EXPLAINERS.register("gradient_shap")
@dataclass(frozen=True)
class GradientShap:
    """Mean of (image - baseline) times the gradient at a random place between the two, summed over channels. Signed.

    Each sample draws one baseline, one place and one noise, the same for every image of a batch. With one baseline and
    no noise its expectation is integrated gradients.

    Args:
        classifier: what is explained.
        samples: draws.
        baselines: what the samples start from, one of several drawn each time: names, grays, or tensors (c, h, w).
        noise: standard deviation of the noise that is added to the image, in [0, 1] pixel units.
        seed: of every draw.
        batch_size: images that are differentiated at a time.
    """

    family: ClassVar[Family] = "gradient"
    class_specific: ClassVar[bool] = True
    paper: ClassVar[str] = "lundberg2017unified"

    classifier: Classifier
    samples: int = 50
    baselines: tuple[Baseline | float | Tensor, ...] = ("black", "white", "mean_color", "blur")
    noise: float = 0.0
    seed: int = 0
    batch_size: int = 32

    def points(self, images: Images) -> Iterator[Point]:
        generator = torch.Generator().manual_seed(self.seed)
        for _ in range(self.samples):
            chosen = int(torch.randint(len(self.baselines), (), generator=generator))
            alpha = float(torch.rand((), generator=generator, dtype=torch.float32))
            noise = self.noise * torch.randn(images.shape[1:], generator=generator, dtype=torch.float32).to(images)
            start = baseline_images(self.baselines[chosen], self.classifier, images)
            way = images + noise - start
            yield Point(start + alpha * way, way / self.samples)

    def explain(self, images: Images, targets: Targets) -> Attribution:
        return merged(input_gradients(self.classifier, images, targets, self.points, self.batch_size))

    def explain_classes(self, images: Images, classes: Classes) -> ClassAttribution:
        return class_maps(self.classifier, images, classes, self.points, merged, self.batch_size)


def merged(attribution: ChannelAttribution) -> Attribution:
    """The sum over the color channels, which keeps the sum over the image."""
    return attribution.sum(1)
