"""A map on its picture."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from scipy.ndimage import maximum_filter, minimum_filter
from torch import Tensor

from seewhy.data.pictures import to_picture

SEQUENTIAL = "inferno"
"""Perceptually even: equal steps of the map look equally far apart, also in gray and to most color-blind eyes."""


DIVERGING = "RdBu_r"
"""For signed maps: red speaks for the class, blue against it, white is zero."""


CLIP = 99.5
"""Percentile that is shown as the extreme color; a few loud pixels of a gradient would leave the rest black."""


SPARSE = 0.05
"""A map with a smaller part of its pixels off zero (active saliency among 1000 classes) is drawn with wider points."""


ALIKE = 1e-3
"""Values above 0 whose range is a smaller part of the highest are the same to the eye: a mask."""


INK, SOFT, PAPER = (28, 28, 32), (110, 110, 118), (255, 255, 255)


def normalized(attribution: Tensor) -> tuple[NDArray[np.float32], bool]:
    """The map for display, and whether it is signed: a signed one in [-1, 1] around 0, others in [0, 1] from their minimum.

    The extremes are the 99.5th percentile. A constant map is 0 everywhere. Of a sparse map the extreme is the 90th
    percentile of what is not zero, and each point is 3 pixels wide. Where all that is not zero is high and nearly alike, as
    in U-RELAX, its differences have three quarters of the scale. For the eye only: nothing is measured on it.
    """
    values = attribution.detach().float().cpu().numpy()
    signed = scale_of(attribution) == DIVERGING
    values = values if signed else _without_gap(values - values.min())
    sizes = np.abs(values)
    if 0 < np.count_nonzero(values) < SPARSE * values.size:
        values = values / np.percentile(sizes[sizes > 0], 90)
        low, high = minimum_filter(values, 3), maximum_filter(values, 3)
        values = np.where(-low > high, low, high)
    else:
        values = values / (float(np.percentile(sizes, CLIP)) or float(sizes.max()) or 1.0)
    return np.clip(values, -1 if signed else 0, 1).astype(np.float32), signed


def scale_of(attribution: Tensor) -> str:
    """The colors of a map: those of signed ones where it has values below 0."""
    return DIVERGING if float(attribution.min()) < 0 else SEQUENTIAL


def _without_gap(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values from 0, those above it moved down until the step from 0 to the lowest is a third of their own range."""
    above = values[values > 0]
    spread = np.ptp(above) if len(above) else 0.0
    if not len(above) or spread < ALIKE * above.max():
        return values
    return np.where(values > 0, values - max(above.min() - spread / 3, 0), 0)


def overlay(image: Tensor, attribution: Tensor, size: int | None = None) -> Image.Image:
    """The map in color over the image in gray; where the map is weak, the image shows.

    Args:
        image: (c, h, w) in [0, 1].
        attribution: (h, w), raw.
        size: shorter side of the result in pixels; the image's own by default.
    """
    picture = enlarge(to_picture(image), size)
    shown, signed = normalized(attribution)
    smooth = np.asarray(Image.fromarray(shown).resize(picture.size, Image.Resampling.BILINEAR))
    gray = np.asarray(picture.convert("L").convert("RGB"), dtype=np.float32) / 255
    if signed:
        color, strength = colormaps[DIVERGING](smooth / 2 + 0.5)[..., :3], 0.35 + 0.55 * np.abs(smooth) ** 0.5
    else:
        color, strength = colormaps[SEQUENTIAL](smooth)[..., :3], 0.45 + 0.35 * smooth
    mixed = (1 - strength[..., None]) * gray + strength[..., None] * color
    return Image.fromarray((mixed * 255).round().clip(0, 255).astype(np.uint8))


def enlarge(picture: Image.Image, size: int | None) -> Image.Image:
    """The picture with a shorter side of ``size`` pixels."""
    if size is None:
        return picture
    scale = size / min(picture.size)
    return picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.BICUBIC)


def outlined(picture: Image.Image, region: Tensor, color: tuple[int, int, int] = PAPER) -> Image.Image:
    """The picture with a smooth line around a region (h, w) of it, on a darker one, so that it shows on any ground."""
    soft = 0.012 * picture.width / 2
    mask = Image.fromarray(region.cpu().numpy().astype(np.uint8) * 255).resize(picture.size, Image.Resampling.BILINEAR)
    blurred = np.asarray(mask.filter(ImageFilter.GaussianBlur(soft)), dtype=np.float32) / 255
    distance = np.abs(blurred - 0.5) * (soft + picture.width / region.shape[1] / 3) * np.sqrt(2 * np.pi)  # in pixels, nearby
    drawn = picture.copy()
    for ink, width, strength in ((INK, 2.2, 0.6), (color, 1.25, 1.0)):
        drawn.paste(ink, mask=Image.fromarray((255 * strength * np.clip(width - distance, 0, 1)).astype(np.uint8)))
    return drawn


def captioned(picture: Image.Image, lines: Sequence[str]) -> Image.Image:
    """The picture with lines of text below it; a line that is too long ends in an ellipsis."""
    size = max(11, picture.width // 20)
    height = round(size * 1.45)
    sheet = Image.new("RGB", (picture.width, picture.height + height * len(lines) + height // 2), PAPER)
    sheet.paste(picture, (0, 0))
    draw = ImageDraw.Draw(sheet)
    for i, line in enumerate(lines):
        font = _font(size, bold=i == 0)
        y = picture.height + height // 3 + i * height
        draw.text((size // 3, y), _fitted(line, font, picture.width - size), INK if i == 0 else SOFT, font)
    return sheet


def _fitted(text: str, font: ImageFont.FreeTypeFont, width: int | float) -> str:
    """Cut at the end, but before two spaces, where a figure follows; a method with options in the middle, since the last
    of them tell several apart."""
    if font.getlength(text) <= width:
        return text
    name, gap, figure = text.rpartition("  ")
    if gap and name:
        return _fitted(name, font, width - font.getlength(gap + figure)) + gap + figure
    if ":" in text:
        cuts = ((len(text) - i) // 2 for i in range(len(text) - 1))
        short = (f"{text[:n]}…{text[len(text) - n :]}" for n in cuts)
        return next((s for s in short if font.getlength(s) <= width), "…")
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"


@cache
def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib: the same letters on every machine."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(str(folder / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")), size)
