"""Draws of images: indices and counts of the same draws, rows of an image together, and no influence of their order."""

import numpy as np
import pytest
from scipy import stats

from seewhy.errors import SeewhyError
from seewhy.evaluation import bootstrap
from seewhy.evaluation.bootstrap import (
    draw_counts,
    draw_images,
    expanded_quantiles,
    rows_by_image,
    score_table,
    sums_by_image,
)


def test_counts_are_those_of_the_draws_however_many_are_made_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    draws = np.concatenate(list(draw_images(7, 50, seed=3)))
    assert draws.shape == (50, 7)
    expected = np.stack([np.bincount(draw, minlength=7) for draw in draws])
    np.testing.assert_array_equal(np.concatenate(list(draw_counts(7, 50, seed=3))), expected)
    monkeypatch.setattr(bootstrap, "MAX_DRAWN", 70)
    parts = list(draw_images(7, 50, seed=3))
    assert [len(part) for part in parts] == [10] * 5
    np.testing.assert_array_equal(np.concatenate(parts), draws)


def test_rows_and_sums_of_an_image() -> None:
    columns, images = np.array([[3.0], [1.0], [2.0], [5.0]]), ["a", "b", "a", "c"]
    members = rows_by_image(columns, images)
    assert sorted(sorted(rows.tolist()) for rows in members) == [[0, 2], [1], [3]]
    order = [2, 3, 1, 0]
    shuffled = rows_by_image(columns[order], [images[i] for i in order])
    assert [columns[rows].tolist() for rows in members] == [columns[order][rows].tolist() for rows in shuffled]
    sums, counts = sums_by_image(columns, images)
    assert (sums.tolist(), counts.tolist()) == ([[5], [1], [5]], [2, 1, 1])
    for of in (rows_by_image, sums_by_image):
        with pytest.raises(SeewhyError, match="there are 4 scores and 1 images"):
            of(columns, ["a"])


def test_expanded_quantiles_are_farther_out_for_few_images() -> None:
    """Of a normal distribution, expanded by hand: Student's quantile, and n - 1 instead of n."""
    drawn = stats.norm.ppf((np.arange(100_000) + 0.5) / 100_000)
    for n in (5, 1000):
        half = np.sqrt(n / (n - 1)) * stats.t.ppf(0.975, n - 1)
        np.testing.assert_allclose(expanded_quantiles(drawn, n, 0.95), [-half, half], rtol=2e-3)


def test_a_table_of_scores() -> None:
    names, columns = score_table({"b": [1, 2], "a": [3, 4]})
    assert (names, columns.tolist()) == (["b", "a"], [[1, 3], [2, 4]])
