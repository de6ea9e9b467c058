"""Boxes and masks of a picture, brought to the network with it."""

from math import ceil
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from seewhy.data.pictures import View, as_seen, cut_off, opened, resized_size, seen_part
from seewhy.errors import SeewhyError

Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels, right and bottom excluded."""


def placement(size: tuple[int, int], view: View) -> tuple[float, float, float, float]:
    """How ``as_seen`` brings a picture to the network: scale across, scale down, pixels cut off at the left, at the top."""
    x0, y0, x1, y1 = seen_part(size, view)
    wide, high = resized_size((x1 - x0, y1 - y0), view)
    left, top = cut_off((wide, high), view)
    across, down = wide / (x1 - x0), high / (y1 - y0)
    return across, down, left + x0 * across, top + y0 * down


def box_as_seen(box: Box, size: tuple[int, int], view: View) -> Box | None:
    """The box in the network's pixels, cut to the part that the network sees; None if no part is left."""
    across, down, left, top = placement(size, view)
    height, width = view.size
    x0, x1 = (min(max(x * across - left, 0.0), float(width)) for x in (box[0], box[2]))
    y0, y1 = (min(max(y * down - top, 0.0), float(height)) for y in (box[1], box[3]))
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def check_boxes(boxes: tuple[Box, ...], size: tuple[int, int]) -> None:
    """SeewhyError for a box far outside the picture: it was drawn on another size of the picture.

    A tenth of the side is allowed, since annotators are not exact.
    """
    for box in boxes:
        slack = [0.1 * side + 2 for side in size]
        low, high = box[:2], box[2:]
        if any(a < -s or b > side + s for a, b, side, s in zip(low, high, size, slack, strict=True)):
            numbers = " ".join(f"{x:g}" for x in box)
            raise SeewhyError(f"box {numbers} leaves its picture of {size[0]} x {size[1]} pixels; boxes are in its pixels")


def region_of_boxes(boxes: Tensor, view: View) -> Tensor:
    """(h, w) the pixels whose middle is in a box of (m, 4); at least one pixel for each box."""
    region = torch.zeros(view.size, dtype=torch.bool)
    for x0, y0, x1, y1 in boxes.tolist():
        (top, bottom), (left, right) = _covered(y0, y1, view.size[0]), _covered(x0, x1, view.size[1])
        region[top:bottom, left:right] = True
    return region


def _covered(low: float, high: float, n: int) -> tuple[int, int]:
    start, stop = ceil(low - 0.5), ceil(high - 0.5)
    middle = min(int((low + high) / 2), n - 1)
    return (start, stop) if start < stop else (middle, middle + 1)


def read_mask(path: Path, size: tuple[int, int], view: View, values: tuple[int, ...] = ()) -> Tensor:
    """(h, w) where the mask in ``path`` marks the object, as the network sees it.

    The object is where the mask is not 0, or where it has one of ``values``. SeewhyError unless the mask is as large as its
    picture, ``size``.
    """
    with opened(path) as picture:
        upright = ImageOps.exif_transpose(picture)  # as it is: a conversion would change the values of a palette
        pixels, transparent = np.asarray(upright), upright.mode in ("LA", "RGBA")
    if transparent:
        pixels = pixels[..., :-1] * (pixels[..., -1:] > 0)
    marked = np.isin(pixels, values) if values else pixels != 0
    object_ = marked if marked.ndim == 2 else marked.any(-1)
    if object_.shape != size[::-1]:
        have, want = (f"{w} x {h}" for h, w in (object_.shape, size[::-1]))
        raise SeewhyError(f"mask {path} has {have} pixels, its picture {want}")
    mask = Image.fromarray(object_.astype(np.uint8) * 255)
    return torch.from_numpy(np.array(as_seen(mask, view._replace(interpolation="nearest", fill=()))) > 0)
