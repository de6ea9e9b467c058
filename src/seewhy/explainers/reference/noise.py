"""Noise: what an explanation must beat."""

from dataclasses import dataclass
from typing import ClassVar
from zlib import crc32

import torch

from seewhy.classifier.classifier import Classifier
from seewhy.explainers.base import EXPLAINERS, Family
from seewhy.types import Attribution, Images, Targets


@EXPLAINERS.register("random")
@dataclass(frozen=True)
class Random:
    """Independent uniform numbers in [0, 1), drawn from the image's own bytes and the seed.

    So different images have independent maps, and the same image always has the same one, in whatever batch.

    Args:
        classifier: only tells which targets exist.
        seed: another seed gives another map.
    """

    family: ClassVar[Family] = "reference"
    class_specific: ClassVar[bool] = False
    paper: ClassVar[str] = ""

    classifier: Classifier
    seed: int = 0

    def explain(self, images: Images, targets: Targets) -> Attribution:
        self.classifier.check(images, targets)
        maps = torch.empty(len(images), *images.shape[-2:], dtype=torch.float32)
        for row, image in zip(maps, images, strict=True):
            key = crc32(image.detach().float().cpu().contiguous().numpy().tobytes(), self.seed)
            row.uniform_(generator=torch.Generator().manual_seed(key))
        return maps.to(images)
