"""Noise: what an explanation must beat."""

from zlib import crc32

import torch

from seewhy.explainers.base import Method
from seewhy.explainers.options import Seed
from seewhy.types import Attribution, Images, Targets


class Random(Method, name="random", family="reference", class_specific=False):
    """Independent uniform numbers in [0, 1), drawn from the image's own bytes and the seed.

    Different images have independent maps. The same image always has the same map, in whatever batch.
    """

    seed: Seed = 0

    def explain(self, images: Images, targets: Targets) -> Attribution:
        self.classifier.check(images, targets)
        maps = torch.empty(len(images), *images.shape[-2:], dtype=torch.float32)
        for row, image in zip(maps, images, strict=True):
            key = crc32(image.detach().float().cpu().contiguous().numpy().tobytes(), self.seed)
            row.uniform_(generator=torch.Generator().manual_seed(key))
        return maps.to(images)
