"""Do metrics agree on which explainer is better? Arrays in, correlations out."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from seewhy.errors import SeewhyError
from seewhy.evaluation.bootstrap import Array, score_table


class Agreement(NamedTuple):
    """(m, m) correlations of ``metrics``, NaN where not defined, and (m, m) the number of images behind each."""

    metrics: tuple[str, ...]
    values: Array
    n: NDArray[np.int64]


def agreement(
    figures: Mapping[str, Mapping[str, float]],
    higher_is_better: Mapping[str, bool | None],
    kind: Literal["kendall", "spearman"] = "kendall",
) -> Agreement:
    """Do two metrics put the explainers in the same order? Kendall's tau-b or Spearman's rho over the explainers.

    Args:
        figures: by metric, then by explainer.
        higher_is_better: by metric; where it is false the figures change their sign, so that 1 is agreement.
        kind: tau-b corrects for ties (Kendall, Rank Correlation Methods, 1945); rho is Pearson's correlation of the ranks.
    """
    rows = {name: {e: [value] for e, value in row.items()} for name, row in figures.items()}
    return agreement_by_image(rows, higher_is_better, kind)


def agreement_by_image(
    scores: Mapping[str, Mapping[str, ArrayLike]],
    higher_is_better: Mapping[str, bool | None],
    kind: Literal["kendall", "spearman"] = "kendall",
) -> Agreement:
    """``agreement`` on each image, and its mean over the images on which neither metric has all explainers tied.

    ``scores`` are (n,) by metric, then by explainer, of the same explainers and images.
    """
    if kind not in ("kendall", "spearman"):
        raise SeewhyError(f"kind is kendall or spearman; not {kind!r}")
    if not scores:
        raise SeewhyError("give at least one metric")
    metrics, explainers = tuple(scores), list(next(iter(scores.values())))
    if len(explainers) < 2:
        raise SeewhyError(f"agreement needs at least two explainers; there is {len(explainers)}")
    images, parts = None, []
    for name, row in scores.items():
        if set(row) != set(explainers):
            raise SeewhyError(f"{name} has the explainers {', '.join(row)}, and {metrics[0]} {', '.join(explainers)}")
        if name not in higher_is_better:
            raise SeewhyError(f"higher_is_better does not say of {name}")
        columns = score_table({e: row[e] for e in explainers})[1]
        images = images or len(columns)
        if len(columns) != images:
            raise SeewhyError(f"{name} has {len(columns)} images, and {metrics[0]} {images}")
        columns = -columns if higher_is_better[name] is False else columns
        parts.append(_signs(columns) if kind == "kendall" else _centered_ranks(columns))
    m = len(metrics)
    values, n = np.full((m, m), np.nan), np.zeros((m, m), dtype=np.int64)
    for i, one in enumerate(parts):
        for j, other in enumerate(parts):
            scale = np.sqrt((one**2).sum(1) * (other**2).sum(1))
            defined = scale > 0
            n[i, j] = defined.sum()
            if n[i, j]:
                values[i, j] = ((one * other).sum(1)[defined] / scale[defined]).clip(-1, 1).mean()
    return Agreement(metrics, values, n)


def _signs(columns: Array) -> Array:
    """(n, e (e - 1) / 2): tau-b is the cosine of the signs of all differences."""
    first, second = np.triu_indices(columns.shape[1], 1)
    return np.sign(columns[:, first] - columns[:, second])


def _centered_ranks(columns: Array) -> Array:
    """(n, e): rho is the cosine of the centered ranks."""
    placed: Array = stats.rankdata(columns, axis=1)
    return placed - placed.mean(1, keepdims=True)
