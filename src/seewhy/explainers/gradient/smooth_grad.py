"""SmoothGrad (Smilkov et al., 2017)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch

from seewhy.classifier.classifier import Classifier
from seewhy.explainers.base import EXPLAINERS, Family
from seewhy.explainers.gradients import Point, class_maps, input_gradients
from seewhy.types import Attribution, ChannelAttribution, ClassAttribution, Classes, Images, Targets


@EXPLAINERS.register("smooth_grad")
@dataclass(frozen=True)
class SmoothGrad:
    """Saliency of the gradient's mean over noisy copies of the image. Not negative.

    Every image meets the same noise, so that its map does not depend on the batch.

    Args:
        classifier: what is explained.
        samples: noisy copies, the paper's n.
        noise_level: standard deviation of the noise as a part of the image's own range, the paper's 10 to 20 %.
        seed: of the noise.
        batch_size: images that are differentiated at a time.
    """

    family: ClassVar[Family] = "gradient"
    class_specific: ClassVar[bool] = True
    paper: ClassVar[str] = "smilkov2017smoothgrad"

    classifier: Classifier
    samples: int = 50
    noise_level: float = 0.15
    seed: int = 0
    batch_size: int = 32

    def points(self, images: Images) -> Iterator[Point]:
        generator = torch.Generator().manual_seed(self.seed)
        spread = images.amax((1, 2, 3), keepdim=True) - images.amin((1, 2, 3), keepdim=True)
        for _ in range(self.samples):
            noise = torch.randn(images.shape[1:], generator=generator, dtype=torch.float32).to(images)
            yield Point(images + self.noise_level * spread * noise, 1 / self.samples)

    def explain(self, images: Images, targets: Targets) -> Attribution:
        return merged(input_gradients(self.classifier, images, targets, self.points, self.batch_size))

    def explain_classes(self, images: Images, classes: Classes) -> ClassAttribution:
        return class_maps(self.classifier, images, classes, self.points, merged, self.batch_size)


def merged(gradient: ChannelAttribution) -> Attribution:
    """The largest absolute value over the color channels."""
    return gradient.abs().amax(1)
