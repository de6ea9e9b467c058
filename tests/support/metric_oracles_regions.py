"""The metrics of place, class and simplicity, written again slowly and literally: NumPy, float64, one image at a time.

Nothing of the library is used. A map is an array (h, w), a region an array of booleans, a box (left, top, right, bottom).
"""

from collections.abc import Callable
from itertools import pairwise, permutations
from math import ceil, exp, floor, log

import numpy as np

Array = np.ndarray


def pixels(a: Array) -> list[tuple[int, int]]:
    return [(i, j) for i in range(a.shape[0]) for j in range(a.shape[1])]


def min_max(a: Array) -> Array:
    low, high = float(a.min()), float(a.max())
    return np.zeros_like(a) if low == high else (a - low) / (high - low)


# -- regions ----------------------------------------------------------------------------------------------------------


def relevance_mass(a: Array, r: Array) -> float:
    total = sum(max(a[p], 0.0) for p in pixels(a))
    return sum(max(a[p], 0.0) for p in pixels(a) if r[p]) / total if total else 0.0


def relevance_rank(a: Array, r: Array) -> float:
    """Each pixel of the region adds its chance to be among the k highest."""
    k = int(r.sum())
    hits = 0.0
    for p in pixels(a):
        if r[p]:
            higher = sum(a[q] > a[p] for q in pixels(a))
            level = sum(a[q] == a[p] for q in pixels(a))
            hits += min(max((k - higher) / level, 0.0), 1.0)
    return hits / k if k else 0.0


def over_all_orders(a: Array, r: Array, figure: Callable[[list[tuple[int, int]]], float]) -> float:
    """Mean of a figure over all orders of the pixels that put no pixel before a higher one."""
    allowed = [o for o in permutations(pixels(a)) if all(a[p] >= a[q] for p, q in pairwise(o))]
    return sum(figure(list(o)) for o in allowed) / len(allowed)


def pointing_game(a: Array, r: Array, tolerance: int = 0) -> float:
    best = [p for p in pixels(a) if a[p] == a.max()]

    def hit(p: tuple[int, int]) -> bool:
        return any(r[q] and (p == q or (p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2 < tolerance**2) for q in pixels(a))

    return sum(hit(p) for p in best) / len(best)


def mask_accuracy(m: Array, r: Array) -> float:
    return sum(m[p] * r[p] + (1 - m[p]) * (1 - r[p]) for p in pixels(m)) / m.size


def mask_mae(m: Array, r: Array) -> float:
    return sum(abs(m[p] - r[p]) for p in pixels(m)) / m.size


def mask_iou(m: Array, r: Array) -> float:
    union = sum(max(m[p], r[p]) for p in pixels(m))
    return sum(min(m[p], r[p]) for p in pixels(m)) / union if union else 0.0


def pixel_f1(m: Array, r: Array) -> float:
    inside, total, area = sum(m[p] for p in pixels(m) if r[p]), float(m.sum()), int(r.sum())
    if not inside:
        return 0.0
    precision, recall = inside / total, inside / area
    return 2 * precision * recall / (precision + recall)


# -- boxes ------------------------------------------------------------------------------------------------------------


def boxes_of(mask: Array) -> list[tuple[int, int, int, int]]:
    """Around each of the largest components, found by flooding; the image if there is none."""
    left = {p for p in pixels(mask) if mask[p]}
    components: list[set[tuple[int, int]]] = []
    while left:
        front = [left.pop()]
        component = set(front)
        while front:
            i, j = front.pop()
            near = {(i + u, j + v) for u in (-1, 0, 1) for v in (-1, 0, 1)} & left
            left -= near
            component |= near
            front += near
        components.append(component)
    if not components:
        return [(0, 0, mask.shape[1], mask.shape[0])]
    most = max(map(len, components))
    found = []
    for c in components:
        if len(c) == most:
            rows, columns = [i for i, _ in c], [j for _, j in c]
            found.append((min(columns), min(rows), max(columns) + 1, max(rows) + 1))
    return found


def box_iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0.0) * max(height, 0.0)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def localization_error(a: Array, truth: list[tuple[float, ...]]) -> float:
    predicted = boxes_of(a > a.mean())
    return 1 - sum(max((box_iou(p, b) for b in truth), default=0.0) for p in predicted) / len(predicted)


def box_hits(a: Array, truth: list[tuple[float, ...]], eta: float, delta: float) -> float:
    predicted = boxes_of(min_max(a) > eta)
    return sum(any(box_iou(p, b) >= delta for b in truth) for p in predicted) / len(predicted)


def saliency_metric(a: Array, probability: float) -> float:
    shares = [(b[2] - b[0]) * (b[3] - b[1]) / a.size for b in boxes_of(a > a.mean())]
    return sum(log(max(0.05, s)) for s in shares) / len(shares) - log(probability)


# -- simplicity -------------------------------------------------------------------------------------------------------


def complexity(a: Array) -> float:
    total = float(np.abs(a).sum())
    shares = [abs(v) / total if total else 1 / a.size for v in a.ravel()]
    return -sum(q * log(q) for q in shares if q)


def sparseness(a: Array) -> float:
    """Half the mean absolute difference of two pixels, in units of the mean."""
    b = np.abs(a).ravel()
    return sum(abs(x - y) for x in b for y in b) / (2 * b.size**2 * b.mean()) if b.any() else 0.0


def effective_size(a: Array, threshold: float) -> float:
    return sum(abs(v) > threshold * np.abs(a).max() for v in a.ravel()) / a.size if a.any() else 1.0


def tie_share(a: Array) -> float:
    return sum(sum(v == u for u in a.ravel()) > 1 for v in a.ravel()) / a.size


# -- classes ----------------------------------------------------------------------------------------------------------


def softmax(logits: Array) -> Array:
    powers = [exp(z - max(logits)) for z in logits]
    return np.array([p / sum(powers) for p in powers])


def faded(image: Array, mask: Array, color: tuple[float, ...]) -> Array:
    """Through the normalized image it would be (x - mean) / std * mask; in pixels that is this."""
    out = np.empty_like(image)
    for k in range(image.shape[0]):
        for p in pixels(mask):
            out[(k, *p)] = color[k] + mask[p] * (image[(k, *p)] - color[k])
    return out


def enlarged(image: Array, box: tuple[int, int, int, int]) -> Array:
    """The inside of a box, bilinear with corners not aligned, as large as the image."""
    left, top, right, bottom = box
    part = image[:, top:bottom, left:right]
    h, w = image.shape[1:]

    def ends(place: int, size: int, cells: int) -> tuple[int, int, float]:
        x = min(max((place + 0.5) * cells / size - 0.5, 0.0), cells - 1.0)
        return floor(x), ceil(x), x - floor(x)

    out = np.empty_like(image)
    for k in range(image.shape[0]):
        for y, x in pixels(image[0]):
            i, i1, p = ends(y, h, bottom - top)
            j, j1, q = ends(x, w, right - left)
            upper, lower = (part[k, row, j] * (1 - q) + part[k, row, j1] * q for row in (i, i1))
            out[k, y, x] = upper * (1 - p) + lower * p
    return out
