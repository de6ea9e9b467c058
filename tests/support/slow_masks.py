"""Blurs, pyramids and smooth maxima pixel by pixel, and a network whose evidence is planted: for masks found by descent."""

from itertools import product
from math import ceil, exp, sqrt

import torch
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.explainers.optimized.smooth_masks import blur


def slow_blur(plane: Tensor, sigma: float, reach: int) -> Tensor:
    """(h, w), by a sum over the window; the border mirrors."""
    h, w = plane.shape
    up, across = min(reach, h - 1), min(reach, w - 1)

    def mirrored(i: int, side: int) -> int:
        return -i if i < 0 else 2 * (side - 1) - i if i >= side else i

    def at(i: int, j: int) -> Tensor:
        total, sum_of_weights = torch.zeros((), dtype=plane.dtype), 0.0
        for dy, dx in product(range(-up, up + 1), range(-across, across + 1)):
            weight = exp(-(dy**2 + dx**2) / (2 * sigma**2))
            total = total + weight * plane[mirrored(i + dy, h), mirrored(j + dx, w)]
            sum_of_weights += weight
        return total / sum_of_weights

    return torch.stack([torch.stack([at(i, j) for j in range(w)]) for i in range(h)])


def slow_upsample(m: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, corners not aligned."""

    def taps(i: int, old: int, new: int) -> list[tuple[int, float]]:
        place = max((i + 0.5) * old / new - 0.5, 0.0)
        low = min(int(place), old - 1)
        return [(low, 1 - (place - low)), (min(low + 1, old - 1), place - low)]

    rows = []
    for i in range(size[0]):
        row = []
        for j in range(size[1]):
            pairs = product(taps(i, m.shape[0], size[0]), taps(j, m.shape[1], size[1]))
            row.append(torch.stack([m[y, x] * a * b for (y, a), (x, b) in pairs]).sum())
        rows.append(torch.stack(row))
    return torch.stack(rows)


def slow_smooth_maximum(points: Tensor, size: tuple[int, int], step: int, sigma: float, coldness: float) -> Tensor:
    """(h, w) of points (gh, gw): at each pixel the soft maximum of K(u - v) points(v); the border's go on beyond."""
    (h, w), (gh, gw), radius = size, points.shape, 1 + ceil(sigma / step)
    top, left = (gh * step - h) // 2, (gw * step - w) // 2

    def at(i: int, j: int) -> Tensor:
        y, x = i + top, j + left
        f = []
        for oy, ox in product(range(-radius, radius + 1), repeat=2):
            gy, gx = y // step + oy, x // step + ox
            distance = sqrt((y - (gy * step + (step - 1) / 2)) ** 2 + (x - (gx * step + (step - 1) / 2)) ** 2)
            bump = exp(-2 * max(0.0, distance / sigma - 0.5) ** 2)
            f.append(bump * points[min(max(gy, 0), gh - 1), min(max(gx, 0), gw - 1)])
        values = torch.stack(f)
        return (values * (coldness * values).exp()).sum() / (coldness * values).exp().sum()

    return torch.stack([torch.stack([at(i, j) for j in range(w)]) for i in range(h)])


def same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-10)


class Reads(nn.Module):
    """Logit 1 is the agreement with a pattern in a patch, which any blur destroys; logit 0 is 0."""

    def __init__(self, pattern: Tensor) -> None:
        super().__init__()
        self.pattern = nn.Parameter(pattern)

    def forward(self, x: Tensor) -> Tensor:
        score = (x * self.pattern).flatten(1).sum(1)
        return torch.stack([torch.zeros_like(score), score], 1)


def planted(size: tuple[int, int] = (32, 32), strength: float = 1.0) -> tuple[Classifier, Tensor, Tensor]:
    """A network, an image, and the patch that alone it reads."""
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(2))
    region = torch.zeros(size, dtype=torch.bool)
    region[5:15, 16:26] = True
    pattern = (image - blur(image, 3.0))[0].sign() * region
    pattern = pattern - region * pattern[:, region].mean(1)[:, None, None]
    classifier = Classifier(Reads(strength * pattern), mean=(0.0,) * 3, std=(1.0,) * 3, input_size=size)
    return classifier, image, region
