"""The masking and ordering metrics again, slowly and literally: one image, one pixel, one set at a time, in float64."""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
V = Callable[[Array], Array]
"""The network: (c, h, w) -> (k,) logits."""


def softmax(z: Array) -> Array:
    e = np.exp(z - z.max())
    return e / e.sum()


def min_max(a: Array) -> Array:
    return np.zeros_like(a) if a.max() == a.min() else (a - a.min()) / (a.max() - a.min())


def drop_gain_increase(f: V, x: Array, c: int, a: Array, b: Array) -> tuple[float, float, float]:
    """Opti-CAM eq. 13 to 15 for one image; b is what stands for removed."""
    m = min_max(a)
    p, o = softmax(f(x))[c], softmax(f(x * m + b * (1 - m)))[c]
    return max(0.0, p - o) / p, max(0.0, o - p) / (1 - p), float(p < o)


def order_of(scores: list[float]) -> list[int]:
    """Players from the highest score to the lowest; the scores must differ."""
    assert len(set(scores)) == len(scores)
    return sorted(range(len(scores)), key=lambda i: -scores[i])


def without(x: Array, b: Array, division: list[list[tuple[int, int]]], gone: list[int]) -> Array:
    """x with the pixels of the players ``gone`` taken from b."""
    out = x.copy()
    for player in gone:
        for i, j in division[player]:
            out[:, i, j] = b[:, i, j]
    return out


def patches(h: int, w: int, size: int) -> list[list[tuple[int, int]]]:
    out = []
    for top in range(0, h, size):
        for left in range(0, w, size):
            rows, columns = range(top, min(top + size, h)), range(left, min(left + size, w))
            out.append([(i, j) for i in rows for j in columns])
    return out


def pixels(h: int, w: int) -> list[list[tuple[int, int]]]:
    return [[(i, j)] for i in range(h) for j in range(w)]


def player_means(a: Array, division: list[list[tuple[int, int]]]) -> list[float]:
    return [float(np.mean([a[i, j] for i, j in player])) for player in division]


def probability(f: V, x: Array, c: int) -> float:
    return float(softmax(f(x))[c])


def deletion_curve(f: V, x: Array, c: int, a: Array, b: Array, division: list[list[tuple[int, int]]]) -> list[float]:
    """RISE: the probability with the best 0, 1, ..., p players gone."""
    order = order_of(player_means(a, division))
    return [probability(f, without(x, b, division, order[:k]), c) for k in range(len(order) + 1)]


def insertion_curve(f: V, x: Array, c: int, a: Array, b: Array, division: list[list[tuple[int, int]]]) -> list[float]:
    """RISE: the probability with only the best 0, 1, ..., p players there."""
    order = order_of(player_means(a, division))
    return [probability(f, without(x, b, division, order[k:]), c) for k in range(len(order) + 1)]


def trapezoid(y: list[float], x: list[float]) -> float:
    return sum((x[i + 1] - x[i]) * (y[i] + y[i + 1]) / 2 for i in range(len(y) - 1))


def lif_mif(v: Callable[[set[int]], float], phi: list[float]) -> tuple[float, float]:
    """Salvage, algorithm 1, for LIF and for MIF."""
    n = len(phi)
    out = []
    for reverse in (True, False):
        ordered = sorted(range(n), key=lambda i: phi[i], reverse=reverse)
        preds, kept = [], set()
        for i in range(n):
            kept.add(ordered[i])
            preds.append(v(set(kept)))
        out.append(sum(preds) / n)
    return out[0], out[1]


def drawn_exactly(weights: list[float], size: int) -> dict[frozenset[int], float]:
    """The probability of each set of ``size`` players drawn one after another in proportion to the weights (> 0)."""
    found: dict[frozenset[int], float] = {}

    def grow(taken: tuple[int, ...], chance: float) -> None:
        if len(taken) == size:
            found[frozenset(taken)] = found.get(frozenset(taken), 0.0) + chance
            return
        rest = sum(w for i, w in enumerate(weights) if i not in taken)
        for i, w in enumerate(weights):
            if i not in taken and w > 0:
                grow((*taken, i), chance * w / rest)

    grow((), 1.0)
    return found


def aopc(curve: list[float], regions: int) -> float:
    """Samek et al., eq. 12."""
    return sum(curve[0] - curve[k] for k in range(regions + 1)) / (regions + 1)


def allegiance(f: V, x: Array, a: Array, target: float, fractions: list[float]) -> list[float]:
    """Llorente et al.: min-max, threshold at place round(p * H * W) of the descending values, strict, never a zero."""
    m = min_max(a)
    ordered = sorted(m.flatten(), reverse=True)
    out = []
    for p in fractions:
        y = x.copy()
        if p > 0:
            cut = ordered[min(round(p * m.size), m.size - 1)]
            for i in range(m.shape[0]):
                for j in range(m.shape[1]):
                    if m[i, j] > cut and m[i, j] != 0:
                        y[:, i, j] = target
        out.append(float(np.argmax(f(y)) == np.argmax(f(x))))
    return out


def pearson(a: list[float], b: list[float]) -> float:
    x, y = np.array(a) - np.mean(a), np.array(b) - np.mean(b)
    return float((x * y).sum() / math.sqrt((x**2).sum() * (y**2).sum()))


def faithfulness_estimate(f: V, x: Array, c: int, a: Array, b: Array, features: int) -> float:
    """Groups of ``features`` pixels in descending order, each removed alone; sums against falls of the logit."""
    division = pixels(*a.shape)
    order = order_of(player_means(min_max(a), division))
    sums, falls = [], []
    for start in range(0, len(order), features):
        group = order[start : start + features]
        sums.append(sum(min_max(a).flatten()[g] for g in group))
        falls.append(float(f(x)[c] - f(without(x, b, division, group))[c]))
    return pearson(sums, falls)


def imputed(x: Array, gone: NDArray[np.bool_]) -> Array:
    """ROAD: each missing pixel the weighted mean of its neighbors, as one dense linear system."""
    h, w = gone.shape
    missing = [(i, j) for i in range(h) for j in range(w) if gone[i, j]]
    place = {ij: n for n, ij in enumerate(missing)}
    out = x.copy()
    for c in range(len(x)):
        system, right = np.zeros((len(missing), len(missing))), np.zeros(len(missing))
        for n, (i, j) in enumerate(missing):
            total = 0.0
            for di in (-1, 0, 1):
                for dj in (-1, 0, 1):
                    ij = (i + di, j + dj)
                    if (di, dj) == (0, 0) or not (0 <= ij[0] < h and 0 <= ij[1] < w):
                        continue
                    weight = 1 / 6 if di == 0 or dj == 0 else 1 / 12
                    total += weight
                    if ij in place:
                        system[n, place[ij]] -= weight
                    else:
                        right[n] += weight * x[c][ij]
            system[n, n] += total
        for n, value in enumerate(np.linalg.solve(system, right)):
            out[c][missing[n]] = value
    return out


def adcc(coherency: float, complexity: float, drop: float) -> float:
    """Poppi et al., eq. 6."""
    return 3 / (1 / coherency + 1 / (1 - complexity) + 1 / (1 - drop))
