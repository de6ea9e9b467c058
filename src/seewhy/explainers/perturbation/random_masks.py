"""The random masks of RISE and RELAX, drawn in fixed rounds: any number of them takes the memory of one batch."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import one_hot

from seewhy.classifier.patch_embedding import patch_sides
from seewhy.masking.baselines import blend
from seewhy.options import Above, AtLeast, AtMost, Doc
from seewhy.types import Images

ROUND = 256
"""Masks that are drawn at a time, whatever the batch; a method may stop after each round."""

Cells = Annotated[int, AtLeast(1), Doc("Cells along each side of the image.")]
KeepProbability = Annotated[float, Above(0), AtMost(1), Doc("Probability that a mask keeps a cell.")]
Border = Annotated[
    Literal["repeat", "mirror"],
    Doc('Pixels beyond the centers of the outer cells: "repeat" the cell, or "mirror" the cells at the border.'),
]
Normalization = Annotated[
    Literal["expected", "own"],
    Doc('Divide a sum over N masks by each pixel\'s "own" sum of masks, or by the sum that is "expected", N p.'),
]

Masks = Float[Tensor, "m h w"]


@dataclass(frozen=True)
class MaskStream:
    """Masks of cells that are kept by chance, upsampled bilinearly, and cropped at a random place; the same every time.

    The first m masks do not depend on how many are asked for. The fields are options of the methods (see ``rise``).
    """

    samples: int
    cells: int = 7
    keep_probability: float = 0.5
    seed: int = 0
    border: Border = "repeat"
    patches: tuple[int, int] | None = None
    """Rows and columns of patches that a mask keeps or removes as a whole: a patch is kept with the cell at its center."""

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
                y, x = (crops(*ways) for ways in ((rows, down[some], sides[0]), (columns, right[some], sides[1])))
                if self.patches:
                    across = patch_sides(self.patches, (sides[0], sides[1]))
                    y, x = (nearest_cells(*ways) for ways in zip((y, x), across, self.patches, strict=True))
                with torch.autocast(image.device.type, enabled=False):
                    masks = y @ grids[some].to(image) @ x.mT
                yield masks


def under_masks(image: Float[Tensor, "c h w"], masks: Masks, removed: Float[Tensor, "c h w"]) -> Images:
    """One image under each of the masks."""
    return blend(image.expand(len(masks), -1, -1, -1), masks, removed.expand(len(masks), -1, -1, -1))


def upsampling(cells: int, side: int, border: Border) -> Float[Tensor, "pixels cells"]:
    """The weights of a row of cells in one more cell's length of pixels than the side has, by bilinear interpolation."""
    pixels = (cells + 1) * ceil(side / cells)
    places = (torch.arange(pixels, dtype=torch.float64) + 0.5) * cells / pixels - 0.5
    if border == "mirror":
        places = cells - 1 - (cells - 1 - places.abs()).abs()
    return (1 - (places.clamp(0, cells - 1)[:, None] - torch.arange(cells)).abs()).clamp_min(0)


def crops(weights: Float[Tensor, "pixels cells"], first: Tensor, side: int) -> Float[Tensor, "m side cells"]:
    """``side`` rows of the weights for each mask, from its own first one on."""
    return weights[(first[:, None] + torch.arange(side)).to(weights.device)]


def nearest_cells(weights: Float[Tensor, "m side cells"], side: int, patches: int) -> Float[Tensor, "m side cells"]:
    """The weights of a row of pixels in which each patch of ``side`` pixels has one cell, the one nearest to its center."""
    patch = (torch.arange(weights.shape[1], device=weights.device) // side).clamp(max=patches - 1)
    center = patch * side + side // 2
    return one_hot(weights.argmax(2)[:, center], weights.shape[2]).to(weights)
