"""``max_time``: a training ends well inside it."""

import re
from time import monotonic

from seewhy.errors import SeewhyError

UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
CAUTION = 1.5
"""What comes is taken to last so many times as long as the longest of its kind has."""


class TimeBudget:
    """How long a training may last, and how long its parts have lasted.

    Args:
        seconds: in all; None for no end.
        start: on the clock ``time.monotonic``.
    """

    def __init__(self, seconds: float | None, start: float) -> None:
        self.end = float("inf") if seconds is None else start + seconds
        self.longest: dict[str, float] = {}
        """Seconds of the longest part of each kind."""

    def lasted(self, kind: str, seconds: float) -> None:
        self.longest[kind] = max(self.longest.get(kind, 0.0), seconds)

    def is_over(self) -> bool:
        """Would another step, with what a training does at its end, perhaps last too long?"""
        return monotonic() + CAUTION * sum(self.longest.values()) > self.end


def seconds_in(text: str) -> float:
    """``"90"``, ``"90s"``, ``"10m"``, ``"1.5h"``, ``"2d"`` in seconds."""
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)\s*([smhd]?)", text.strip())
    if found is None or float(found[1]) <= 0:
        raise SeewhyError(f"{text!r} is no time: write a number of seconds, or 90s, 10m, 1.5h, 2d")
    return float(found[1]) * UNITS[found[2]]
