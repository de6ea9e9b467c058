"""Sheets: many pictures side by side, with captions."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib import colormaps
from PIL import Image, ImageDraw

from seewhy.explanation.overlay import DIVERGING, INK, PAPER, SEQUENTIAL, SOFT, load_font, name_in_lines


class Panel(NamedTuple):
    """One picture of a sheet, and its caption."""

    picture: Image.Image
    caption: str = ""
    bold: bool = False


def sheet(
    rows: Sequence[Sequence[Panel]],
    title: str = "",
    columns: Sequence[str] = (),
    size: int = 168,
    keys: Collection[str] = (SEQUENTIAL, DIVERGING),
) -> Image.Image:
    """Panels in rows, with a title, a heading over each column, and legends of colors at the foot.

    A heading or a caption that is the name of a method is broken into lines where it is too long.

    Args:
        rows: panels; rows may differ in length.
        title: above all rows.
        columns: the headings.
        size: width of a panel in pixels.
        keys: colormaps that get a legend.
    """
    gap, letter = 8, max(11, size // 13)
    line = round(letter * 1.5)
    wide = max(len(row) for row in rows)
    widths = size * wide + gap * (wide + 1)
    fonts = {bold: load_font(letter, bold=bold) for bold in (False, True)}
    headings = [name_in_lines(heading, fonts[True], size) for heading in columns]
    top = gap + (line * 2 if title else 0) + line * max(map(len, headings), default=0)
    pictures = [[p.picture.resize((size, round(size * p.picture.height / p.picture.width))) for p in row] for row in rows]
    captions = [[name_in_lines(p.caption, fonts[p.bold], size) if p.caption else [] for p in row] for row in rows]
    heights = [
        max(p.height for p in row) + line * max(map(len, below)) for row, below in zip(pictures, captions, strict=True)
    ]
    canvas = Image.new("RGB", (widths, top + sum(heights) + gap * len(rows) + 2 * line * bool(keys)), PAPER)
    draw = ImageDraw.Draw(canvas)
    if title:
        draw.text((gap, gap), title, INK, load_font(round(letter * 1.35), bold=True))
    for j, heading in enumerate(headings):
        for up, part in enumerate(reversed(heading), 1):
            draw.text((gap + j * (size + gap), top - up * line), part, INK, fonts[True])
    y = top
    for row, scaled, below, height in zip(rows, pictures, captions, heights, strict=True):
        for j, (panel, picture, caption) in enumerate(zip(row, scaled, below, strict=True)):
            x = gap + j * (size + gap)
            canvas.paste(picture, (x, y))
            for down, part in enumerate(caption):
                at = (x, y + picture.height + letter // 5 + down * line)
                draw.text(at, part, INK if panel.bold else SOFT, fonts[panel.bold])
        y += height + gap
    if keys:
        _keys(canvas, draw, (gap, y + line // 4), letter, keys)
    return canvas


def _keys(
    canvas: Image.Image, draw: ImageDraw.ImageDraw, at: tuple[int, int], letter: int, keys: Collection[str]
) -> None:  # fmt: skip
    """Draw the legend of each colormap in ``keys``, as far as the canvas is wide enough."""
    x, y = at
    font = load_font(letter)
    meant = {SEQUENTIAL: ("weak", "strong"), DIVERGING: ("against the class", "for it")}
    for name, (low, high) in ((name, ends) for name, ends in meant.items() if name in keys):
        ramp = (colormaps[name](np.linspace(0, 1, letter * 8))[None, :, :3] * 255).astype(np.uint8)
        bar = Image.fromarray(np.repeat(ramp, letter, 0))
        for part in (low, bar, high):
            if isinstance(part, str):
                if x + font.getlength(part) > canvas.width:
                    return
                draw.text((x, y), part, SOFT, font)
                x += int(font.getlength(part)) + letter // 2
            else:
                canvas.paste(part, (x, y + letter // 5))
                x += part.width + letter // 2
        x += letter
