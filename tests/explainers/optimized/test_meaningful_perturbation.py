"""Meaningful perturbation: the loss and the first steps written again, slowly and literally, in float64."""

from itertools import product
from math import ceil, sqrt

import pytest
import torch
from support.slow_masks import same, slow_blur, slow_upsample
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.explainers import explainer


@pytest.mark.parametrize("game", ["delete", "preserve"])
def test_meaningful_perturbation_step_by_step(double: Classifier, image: Tensor, game: str) -> None:
    target, scale = 1, 8 / 224
    options = {"cells": 4, "steps": 3, "max_blur": 40.0, "mask_blur": 20.0, "jitter": 112.0, "sparsity": 0.02, "game": game}
    found = explainer("meaningful_perturbation", double, variation=0.3, **options).explain(image, torch.tensor([target]))[0]

    def score(x: Tensor, gone: Tensor, mask: Tensor) -> Tensor:
        return double.probabilities(gone + mask * (x - gone))[0, target]

    removed = torch.stack([slow_blur(c, 40 * scale, ceil(160 * scale)) for c in image[0]])[None]
    # the smallest circle that does 99 % of what all of it does
    wide, circles = 5 * scale, []
    reach = max(sqrt((i - 4.5) ** 2 + (j - 3.5) ** 2) for i in range(10) for j in range(8))
    for r in range(ceil(reach / wide) + 2):
        rows = [[float(sqrt((i - 4.5) ** 2 + (j - 3.5) ** 2) < r * wide) for j in range(8)] for i in range(10)]
        disk = slow_blur(torch.tensor(rows, dtype=torch.float64), 10 * scale, ceil(40 * scale))
        circles.append(1 - disk if game == "delete" else disk)
    scores = [float(score(image, removed, circle).detach()) for circle in circles]
    whole = scores[0] - scores[-1]
    start = next(k for k, s in enumerate(scores) if (scores[0] - s) * (1 if whole > 0 else -1) >= 0.99 * abs(whole))
    if whole * (1 if game == "delete" else -1) <= 0:
        start = 0  # what all pixels do is the wrong way
    m = torch.nn.functional.adaptive_avg_pool2d(circles[start][None], (5, 4))[0]

    moves = torch.randint(0, 5, (3, 2), generator=torch.Generator().manual_seed(0)).tolist()
    pad = nn.ReflectionPad2d(2)
    first, second = torch.zeros(5, 4), torch.zeros(5, 4)
    for t, (y, x) in enumerate(moves):
        m.requires_grad_()
        mask = slow_blur(slow_upsample(m, (10, 8)), 20 * scale, ceil(80 * scale))
        moved, gone = (pad(a)[..., y : y + 10, x : x + 8] for a in (image, removed))
        loss = score(moved, gone, mask) * (1 if game == "delete" else -1)
        loss = loss + 0.02 * sum(1 - v if game == "delete" else v for v in m.flatten())
        for i, j in product(range(5), range(4)):
            loss = loss + (0.3 * (m[i + 1, j] - m[i, j]).abs() ** 3 if i < 4 else 0)
            loss = loss + (0.3 * (m[i, j + 1] - m[i, j]).abs() ** 3 if j < 3 else 0)
        (slope,) = torch.autograd.grad(loss, m)
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        change = first / (1 - 0.9 ** (t + 1)) / ((second / (1 - 0.999 ** (t + 1))).sqrt() + 1e-8)
        m = (m.detach() - 0.1 * change).clamp(0, 1)
    mask = slow_blur(slow_upsample(m, (10, 8)), 20 * scale, ceil(80 * scale))
    same(found, 1 - mask if game == "delete" else mask)
    assert found.std() > 1e-3
