"""The similarity of the maps of two explainers: rank correlation over a coarse grid."""

from collections.abc import Mapping
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch.nn import functional as F

from seewhy.evaluation.bootstrap import Array
from seewhy.report.run_numbers import Key

GRID_SIDE = 14
"""Cells of the grid in each direction; on a coarse grid, maps that differ by a few pixels are similar."""
Maps = Mapping[tuple[int, int], NDArray[np.float32]]
"""Small raw maps (h, w) of one explainer, by place in the dataset and class explained."""


class Disagreement(NamedTuple):
    """Two explainers whose maps of one row differ, and the rank correlation of these maps."""

    key: Key
    first: str
    second: str
    correlation: float


class MapSimilarity(NamedTuple):
    """``rows`` (r, e, e): the rank correlations of r rows, ``keys``, and e explainers; NaN where a map is constant."""

    explainers: list[str]
    keys: list[Key]
    rows: Array

    @property
    def means(self) -> Array:
        """(e, e) means over the rows; NaN where no row is defined."""
        means: Array = np.ma.masked_invalid(self.rows).mean(axis=0).filled(np.nan)
        return means

    def lowest(self, among: list[str], most: int = 6) -> list[Disagreement]:
        """The rows and pairs of explainers with the lowest correlation; no image and no pair twice."""
        places = [i for i, name in enumerate(self.explainers) if name in among]
        cells = [(row, i, j) for row in range(len(self.keys)) for i, j in combinations(places, 2)]
        known = [cell for cell in cells if np.isfinite(self.rows[cell])]
        found: list[Disagreement] = []
        images, pairs = set[int](), set[tuple[int, int]]()
        for row, i, j in sorted(known, key=lambda cell: self.rows[cell]):
            key = self.keys[row]
            if key.image not in images and (i, j) not in pairs:
                images.add(key.image)
                pairs.add((i, j))
                found.append(Disagreement(key, self.explainers[i], self.explainers[j], float(self.rows[row, i, j])))
        return found[:most]


def map_similarity(maps: Mapping[str, Maps]) -> MapSimilarity:
    """The similarity on the rows of which every explainer has a map; explainers without any map are left out."""
    present = {name: found for name, found in maps.items() if found}
    names = list(present)
    shared = set.intersection(*(set(found) for found in present.values())) if present else set()
    keys = [Key(*key) for key in sorted(shared)]
    rows = np.full((len(keys), len(names), len(names)), np.nan)
    for row, key in enumerate(keys):
        cells = np.stack([pooled(present[name][key]) for name in names])
        ranked = stats.rankdata(cells, axis=1)
        varied = np.ptp(ranked, axis=1) > 0
        if varied.any():
            rows[row][np.ix_(varied, varied)] = np.corrcoef(ranked[varied])
    return MapSimilarity(names, keys, rows)


def pooled(values: NDArray[np.float32]) -> Array:
    """(cells,) means of (h, w) over a grid of at most 14 x 14."""
    size = min(GRID_SIDE, values.shape[0]), min(GRID_SIDE, values.shape[1])
    found: Array = F.adaptive_avg_pool2d(torch.from_numpy(values)[None].double(), size).numpy().ravel()
    return found
