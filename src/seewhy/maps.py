"""Attribution maps: upsampled, normalized, and read by a metric."""

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from seewhy.errors import SeewhyError
from seewhy.types import Attribution


def upsample(maps: Float[Tensor, "*n gh gw"], size: tuple[int, int] | torch.Size) -> Float[Tensor, "*n h w"]:
    """Bilinear, corners not aligned, as in the CAM papers' code: a grid cell keeps its place in the image."""
    one_a_row = maps.flatten(0, -3)[:, None]
    return interpolate(one_a_row, size, mode="bilinear", align_corners=False)[:, 0].unflatten(0, maps.shape[:-2])


def min_max(maps: Attribution) -> Attribution:
    """Each map scaled to [0, 1] by its own minimum and maximum; a constant map becomes 0, where the papers divide by zero.

    A map whose values differ in their last digits alone counts as constant: upsampling a constant map leaves such values.
    """
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    varies = high - low > 8 * torch.finfo(maps.dtype).eps * torch.maximum(low.abs(), high.abs())
    return torch.where(varies, (maps - low) / torch.where(varies, high - low, 1), 0)


Reading = Literal["raw", "positive", "absolute", "min_max", "clipped"]
"""How a metric reads a map: raw, its positive part, its absolute value, min-max scaled to [0, 1], or clipped to [0, 1]."""


def read(maps: Attribution, how: Reading) -> Attribution:
    """The maps as a metric reads them."""
    match how:
        case "raw":
            return maps
        case "positive":
            return maps.clamp_min(0)
        case "absolute":
            return maps.abs()
        case "min_max":
            return min_max(maps)
        case "clipped":
            return maps.clamp(0, 1)
    raise SeewhyError(f"a map is read {', '.join(get_args(Reading))}; not {how!r}")


def pearson(a: Float[Tensor, "k m"], b: Float[Tensor, "k m"]) -> Float[Tensor, "k"]:
    """Pearson's correlation row by row; 0 where a row is constant."""
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    scale = a.norm(dim=1) * b.norm(dim=1)
    return torch.where(scale > 0, (a * b).sum(1) / torch.where(scale > 0, scale, 1), 0)
