"""The geometry of a chart: axes, ticks, lines and labels that do not cover each other. Numbers in, SVG coordinates out."""

from collections.abc import Iterable, Sequence
from math import ceil, floor, isfinite, log10
from typing import NamedTuple

import numpy as np

from seewhy.report.digits import printed


class Tick(NamedTuple):
    """A mark on an axis, in the units of the drawing."""

    at: float
    label: str


class Axis(NamedTuple):
    """Maps values from ``low`` to ``high`` onto the drawing from ``start`` to ``end``; ``log`` is for positive values."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (log10(v) for v in (self.low, self.high, value)) if self.log else (self.low, self.high, value)
        return round(self.start + (value - low) / (high - low) * (self.end - self.start), 1)

    def ticks(self) -> list[Tick]:
        """Ticks at round values."""
        if self.log:
            return [Tick(self(v), _seconds_label(v)) for v in log_values(self.low, self.high)]
        values, places = round_values(self.low, self.high)
        return [Tick(self(v), printed(v, places)) for v in values]


def axis(values: Iterable[float], start: float, end: float, log: bool = False, room: float = 0.05) -> Axis:
    """An axis for all finite values, with ``room`` at both ends as a share of their range."""
    known = [v for v in values if isfinite(v)] or [0.0, 1.0]
    low, high = min(known), max(known)
    if log:
        spread = max((high / low) ** room, 1.25)
        return Axis(low / spread, high * spread, start, end, log=True)
    spread = (high - low) * room if high > low else abs(high) * 0.1 or 0.5
    return Axis(low - spread, high + spread, start, end)


def round_values(low: float, high: float, most: int = 6) -> tuple[list[float], int]:
    """Multiples of 1, 2 or 5 times a power of ten from low to high, at most ``most``; and the decimals that they need."""
    rough = (high - low) / (most - 1)
    power = floor(log10(rough))
    step = next(m for m in (1, 2, 5, 10) if m * 10.0**power >= rough * (1 - 1e-9)) * 10.0**power
    count = range(ceil(low / step - 1e-9), floor(high / step + 1e-9) + 1)
    return [i * step for i in count], max(0, -floor(log10(step) + 1e-9))


def log_values(low: float, high: float) -> list[float]:
    """Powers of ten from low to high; where these are few, also multiples of them by 3, or by 2 and 5."""
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5)):
        found = [m * 10.0**p for p in powers for m in factors if low <= m * 10.0**p <= high]
        if len(found) >= 3:
            break
    return found


def line(xs: Sequence[float], ys: Sequence[float]) -> str:
    """The SVG path through points."""
    return "M" + "L".join(f"{x:g},{y:g}" for x, y in zip(xs, ys, strict=True))


def band(xs: Sequence[float], lows: Sequence[float], highs: Sequence[float]) -> str:
    """The SVG path around the area between two lines."""
    return f"{line(xs, highs)}L{line(xs[::-1], lows[::-1])[1:]}Z"


def spread_labels(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places of labels: at least ``gap`` apart, within low and high, and as near to the wanted places as possible."""
    n = len(wanted)
    if n * gap > high - low:
        gap = (high - low) / max(1, n)
    order = np.argsort(wanted, kind="stable")
    shifted = np.asarray(wanted, dtype=np.float64)[order] - gap * np.arange(n)
    blocks: list[list[float]] = []  # [mean, size]: neighbors that would overlap move together
    for value in shifted.tolist():
        blocks.append([value, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, size = blocks.pop()
            blocks[-1] = [(blocks[-1][0] * blocks[-1][1] + mean * size) / (blocks[-1][1] + size), blocks[-1][1] + size]
    placed = np.repeat([b[0] for b in blocks], [int(b[1]) for b in blocks]) if blocks else shifted
    placed = placed.clip(low, high - gap * (n - 1)) + gap * np.arange(n)
    found = np.empty(n)
    found[order] = placed
    return [round(float(v), 1) for v in found]


class Rectangle(NamedTuple):
    """A rectangle of the drawing."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "Rectangle") -> bool:
        return self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom


def _seconds_label(value: float) -> str:
    """A number of seconds with a unit that is easy to read."""
    for unit, size in (("s", 1), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size * (1 - 1e-9):
            return f"{value / size:g} {unit}"
    return f"{value:g} s"
