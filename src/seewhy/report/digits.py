"""How numbers are written: with enough digits to tell the figures of a column apart, and no more."""

from collections.abc import Iterable
from math import floor, isfinite, isnan, log10

MINUS = "\N{MINUS SIGN}"


def decimals(values: Iterable[float]) -> int | None:
    """Digits after the point that give the largest value three significant digits; None where that is unreadable."""
    sizes = [abs(v) for v in values if isfinite(v) and v]
    if not sizes:
        return 2
    places = 2 - floor(log10(max(sizes)))
    return max(0, places) if -4 < places <= 5 else None


def number(value: float, places: int | None) -> str:
    """A number in ASCII; "n/a" for NaN. A number that would round to 0 has one significant digit instead."""
    if not isfinite(value):
        return "n/a" if isnan(value) else ("inf" if value > 0 else "-inf")
    text = f"{value:.3g}" if places is None else f"{value:.{places}f}"
    return text if float(text) or not value else f"{value:.1g}"


def printed(value: float, places: int | None) -> str:
    """A number as in ``number``, with a typographic minus sign."""
    return number(value, places).replace("-", MINUS)


def place(rank: float) -> str:
    """A rank; shared ranks may be halves."""
    return f"{rank:.1f}".removesuffix(".0")


def seconds(value: float) -> str:
    """A time in milliseconds, seconds, minutes or hours."""
    if value < 1:
        return f"{value * 1000:.3g} ms"
    if value < 100:
        return f"{value:.3g} s"
    minutes = round(value / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
