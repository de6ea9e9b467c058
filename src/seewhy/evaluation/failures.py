"""What happens where an image fails: the image is left out and named, and a method that always fails stops the run."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from seewhy.errors import ImageError, SeewhyError, cause

T = TypeVar("T")
MAX_FAILURES = 16
"""A method that failed this often and never succeeded stops the run."""


@dataclass(frozen=True, order=True)
class Failure:
    """One image that failed. No explainer: it could not be read or classified; no metric: it could not be explained."""

    index: int
    image_id: str
    explainer: str
    metric: str
    error: str


def is_users_mistake(error: Exception) -> bool:
    """Is it a mistake in what was asked, that every image would meet?"""
    return isinstance(error, SeewhyError) and not isinstance(error, ImageError)


def together_or_alone(
    rows: Sequence[int],
    do: Callable[[Sequence[int]], T],
    failed: Callable[[int, str], None],
    stops: Callable[[Exception], bool] = is_users_mistake,
) -> Iterator[tuple[Sequence[int], T]]:
    """Rows and ``do(rows)``; where that fails, each row alone, so that a bad image costs itself and no other.

    Args:
        rows: what is done together, if it can be.
        do: what is done.
        failed: called with a row that fails alone, and with the error in one line.
        stops: an exception that is raised again, whatever the row.
    """
    try:
        done = do(rows)
    except Exception as error:  # what is done may be code of the user's and fail in any way
        if stops(error):
            raise
        if len(rows) == 1:
            failed(rows[0], cause(error))
        else:
            for row in rows:
                yield from together_or_alone([row], do, failed, stops)
    else:
        yield rows, done


class Successes:
    """Which methods have worked, and how often each has failed; a method that never works stops the run."""

    def __init__(self) -> None:
        self._good: set[tuple[str, str]] = set()
        self._bad: Counter[tuple[str, str]] = Counter()

    def count(self, worked: Collection[tuple[str, str]], failures: Sequence[Failure]) -> None:
        """Count failures of each (explainer, metric), and note those that have worked; two empty names stand for reading."""
        self._good.update(worked, ((explainer, "") for explainer, _ in worked))
        for failure in failures:
            key = failure.explainer, failure.metric
            self._bad[key] += 1
            if self._bad[key] >= MAX_FAILURES and key not in self._good:
                what = " of ".join(part for part in reversed(key) if part) or "reading"
                raise SeewhyError(
                    f"{what} failed on {self._bad[key]} images and worked on none; {failure.image_id}: {failure.error}"
                )
