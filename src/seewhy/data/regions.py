"""Boxes and masks of a picture, brought to the network with it."""

from math import ceil
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from seewhy.data.pictures import EPSILON, View, read_picture, see
from seewhy.errors import SeewhyError

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels, right and bottom excluded."""


def placement(size: tuple[int, int], view: View) -> tuple[float, float, int, int]:
    """How ``see`` brings a picture (width, height) to the network: scale across and down, then what is cut off left, top."""
    height, width = view.size
    high, wide = int(height / view.crop + EPSILON), int(width / view.crop + EPSILON)
    if view.crop_mode == "center":
        ratio = min(size[1] / high, size[0] / wide)
        high, wide = (int(s / ratio + EPSILON) if height == width else round(s / ratio) for s in (size[1], size[0]))
    wide, high = max(wide, width), max(high, height)
    return wide / size[0], high / size[1], round((wide - width) / 2), round((high - height) / 2)


def fit(box: Box, size: tuple[int, int], view: View) -> Box | None:
    """The box in the network's pixels, cut to what the network sees; None if nothing is left of it."""
    across, down, left, top = placement(size, view)
    height, width = view.size
    x0, x1 = (min(max(x * across - left, 0.0), float(width)) for x in (box[0], box[2]))
    y0, y1 = (min(max(y * down - top, 0.0), float(height)) for y in (box[1], box[3]))
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def checked_boxes(boxes: tuple[Box, ...], size: tuple[int, int]) -> tuple[Box, ...]:
    """The boxes; SeewhyError for one far outside the picture: it was measured in another size of it.

    A tenth of the side is let pass, for annotators are not exact.
    """
    for box in boxes:
        slack = [0.1 * side + 2 for side in size]
        low, high = box[:2], box[2:]
        if any(a < -s or b > side + s for a, b, side, s in zip(low, high, size, slack, strict=True)):
            numbers = " ".join(f"{x:g}" for x in box)
            raise SeewhyError(f"box {numbers} leaves its picture of {size[0]} x {size[1]} pixels; boxes are in its pixels")
    return boxes


def region_of(boxes: Tensor, view: View) -> Tensor:
    """(h, w) pixels whose middle is in a box; at least one for each box."""
    region = torch.zeros(view.size, dtype=torch.bool)
    for x0, y0, x1, y1 in boxes.tolist():
        (top, bottom), (left, right) = _covered(y0, y1, view.size[0]), _covered(x0, x1, view.size[1])
        region[top:bottom, left:right] = True
    return region


def _covered(low: float, high: float, n: int) -> tuple[int, int]:
    start, stop = ceil(low - 0.5), ceil(high - 0.5)
    middle = min(int((low + high) / 2), n - 1)
    return (start, stop) if start < stop else (middle, middle + 1)


def read_mask(path: Path, size: tuple[int, int], view: View) -> Tensor:
    """(h, w) where the picture in ``path`` is not 0, seen as the network sees; it must be as large as its picture."""
    read_picture(path)  # says what may be wrong with the file
    with Image.open(path) as opened:
        upright = ImageOps.exif_transpose(opened)
        values, transparent = np.asarray(upright), upright.mode in ("LA", "RGBA")
    if transparent:
        values = values[..., :-1] * (values[..., -1:] > 0)
    object_ = values if values.ndim == 2 else values.any(-1)
    if object_.shape != size[::-1]:
        have, want = (f"{w} x {h}" for h, w in (object_.shape, size[::-1]))
        raise SeewhyError(f"mask {path} has {have} pixels, its picture {want}")
    mask = Image.fromarray((object_ != 0).astype(np.uint8) * 255)
    return torch.from_numpy(np.array(see(mask, view._replace(interpolation="nearest"))) > 0)
