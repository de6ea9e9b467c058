"""Stochastic weighted neighborhood averaging (Møller et al., 2025, section 3.2.2): a mask is averaged over neighborhoods."""

from math import ceil
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d, pad

FilterBorder = Literal["reflect", "replicate", "circular"]
PUBLISHED_SIDE = 224
"""Pixels of the shorter side of the images for which the papers give their neighborhoods."""


def side_of(neighborhood: int, grid: tuple[int, int] | torch.Size) -> int:
    """The odd number of cells that cover the same part of a mask on ``grid`` as ``neighborhood`` pixels do of 224.

    An even number becomes one less. 0 for a neighborhood of 0. At least 3 else, and at most what a reflected border allows.
    """
    if not neighborhood:
        return 0
    cells = 2 * ceil(neighborhood * min(grid) / PUBLISHED_SIDE / 2 - 1) + 1
    return min(max(cells, 3), 2 * min(grid) - 1)


def random_kernels(n: int, side: int, generator: torch.Generator) -> Float[Tensor, "n s s"]:
    """n kernels of positive weights that sum to 1: uniform random numbers, divided by their sum."""
    weights = torch.rand(n, side, side, generator=generator, dtype=torch.float32)
    return weights / weights.sum((1, 2), keepdim=True)


def averaged(
    masks: Float[Tensor, "n m h w"],
    side: int,
    kernels: Float[Tensor, "r s s"] | None = None,
    border: FilterBorder = "reflect",
) -> Float[Tensor, "n m h w"]:
    """Each mask under the kernel of its row, as a cross-correlation; without kernels under their mean, a box.

    Each weight of a random kernel has the same mean, since none is before another. So the box is the mean of the kernels.

    Args:
        masks: m of each image.
        side: of the kernels.
        kernels: one for each image, or one for all.
        border: what is beyond the border. "circular" is the opposite border, as in the released code.
    """
    reach, (n, m, h, w) = side // 2, masks.shape
    with torch.autocast(masks.device.type, enabled=False):  # bfloat16 has too few digits for a sum of hundreds
        padded = pad(masks.float() if masks.dtype != torch.float64 else masks, [reach] * 4, mode=border)
        if kernels is None:  # a box is a row of a column
            line = padded.new_full((1, 1, side, 1), 1 / side)
            rows = conv2d(padded.flatten(0, 1)[:, None], line)
            return conv2d(rows, line.transpose(2, 3)).view(n, m, h, w)
        kernels = kernels.to(padded).expand(n, -1, -1).repeat_interleave(m, 0)[:, None]
        return conv2d(padded.view(1, n * m, *padded.shape[-2:]), kernels, groups=n * m).view(n, m, h, w)
