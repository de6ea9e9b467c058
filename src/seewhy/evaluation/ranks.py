"""Ranks of explainers, and how sure they are. Arrays in, numbers out."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from seewhy.evaluation.bootstrap import Array, ImageIds, check_settings, draw_counts, rows_by_image, score_table

TIE_DIGITS = 12
"""Means that agree in so many digits are tied."""


class Rank(NamedTuple):
    """The rank on the images (1 is best); over resamples its mean, its interval, and how often it is the first."""

    rank: float
    mean: float
    low: float
    high: float
    first: float


def ranks(
    scores: Mapping[str, ArrayLike],
    higher_is_better: bool = True,
    level: float = 0.95,
    trials: int = 10_000,
    seed: int = 0,
    images: ImageIds = None,
) -> dict[str, Rank]:
    """The rank of each explainer by its mean, and how sure the rank is: images are drawn again, and explainers ranked anew.

    Explainers that tie share the mean of their ranks, and the first place in equal parts. The interval goes from quantile to
    quantile of the resampled ranks. If explainers are equal in truth, the resamples still prefer the one ahead by luck
    (Hall and Miller, Using the Bootstrap to Quantify the Authority of an Empirical Ranking, 2009): ``compare_all`` says
    whether two explainers differ at all.

    Args:
        scores: (n,) of each explainer on the same images.
        higher_is_better: whether the highest mean is rank 1.
        level: of the interval.
        trials: resamples.
        seed: of the draws.
        images: as in ``mean_interval``.
    """
    names, columns = score_table(scores)
    check_settings(level, trials)
    alphabetical = np.argsort(names)
    columns = columns - columns.min()
    columns = columns / (columns.max() or 1)
    members = rows_by_image(columns[:, alphabetical], images)
    sums = np.stack([columns[rows].sum(0) for rows in members])
    counts = np.array([len(rows) for rows in members], dtype=np.float64)[:, None]

    def placed(means: Array) -> Array:
        return stats.rankdata(np.round(-means if higher_is_better else means, TIE_DIGITS), axis=1)

    seen = placed((sums.sum(0) / counts.sum())[None])[0]
    if len(sums) == 1:
        drawn = np.full((1, len(names)), np.nan)
    else:
        drawn = np.concatenate([placed(w @ sums / (w @ counts)) for w in draw_counts(len(sums), trials, seed)])
    leads = drawn == drawn.min(1, keepdims=True)
    first = (leads / np.maximum(1, leads.sum(1, keepdims=True))).mean(0) if len(sums) > 1 else drawn[0]
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0)
    found = zip(seen, drawn.mean(0), low, high, first, strict=True)
    return {name: Rank(*map(float, numbers)) for name, numbers in zip(names, found, strict=True)}
