"""The random masks of RISE and RELAX, drawn in fixed rounds: any number of them takes the memory of one batch."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from math import ceil
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from seewhy.errors import SeewhyError
from seewhy.masking.baselines import blend
from seewhy.types import Images

ROUND = 256
"""Masks that are drawn at a time, whatever the batch; a method may stop after each round."""

Border = Literal["repeat", "mirror"]
"""What lies beyond the outer cells' centers when cells are upsampled: their own value, or their neighbors mirrored."""
Normalization = Literal["expected", "own"]
"""What a sum over N masks is divided by: what each pixel's masks sum to in expectation, N p, or in fact."""

Masks = Float[Tensor, "m h w"]


@dataclass(frozen=True)
class MaskStream:
    """Masks of cells that are kept by chance, upsampled bilinearly, and cropped at a random place; the same every time.

    The first m masks do not depend on how many are asked for.

    Args:
        samples: number of masks.
        cells: along each side of the image, of which a mask keeps some.
        keep_probability: of a cell, in (0, 1]; every pixel's mean over the masks.
        seed: of the draws.
        border: how the outer cells are upsampled.
    """

    samples: int
    cells: int = 7
    keep_probability: float = 0.5
    seed: int = 0
    border: Border = "repeat"

    def __post_init__(self) -> None:
        if not 0 < self.keep_probability <= 1:
            raise SeewhyError(f"keep_probability is above 0 and at most 1, got {self.keep_probability}: try 0.5")

    def batches(self, image: Float[Tensor, "c h w"], batch_size: int) -> Iterator[Masks]:
        """At most ``batch_size`` masks at a time, of one round each, on the image's device and in its type."""
        generator, sides = torch.Generator().manual_seed(self.seed), image.shape[-2:]
        rows, columns = (upsampling(self.cells, side, self.border).to(image) for side in sides)
        for first in range(0, self.samples, ROUND):
            grids = (
                torch.rand(ROUND, self.cells, self.cells, generator=generator, dtype=torch.float32) < self.keep_probability
            )
            down, right = (torch.randint(ceil(s / self.cells), (ROUND,), generator=generator) for s in sides)
            for some in torch.arange(min(ROUND, self.samples - first)).split(batch_size):
                y, x = (cropped(*ways) for ways in ((rows, down[some], sides[0]), (columns, right[some], sides[1])))
                with exact(image):
                    masks = y @ grids[some].to(image) @ x.mT
                yield masks


def given(masks: Masks, image: Float[Tensor, "c h w"], batch_size: int) -> Iterator[Masks]:
    """Masks that are there already, in the same batches."""
    for drawn in masks.split(ROUND):
        for some in drawn.split(batch_size):
            yield some.to(image)


def exact(image: Tensor) -> AbstractContextManager[None]:
    """Where a method's own matrix products are made: in their own type, also while the network runs in bfloat16."""
    return torch.autocast(image.device.type, enabled=False)


def masked(image: Float[Tensor, "c h w"], masks: Masks, removed: Float[Tensor, "c h w"]) -> Images:
    """One image under each of the masks."""
    return blend(image.expand(len(masks), -1, -1, -1), masks, removed.expand(len(masks), -1, -1, -1))


def upsampling(cells: int, side: int, border: Border) -> Float[Tensor, "pixels cells"]:
    """The weights of a row of cells in one more cell's length of pixels than the side has, by bilinear interpolation."""
    pixels = (cells + 1) * ceil(side / cells)
    places = (torch.arange(pixels, dtype=torch.float64) + 0.5) * cells / pixels - 0.5
    if border == "mirror":
        places = cells - 1 - (cells - 1 - places.abs()).abs()
    return (1 - (places.clamp(0, cells - 1)[:, None] - torch.arange(cells)).abs()).clamp_min(0)


def cropped(weights: Float[Tensor, "pixels cells"], first: Tensor, side: int) -> Float[Tensor, "m side cells"]:
    """``side`` rows of the weights for each mask, from its own first one on."""
    return weights[(first[:, None] + torch.arange(side)).to(weights.device)]


def pearson(a: Float[Tensor, "k hw"], b: Float[Tensor, "k hw"]) -> Float[Tensor, "k"]:
    """Correlation row by row; 0 where a row is constant."""
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    scale = a.norm(dim=1) * b.norm(dim=1)
    return torch.where(scale > 0, (a * b).sum(1) / torch.where(scale > 0, scale, 1), 0)
