"""Sheets: many pictures side by side, with captions, and below each map its scale."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from seewhy.explanation.overlay import (
    DIVERGING,
    INK,
    PAPER,
    SEQUENTIAL,
    SOFT,
    Scale,
    color_bar,
    draw_scale,
    fit_text,
    load_font,
    name_in_lines,
    words_in_lines,
)

GAP = 8
"""Pixels between two panels."""
MOST_LETTER = 26
"""Pixels: letters grow with the panels up to this size."""


class Panel(NamedTuple):
    """One picture of a sheet, its caption, and the scale of its map, which is drawn between the two."""

    picture: Image.Image
    caption: str = ""
    bold: bool = False
    scale: Scale | None = None


class Legend(NamedTuple):
    """What the two ends of a colormap mean."""

    colormap: str
    low: str
    high: str


MEANT = {SEQUENTIAL: Legend(SEQUENTIAL, "weak", "strong"), DIVERGING: Legend(DIVERGING, "against the class", "for it")}
"""What the colors of a map mean, unless a sheet says otherwise."""


def sheet(
    rows: Sequence[Sequence[Panel | None]],
    title: str = "",
    columns: Sequence[str] = (),
    size: int = 168,
    keys: Collection[str | Legend] = (SEQUENTIAL, DIVERGING),
    labels: Sequence[str] = (),
    label_at: int = 0,
) -> Image.Image:
    """Panels in rows, with a title, a heading over each column, a label over each row, and legends of colors at the foot.

    A heading or a caption that is too long is broken into lines.

    Args:
        rows: panels, or None for an empty place; rows may differ in length.
        title: above all rows.
        columns: the headings.
        size: width of a panel in pixels.
        keys: colormaps, or legends, that are explained at the foot.
        labels: a text above each row; "" for none.
        label_at: the column at which the labels begin.
    """
    letter = min(max(11, size // 13), MOST_LETTER)
    line = round(letter * 1.5)
    wide = max(len(columns), label_at + bool(labels), *(len(row) for row in rows))
    width = size * wide + GAP * (wide + 1)
    fonts = {bold: load_font(letter, bold=bold) for bold in (False, True)}
    large = load_font(round(letter * 1.35), bold=True)
    headings = [_in_lines(heading, fonts[True], size) for heading in columns]
    legends = _legends(keys, load_font(letter), width)
    foot = sum(line for _ in legends) + line // 2 if legends else 0
    top = GAP + (line * 2 if title else 0) + line * max(map(len, headings), default=0)
    drawn = [_Row(row, size, line, fonts) for row in rows]
    above = [line * bool(label) for label in labels] or [0] * len(rows)
    height = top + sum(row.height + GAP for row in drawn) + sum(above) + foot
    canvas = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(canvas)
    if title:
        draw.text((GAP, GAP), fit_text(title, large, width - 2 * GAP), INK, large)
    for j, heading in enumerate(headings):
        for up, part in enumerate(reversed(heading), 1):
            draw.text((_x(j, size), top - up * line), part, INK, fonts[True])
    y = top
    for i, row in enumerate(drawn):
        if labels and labels[i]:
            x = _x(label_at, size)
            draw.text((x, y), fit_text(labels[i], fonts[True], width - x - GAP), INK, fonts[True])
        row.draw(canvas, y + above[i])
        y += above[i] + row.height + GAP
    for legend_line in legends:
        _draw_legends(canvas, (GAP, y + line // 4), load_font(letter), legend_line)
        y += line
    return canvas


def _x(column: int, size: int) -> int:
    return GAP + column * (size + GAP)


def _in_lines(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Lines of text: the name of a method is broken after its signs, any other text between its words."""
    parts = text.split("\n") if text else []
    return [
        line
        for part in parts
        for line in (words_in_lines(part, font, width) if " " in part else name_in_lines(part, font, width))
    ]


class _Row:
    """The panels of one row at their size, and what stands below each."""

    def __init__(
        self, panels: Sequence[Panel | None], size: int, line: int, fonts: dict[bool, ImageFont.FreeTypeFont]
    ) -> None:  # fmt: skip
        self.panels, self.size, self.line, self.fonts = panels, size, line, fonts
        self.pictures = [None if p is None else _scaled(p.picture, size) for p in panels]
        self.captions = [[] if p is None else _in_lines(p.caption, fonts[p.bold], size) for p in panels]
        self.bars = line if any(p is not None and p.scale is not None for p in panels) else 0
        tallest = max((p.height for p in self.pictures if p is not None), default=0)
        self.height = tallest + self.bars + line * max(map(len, self.captions), default=0)

    def draw(self, canvas: Image.Image, y: int) -> None:
        draw, letter = ImageDraw.Draw(canvas), round(self.line / 1.5)
        for j, (panel, picture, caption) in enumerate(zip(self.panels, self.pictures, self.captions, strict=True)):
            if panel is None or picture is None:
                continue
            x, below = _x(j, self.size), y + picture.height + letter // 5
            canvas.paste(picture, (x, y))
            if panel.scale is not None:
                draw_scale(canvas, (x, below), self.size - letter // 2, round(0.8 * letter), panel.scale)
                below += self.line
            for down, part in enumerate(caption):
                at = (x, below + down * self.line)
                draw.text(at, part, INK if panel.bold else SOFT, self.fonts[panel.bold])


def _scaled(picture: Image.Image, width: int) -> Image.Image:
    """The picture with this width; the same pixels where it has it already."""
    return picture if picture.width == width else picture.resize((width, round(width * picture.height / picture.width)))


def _legends(keys: Collection[str | Legend], font: ImageFont.FreeTypeFont, width: int) -> list[list[Legend]]:
    """The legends in lines that are no wider than the sheet, as far as they can be."""
    wanted = [key if isinstance(key, Legend) else MEANT[key] for key in keys]
    lines, used = list[list[Legend]](), 0.0
    for legend in sorted(wanted, key=lambda one: one.colormap == DIVERGING):
        wide = _legend_width(legend, font)
        if not lines or used + wide > width - 2 * GAP:
            lines.append([])
            used = 0.0
        lines[-1].append(legend)
        used += wide
    return lines


def _legend_width(legend: Legend, font: ImageFont.FreeTypeFont) -> float:
    return font.getlength(legend.low) + font.getlength(legend.high) + 11 * font.size


def _draw_legends(
    canvas: Image.Image, at: tuple[int, int], font: ImageFont.FreeTypeFont, legends: Sequence[Legend]
) -> None:  # fmt: skip
    draw, (x, y), letter = ImageDraw.Draw(canvas), at, int(font.size)
    for legend in legends:
        spare = canvas.width - GAP - x - int(font.getlength(legend.low + legend.high)) - 2 * letter
        bar = color_bar(legend.colormap, max(letter, min(letter * 8, spare)), letter)
        draw.text((x, y), legend.low, SOFT, font)
        x += int(font.getlength(legend.low)) + letter // 2
        canvas.paste(bar, (x, y + letter // 5))
        x += bar.width + letter // 2
        draw.text((x, y), legend.high, SOFT, font)
        x += int(font.getlength(legend.high)) + 2 * letter
