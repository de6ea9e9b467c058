"""The bootstrap: images are drawn again with replacement. And checks of the arrays that are drawn from.

Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993. Several rows of one image (``images`` says whose each
row is) are drawn together. The order of the images has no influence.
"""

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special, stats

from seewhy.errors import SeewhyError

Array = NDArray[np.float64]
ImageIds = Sequence[Hashable] | NDArray[Any] | None
"""(n,) the image of each row; None where each row is an image of its own."""
MAX_DRAWN = 4_000_000
"""Numbers that are drawn at a time."""


def draw_images(n: int, trials: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """``trials`` draws of n images with replacement, as indices (t, n), a part of the trials at a time."""
    random, step = np.random.default_rng(seed), max(1, MAX_DRAWN // n)
    for start in range(0, trials, step):
        yield random.integers(0, n, (min(step, trials - start), n))


def draw_counts(n: int, trials: int, seed: int) -> Iterator[Array]:
    """The same draws as ``draw_images``, as counts (t, n): how often each image is drawn."""
    for draw in draw_images(n, trials, seed):
        cells = (draw + n * np.arange(len(draw))[:, None]).ravel()
        yield np.bincount(cells, minlength=draw.size).reshape(draw.shape).astype(np.float64)


def expanded_quantiles(drawn: Array, n: int, level: float) -> Array:
    """(2, ...) the ends of an interval: quantiles of (trials, ...) figures, moved outward as in ``mean_interval``."""
    tail = special.ndtr(-np.sqrt(n / (n - 1)) * stats.t.ppf((1 + level) / 2, n - 1))
    return np.quantile(drawn, [tail, 1 - tail], axis=0)


def rows_by_image(columns: Array, images: ImageIds) -> list[NDArray[np.int64]]:
    """The rows of each image. Images are in the order of their numbers, and so are the rows of an image."""
    if images is not None and len(images) != len(columns):
        raise SeewhyError(f"there are {len(columns)} scores and {len(images)} images")
    grouped: dict[Hashable, list[int]] = {}
    for row in np.lexsort(columns.T[::-1]).tolist():
        grouped.setdefault(row if images is None else images[row], []).append(row)
    members = [np.array(rows) for rows in grouped.values()]
    if len(members) < len(columns):
        members.sort(key=lambda rows: (columns[rows] + 0.0).tobytes())
    return members


def sums_by_image(columns: Array, images: ImageIds) -> tuple[Array, Array]:
    """(g, k) sums over the rows of each image, and (g,) the number of these rows."""
    if images is None:
        return columns, np.ones(len(columns))
    if len(images) != len(columns):
        raise SeewhyError(f"there are {len(columns)} scores and {len(images)} images")
    number: dict[Hashable, int] = {}
    owner = np.array([number.setdefault(image, len(number)) for image in images])
    sums = np.zeros((len(number), columns.shape[1]))
    np.add.at(sums, owner, columns)
    return sums, np.bincount(owner).astype(np.float64)


def as_vector(name: str, values: ArrayLike) -> Array:
    given = np.asarray(values, dtype=np.float64)
    if given.ndim != 1:
        raise SeewhyError(f"{name} has the shape {given.shape}; give one number for each image")
    return as_matrix(name, given[:, None])[:, 0]


def as_matrix(name: str, values: ArrayLike) -> Array:
    given = np.asarray(values, dtype=np.float64)
    if given.ndim != 2:
        raise SeewhyError(f"{name} has the shape {given.shape}; give a row for each image")
    if not given.size:
        raise SeewhyError(f"{name} is empty; give at least one score")
    if not np.isfinite(given).all():
        raise SeewhyError(f"{name} has {int((~np.isfinite(given)).sum())} NaN or infinite values; leave them out first")
    return given


def score_table(scores: Mapping[str, ArrayLike]) -> tuple[list[str], Array]:
    """The names of the explainers and their scores (n, e); SeewhyError unless all have finite scores of the same images."""
    if not scores:
        raise SeewhyError("give the scores of at least one explainer")
    columns = {name: as_vector(f"scores of {name}", values) for name, values in scores.items()}
    (one, first), *others = columns.items()
    for name, column in others:
        if len(column) != len(first):
            raise SeewhyError(f"{one} has {len(first)} scores and {name} {len(column)}; give the same images")
    return list(columns), np.stack(list(columns.values()), axis=1)


def check_settings(level: float, trials: int) -> None:
    if not 0 < level < 1:
        raise SeewhyError(f"level is {level}; give one between 0 and 1")
    if trials < 1:
        raise SeewhyError(f"trials is {trials}; give at least 1")
