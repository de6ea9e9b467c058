"""iGOS++: the loss and the first steps written again, slowly and literally, in float64; and its line search."""

from collections import Counter
from math import exp

import pytest
import torch
from support.slow_masks import same, slow_blur, slow_upsample
from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.explainers.optimized.igos_pp import IGOSPlusPlus, _Search
from seewhy.explainers.optimized.smooth_masks import blur
from seewhy.explainers.selectors import Selector


@pytest.mark.parametrize(("selector", "sparsity"), [("logit", 0.1), ("probability", 1e-4)])
def test_igos_pp_step_by_step(double: Classifier, image: Tensor, selector: Selector, sparsity: float) -> None:
    target, s, scale = 2, 3, 8 / 224
    options = {"cells": 4, "path_steps": s, "iterations": 2, "sparsity": sparsity, "variation": 2.0, "edge": 0.5}
    method = IGOSPlusPlus(double, selector=selector, **options)  # type: ignore[arg-type]
    found = method.explain(image, torch.tensor([target]))[0]
    removed = torch.stack([slow_blur(c, 50 * scale, round(25 * scale)) for c in image[0]])[None]
    mean, std = (torch.tensor(v, dtype=torch.float64)[:, None, None] for v in (double.mean, double.std))
    normal = (image[0] - mean) / std

    def loss(m: Tensor, noise: Tensor) -> Tensor:
        up = [slow_upsample(mask, (10, 8)) for mask in (m[0], m[1], m[0] * m[1])]
        total = torch.zeros((), dtype=torch.float64)
        for k in range(1, s + 1):
            for deleting, inserting in ((up[0], up[1]), (up[2], up[2])):
                deleted = image * (k / s * deleting) + removed * (1 - k / s * deleting)
                inserted = removed * (k / s * inserting) + image * (1 - k / s * inserting)
                logits = double.logits(torch.cat([deleted, inserted]) + 0.2 * std * noise[k - 1])
                scores = (logits if selector == "logit" else logits.softmax(1))[:, target]
                total = total + (scores[0] - scores[1]) / s / 2
        both, fine = m[0] * m[1], up[2]
        total = total + sparsity * (1 - both).sum() / both.numel()
        for mask, weigh in ((both, False), (fine, True)):
            h, w = mask.shape
            for dy, dx in ((1, 0), (0, 1)):
                pairs = [((i, j), (i + dy, j + dx)) for i in range(h - dy) for j in range(w - dx)]
                for a, b in pairs:
                    edge = sum((float(normal[c][a]) - float(normal[c][b])) ** 2 for c in range(3)) / 3
                    weight = exp(-edge / 0.5) if weigh else 1.0
                    total = total + 2.0 * 0.5 * weight * (mask[a] - mask[b]) ** 2 / len(pairs)
        return total

    generator, m = torch.Generator().manual_seed(0), torch.ones(2, 5, 4, dtype=torch.float64)
    for _ in range(2):
        noise = torch.randn(s, 3, 10, 8, generator=generator).double()
        m.requires_grad_()
        before = loss(m, noise)
        (slope,) = torch.autograd.grad(before, m)
        m, before, alpha = m.detach(), before.detach(), 1000.0
        while True:
            there = (m - alpha * slope).clamp(0, 1)
            with torch.no_grad():
                if alpha < 1e-5 or loss(there, noise) <= before - 1e-4 * float((slope * (m - there)).sum()):
                    break
            alpha /= 5
        m = there
    torch.testing.assert_close(found, 1 - slow_upsample(m[0] * m[1], (10, 8)), rtol=1e-5, atol=1e-7)  # steps of 1000
    assert found.std() > 1e-3


def test_igos_pp_on_a_grid_of_one_cell(image: Tensor, double: Classifier) -> None:
    """One cell has no neighbor, and so no variation: the loss is a number."""
    search = _Search(IGOSPlusPlus(double, cells=1, path_steps=3), image, blur(image, 2.0), torch.tensor([[2]]))
    assert torch.isfinite(search.simplicity(torch.full((2, 1, 1), 0.5, dtype=torch.float64)))
    method = IGOSPlusPlus(double, cells=1, selector="logit", sparsity=0.0, iterations=2, path_steps=2)
    assert torch.isfinite(method.explain(image, torch.tensor([2]))).all()


def test_igos_pp_never_climbs(image: Tensor, double: Classifier) -> None:
    method = IGOSPlusPlus(double, cells=4, path_steps=3, selector="logit")
    search = _Search(method, image, blur(image, 2.0), torch.tensor([[2]]))
    noise, m = torch.zeros(3, 3, 10, 8, dtype=torch.float64), torch.ones(2, 5, 4, dtype=torch.float64)
    for _ in range(4):
        m, before = search.step(m, noise), search.loss(m, noise)
        assert search.loss(m, noise) <= before
        same(search.slope(m, noise)[0], search.loss(m, noise))


def test_igos_pp_refuses_a_step_by_its_mask_alone_only_where_no_probability_could_save_it(
    image: Tensor, double: Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged, passes = Counter[str](), _Search.loss
    method = IGOSPlusPlus(double, cells=4, path_steps=3, variation=10.0)
    search = _Search(method, image, blur(image, 2.0), torch.tensor([[2]]))
    noise = torch.zeros(3, 3, 10, 8, dtype=torch.float64)
    g = torch.Generator().manual_seed(0)

    def counted(search: _Search, m: Tensor, noise: Tensor) -> Tensor:
        judged["passes"] += 1
        return passes(search, m, noise)

    monkeypatch.setattr(_Search, "loss", counted)
    for enough in torch.linspace(-1, 4, 40, dtype=torch.float64):
        m = torch.rand(2, 5, 4, dtype=torch.float64, generator=g)
        assert search.reaches(m, noise, enough) == bool(passes(search, m, noise) <= enough)
    assert 5 < judged["passes"] < 35
