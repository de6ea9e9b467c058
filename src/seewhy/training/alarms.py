"""What ends a training that cannot come to anything: one line that says so, and what to try."""

from math import isfinite

from seewhy.errors import SeewhyError
from seewhy.explainers.learned.settings import Settings

EMPTY, FULL = 1e-3, 1 - 1e-3
"""Masks whose values are all below the first, or all above the second, show nothing."""
PATIENCE = 100
"""Steps in a row in which every mask is empty or every mask is full."""


def must_be_finite(terms: dict[str, float], gradient: float, step: int, settings: Settings, kept: str) -> None:
    """SeewhyError where a term of the loss, or the gradient, is NaN or infinite. ``kept`` says what is not lost."""
    bad = [name for name, value in terms.items() if not isfinite(value)]
    if not bad and isfinite(gradient):
        return
    what = f"the loss is {terms[bad[0]]} (its term {bad[0]})" if bad else f"the gradient is {gradient}"
    cures = ["lower --learning-rate"]
    cures += ["clip gradients (--clip 1)"] if not settings.clip else []
    cures += ["compute with --precision fp32"] if settings.precision != "fp32" else []
    raise SeewhyError(f"{what} at step {step}: {', or '.join(cures)}, in another folder; {kept}")


def dull_after(dull: int, low: float, high: float) -> int:
    """Steps in a row whose masks show nothing: positive where all of them are 0, negative where all are 1.

    Args:
        dull: before this step.
        low, high: the lowest and the highest value in all masks of this step.
    """
    if high < EMPTY:
        return max(dull, 0) + 1
    return min(dull, 0) - 1 if low > FULL else 0


def must_show_something(dull: int, step: int) -> None:
    """SeewhyError after a hundred steps of masks that are all 0, or all 1."""
    if abs(dull) < PATIENCE:
        return
    value, weigh, start = (0, "less", "larger") if dull > 0 else (1, "more", "smaller")
    raise SeewhyError(
        f"every mask has been {value} everywhere for {PATIENCE} steps, up to step {step}: let masks begin {start} (--option "
        f"start=..., where the method has it), weigh the term that makes masks small {weigh}, lower --learning-rate, or "
        "give another --seed, in another folder"
    )
