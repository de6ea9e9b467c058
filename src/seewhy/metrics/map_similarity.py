"""How alike two maps are: the measures of Adebayo et al. (2018), one number for each pair, finite for every map.

A constant map has no order, no edges and no structure. By every measure, two constant maps are alike (1), and a constant
map and another are not (0).
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from scipy.stats import rankdata
from skimage.feature import hog
from skimage.metrics import structural_similarity
from torch import Tensor

from seewhy.errors import SeewhyError
from seewhy.maps import min_max
from seewhy.metrics.correlation import correlation
from seewhy.types import Attribution, Scores

_ssim: Any = structural_similarity
Similarity = Literal["rank", "absolute_rank", "hog", "ssim"]
CELL = 16
"""Side of a cell of the HOG, in pixels, in the paper's images of 224 and 299 pixels."""
CELLS = 4
"""The least number of cells along the shorter side: a smaller map has smaller cells."""
WINDOW = 7
"""Side of the window of the SSIM; the largest odd one that fits a smaller map."""


def rank_correlation(a: Attribution, b: Attribution) -> Scores:
    """(n,) Spearman's correlation of the values in [-1, 1]; equal values share the mean of their ranks."""
    return _pairs(a, b, lambda x, y: _pearson(rankdata(x), rankdata(y)))


def absolute_rank_correlation(a: Attribution, b: Attribution) -> Scores:
    """(n,) Spearman's correlation of the absolute values: maps that differ in sign alone are alike."""
    return rank_correlation(a.abs(), b.abs())


def hog_similarity(a: Attribution, b: Attribution) -> Scores:
    """(n,) Pearson's correlation of the histograms of oriented gradients, in [-1, 1].

    Maps are first stretched to [0, 1]; 9 orientations, cells of 16 x 16 pixels, one cell a block. A map of less than 64
    pixels has smaller cells, four along its shorter side.
    """
    side = min(a.shape[-2:])
    if side < CELLS:
        raise SeewhyError(f"hog needs maps of at least {CELLS} x {CELLS} pixels, these are {a.shape[-2]} x {a.shape[-1]}")
    cell = min(CELL, side // CELLS)

    def features(x: np.ndarray) -> np.ndarray:
        return np.asarray(hog(x, orientations=9, pixels_per_cell=(cell, cell), cells_per_block=(1, 1)))

    return _pairs(min_max(a), min_max(b), lambda x, y: _pearson(features(x), features(y)))


def ssim(a: Attribution, b: Attribution) -> Scores:
    """(n,) structural similarity in [-1, 1] of the maps stretched to [0, 1]: uniform windows of 7 x 7 pixels."""
    window = min(WINDOW, (min(a.shape[-2:]) - 1) // 2 * 2 + 1)
    if window < 3:
        raise SeewhyError(f"ssim needs maps of at least 3 x 3 pixels, these are {a.shape[-2]} x {a.shape[-1]}")
    return _pairs(min_max(a), min_max(b), lambda x, y: float(_ssim(x, y, win_size=window, data_range=1.0)))


SIMILARITIES: dict[Similarity, Callable[[Attribution, Attribution], Scores]] = {
    "rank": rank_correlation,
    "absolute_rank": absolute_rank_correlation,
    "hog": hog_similarity,
    "ssim": ssim,
}


def _pairs(a: Tensor, b: Tensor, compare: Callable[[np.ndarray, np.ndarray], float]) -> Scores:
    """``compare`` for each pair of maps; 1 or 0 for a pair with a constant map."""
    if a.shape != b.shape:
        raise SeewhyError(f"maps of shape {tuple(a.shape)} cannot be compared with maps of {tuple(b.shape)}")
    found = []
    for x, y in zip(a.detach().double().cpu().numpy(), b.detach().double().cpu().numpy(), strict=True):
        flat = (_constant(x), _constant(y))
        found.append(float(all(flat)) if any(flat) else compare(x, y))
    return torch.tensor(found, dtype=torch.float64).to(a.dtype).to(a.device)


def _constant(x: np.ndarray) -> bool:
    return bool(x.min() == x.max())


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Correlation of two vectors, which may be constant: a map without gradients in the middle of any cell has no HOG."""
    a, b = (torch.from_numpy(np.asarray(v, dtype=np.float64).reshape(1, -1)) for v in (x, y))
    rho, defined = correlation(a, b)
    return float(rho) if defined.item() else float(_constant(x) and _constant(y))
