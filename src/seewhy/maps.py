"""Pure functions on attribution maps."""

import torch
from torch.nn.functional import interpolate

from seewhy.types import Attribution, CoarseMap


def upsample(maps: CoarseMap, size: tuple[int, int]) -> Attribution:
    """Bilinear, corners not aligned (as the CAM papers' code does): a grid cell keeps its place in the image."""
    return interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def min_max(maps: Attribution) -> Attribution:
    """Each map to [0, 1] by its own minimum and maximum; a constant map becomes 0 (the papers divide by zero there)."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return torch.where(high > low, (maps - low) / torch.where(high > low, high - low, 1), 0)
