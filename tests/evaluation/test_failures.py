"""A row that fails costs itself and no other; a method that always fails stops the run."""

from collections.abc import Sequence

import pytest

from seewhy.errors import ImageError, SeewhyError
from seewhy.evaluation.failures import MAX_FAILURES, Failure, Successes, together_or_alone


def halve(rows: Sequence[int]) -> list[float]:
    if 3 in rows:
        raise ImageError("3 is a bad image")
    return [row / 2 for row in rows]


def test_rows_are_done_together_where_none_fails() -> None:
    assert list(together_or_alone([4, 6], halve, lambda *_: pytest.fail("nothing fails"))) == [([4, 6], [2.0, 3.0])]


def test_each_row_is_done_alone_where_one_fails() -> None:
    failures: list[tuple[int, str]] = []
    done = list(together_or_alone([4, 3, 6], halve, lambda row, error: failures.append((row, error))))
    assert done == [([4], [2.0]), ([6], [3.0])]
    assert failures == [(3, "3 is a bad image")]


def test_a_mistake_in_the_question_is_raised_again() -> None:
    def refuse(_: Sequence[int]) -> None:
        raise SeewhyError("no such option")

    with pytest.raises(SeewhyError, match="no such option"):
        list(together_or_alone([1, 2], refuse, lambda *_: None))
    failures: list[int] = []
    assert not list(together_or_alone([1, 2], refuse, lambda row, _: failures.append(row), stops=lambda _: False))
    assert failures == [1, 2]


def test_a_method_that_never_works_stops_the_run() -> None:
    failure = Failure(0, "a.png", "rise", "deletion", "out of memory")
    successes = Successes()
    successes.count({("rise", "deletion"): 1}, [failure] * MAX_FAILURES)  # it has worked once
    with pytest.raises(
        SeewhyError, match=rf"^deletion of rise failed on {MAX_FAILURES} images and worked on none; a.png: out"
    ):
        Successes().count({}, [failure] * MAX_FAILURES)
