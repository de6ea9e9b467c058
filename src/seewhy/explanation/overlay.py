"""A map on its picture."""

import base64
import re
from collections.abc import Sequence
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

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


CLIP_PERCENTILE = 99.5
"""The percentile that gets the extreme color: the few highest pixels of a gradient would leave all others black."""


SPARSE_SHARE = 0.05
"""Share of nonzero pixels below which a map is drawn with wider points (active saliency among 1000 classes)."""


MASK_RANGE = 1e-3
"""Range of the positive values, as a share of their maximum, below which they look the same: the map is a mask."""


INK, SOFT, PAPER = (28, 28, 32), (110, 110, 118), (255, 255, 255)


class Scale(NamedTuple):
    """Which values the colors of a map stand for: ``low`` has the first color, and ``high`` the last.

    Values beyond the two have the colors of the two. A map that is constant has the same value twice.
    """

    low: float
    high: float
    colormap: str


def normalized(attribution: Tensor, signed: bool | None = None) -> tuple[NDArray[np.float32], bool]:
    """The map for display, and whether it is signed: a signed map in [-1, 1] around 0, another in [0, 1] from its minimum.

    The extreme is the 99.5th percentile. A constant map is 0 everywhere. In a sparse map the extreme is the 90th percentile
    of the nonzero values, and each point is 3 pixels wide. If all nonzero values are high and nearly equal, as in U-RELAX,
    their differences get three quarters of the scale. The result is for the eye only: nothing is measured on it.

    Args:
        attribution: (h, w), raw.
        signed: False for a map that speaks for no class, so that its sign says nothing; by default a map with values below
            0 is signed.
    """
    shown, scale = _shown(attribution, signed)
    return shown, scale.colormap == DIVERGING


def scale_of(attribution: Tensor, signed: bool | None = None) -> Scale:
    """The values that have the extreme colors where the map is drawn; a signed scale is symmetric around 0."""
    return _shown(attribution, signed)[1]


def _shown(attribution: Tensor, signed: bool | None) -> tuple[NDArray[np.float32], Scale]:
    """The map for display, and its scale: the one is the other's values, moved linearly and cut at the ends."""
    values = attribution.detach().float().cpu().numpy()
    colormap, low = colormap_of(attribution, signed), 0.0
    signed = colormap == DIVERGING
    if not signed:
        low = float(values.min())
        values, gap = _without_gap(values - values.min())
        low += gap
    sizes = np.abs(values)
    largest = float(sizes.max())
    if 0 < np.count_nonzero(values) < SPARSE_SHARE * values.size:
        top = float(np.percentile(sizes[sizes > 0], 90))
        values = values / top
        least, most = minimum_filter(values, 3), maximum_filter(values, 3)
        values = np.where(-least > most, least, most)
    else:
        top = float(np.percentile(sizes, CLIP_PERCENTILE)) or largest
        values = values / (top or 1.0)
    shown = np.clip(values, -1 if signed else 0, 1).astype(np.float32)
    return shown, Scale(-top if signed else low, low + top, colormap)


def colormap_of(attribution: Tensor, signed: bool | None = None) -> str:
    """The name of a map's colormap: diverging if the map is signed, by default if it has values below 0, else sequential."""
    return DIVERGING if (float(attribution.min()) < 0 if signed is None else signed) else SEQUENTIAL


def _without_gap(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """The values, of at least 0; positive ones move down until the lowest is a third of their range above 0. And how far."""
    above = values[values > 0]
    spread = np.ptp(above) if len(above) else 0.0
    if not len(above) or spread < MASK_RANGE * above.max():
        return values, 0.0
    gap = max(above.min() - spread / 3, 0)
    return np.where(values > 0, values - gap, 0), float(gap)


def overlay(image: Tensor, attribution: Tensor, size: int | None = None, signed: bool | None = None) -> Image.Image:
    """The map in color over the image in gray; the image shows where the map is weak.

    Args:
        image: (c, h, w) in [0, 1].
        attribution: (h, w), raw.
        size: shorter side of the result in pixels; by default that of the image.
        signed: see ``normalized``.
    """
    picture = enlarge(to_picture(image), size)
    shown, signed = normalized(attribution, signed)
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
    """The picture with a smooth line around a region (h, w), on a wider dark line, so that it shows on any background."""
    soft = 0.012 * picture.width / 2
    mask = Image.fromarray(region.cpu().numpy().astype(np.uint8) * 255).resize(picture.size, Image.Resampling.BILINEAR)
    blurred = np.asarray(mask.filter(ImageFilter.GaussianBlur(soft)), dtype=np.float32) / 255
    distance = np.abs(blurred - 0.5) * (soft + picture.width / region.shape[1] / 3) * np.sqrt(2 * np.pi)  # in pixels, nearby
    drawn = picture.copy()
    for ink, width, strength in ((INK, 2.2, 0.6), (color, 1.25, 1.0)):
        drawn.paste(ink, mask=Image.fromarray((255 * strength * np.clip(width - distance, 0, 1)).astype(np.uint8)))
    return drawn


def data_uri(picture: Image.Image, quality: int) -> str:
    """The picture as WebP in a data URI, so that a page needs no other file."""
    content = BytesIO()
    picture.save(content, "WEBP", quality=quality, method=4)
    return "data:image/webp;base64," + base64.b64encode(content.getvalue()).decode()


def captioned(picture: Image.Image, lines: Sequence[str], scale: Scale | None = None) -> Image.Image:
    """The picture with lines of text below it, and last its scale; ``fit_text`` shortens a line that is too long."""
    size = max(11, picture.width // 20)
    height = round(size * 1.45)
    below = height * (len(lines) + bool(scale)) + height // 2
    sheet = Image.new("RGB", (picture.width, picture.height + below), PAPER)
    sheet.paste(picture, (0, 0))
    draw = ImageDraw.Draw(sheet)
    if scale is not None:
        top = picture.height + height // 3 + len(lines) * height
        draw_scale(sheet, (size // 3, top), picture.width - size, round(0.8 * size), scale)
    for i, line in enumerate(lines):
        font = load_font(size, bold=i == 0)
        y = picture.height + height // 3 + i * height
        draw.text((size // 3, y), fit_text(line, font, picture.width - size), INK if i == 0 else SOFT, font)
    return sheet


def draw_scale(canvas: Image.Image, at: tuple[int, int], width: int, letter: int, scale: Scale) -> None:
    """A bar of colors, ``width`` pixels wide with the values of its two ends beside it; one value for a constant map."""
    x, y = at
    font, draw = load_font(letter), ImageDraw.Draw(canvas)
    low, high = said_value(scale.low), said_value(scale.high)
    if scale.low == scale.high:
        draw.text((x, y), fit_text(f"{low} everywhere", font, width), SOFT, font)
        return
    draw.text((x, y), low, SOFT, font)
    draw.text((x + width - font.getlength(high), y), high, SOFT, font)
    left, right = x + font.getlength(low) + letter / 2, x + width - font.getlength(high) - letter / 2
    if right - left >= letter:
        colors = color_bar(scale.colormap, round(right - left), round(0.7 * letter))
        canvas.paste(colors, (round(left), y + round(0.3 * letter)))


def color_bar(colormap: str, width: int, height: int) -> Image.Image:
    """All colors of a colormap, from left to right."""
    colors = (colormaps[colormap](np.linspace(0, 1, width))[None, :, :3] * 255).astype(np.uint8)
    return Image.fromarray(np.repeat(colors, height, 0))


def said_value(value: float) -> str:
    """A value in two digits, such as 0.031, 1.2e-05 or −4."""
    return f"{value:.2g}".replace("-", "−", 1) if value < 0 else f"{value:.2g}"


def fit_text(text: str, font: ImageFont.FreeTypeFont, width: int | float) -> str:
    """The text, shortened to ``width`` pixels with an ellipsis.

    A number after two spaces stays whole: the cut comes before it. A method with options is cut in the middle, since its
    last options distinguish it from others.
    """
    if font.getlength(text) <= width:
        return text
    name, gap, figure = text.rpartition("  ")
    if gap and name:
        return fit_text(name, font, width - font.getlength(gap + figure)) + gap + figure
    if ":" in text:
        return _without_middle(text, font, width)
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text.rstrip() + "…"


def _without_middle(text: str, font: ImageFont.FreeTypeFont, width: int | float) -> str:
    """The text that is too long, with an ellipsis in place of its middle."""
    cuts = ((len(text) - i) // 2 for i in range(len(text) - 1))
    short = (f"{text[:n]}…{text[len(text) - n :]}" for n in cuts)
    return next((s for s in short if font.getlength(s) <= width), "…")


def name_in_lines(text: str, font: ImageFont.FreeTypeFont, width: int | float, most: int = 3) -> list[str]:
    """The name of a method in up to ``most`` lines, broken after ``_ : , =``; any other text in one (``fit_text``)."""
    if font.getlength(text) <= width or not re.fullmatch(r"\w+(:\S+)?", text):
        return [fit_text(text, font, width)]
    lines = [""]
    for part in re.findall(r"[^_:,=]*[_:,=]|[^_:,=]+", text):
        if lines[-1] and len(lines) < most and font.getlength(lines[-1] + part) > width:
            lines.append("")
        lines[-1] += part
    return [line if font.getlength(line) <= width else _without_middle(line, font, width) for line in lines]


def words_in_lines(text: str, font: ImageFont.FreeTypeFont, width: int | float, most: int = 3) -> list[str]:
    """The text in up to ``most`` lines, broken between words; the last one is shortened (``fit_text``).

    A number after two spaces stays whole, and is never cut off.
    """
    name, gap, figure = text.rpartition("  ")
    words = [*name.split(), figure] if gap else text.split()
    lines = [""]
    for i, word in enumerate(words):
        between = "" if not lines[-1] else gap if gap and i == len(words) - 1 else " "
        if between and font.getlength(lines[-1] + between + word) > width:
            if len(lines) == most:
                rest = " ".join([lines[-1], *words[i : len(words) - bool(gap)]])
                lines[-1] = f"{rest}{gap}{figure}" if gap else rest
                break
            lines.append(word)
        else:
            lines[-1] += between + word
    return [fit_text(line, font, width) for line in lines]


@cache
def load_font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib, so that the letters are the same on every machine."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(str(folder / ("DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf")), size)
