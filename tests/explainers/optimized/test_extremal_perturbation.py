"""Extremal perturbation and the smooth pixel mask: the loss and the first steps written again in float64, and the areas."""

from dataclasses import replace
from itertools import product
from math import ceil, exp, sqrt
from typing import cast

import pytest
import torch
from support.slow_masks import planted, same, slow_blur, slow_smooth_maximum
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.explainers import explainer
from seewhy.explainers.optimized import extremal_perturbation
from seewhy.explainers.optimized.extremal_perturbation import ExtremalPerturbation, area_error, of_area


def slow_area_error(mask: Tensor, area: float) -> Tensor:
    values, n = sorted(mask.flatten(), key=lambda v: v.item()), mask.numel()
    zeros = round((1 - area) * n)
    wanted = [0.0] * zeros + [1.0] * (n - zeros)
    tied = [i for i in range(n) if abs((values[i] - values[zeros]).item()) < 1e-5]
    share = sum(wanted[i] for i in tied) / len(tied)
    for i in tied:
        wanted[i] = share
    return torch.stack([(value - want) ** 2 for value, want in zip(values, wanted, strict=True)]).mean()


def test_area_error() -> None:
    masks = torch.rand(2, 5, 4, dtype=torch.float64)
    errors = area_error(masks, torch.tensor([0.1, 0.35], dtype=torch.float64))
    same(errors, torch.stack([slow_area_error(masks[0], 0.1), slow_area_error(masks[1], 0.35)]))
    exact = torch.zeros(1, 5, 4)
    exact[0, 2, 1:3] = 1
    assert area_error(exact, torch.tensor([0.1])) == 0
    ties = torch.ones(1, 5, 4, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(area_error(ties, torch.tensor([0.1])).sum(), ties)
    same(slope, torch.full_like(slope, 2 * 0.9 / 20))  # all give way alike, whichever was sorted first


@pytest.mark.parametrize("game", ["preserve", "delete"])
def test_extremal_perturbation_step_by_step(
    double: Classifier, image: Tensor, game: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ExtremalPerturbation, "_fitted", lambda self, points, _area, size: self._smooth(points, size))
    monkeypatch.setattr(extremal_perturbation, "of_area", lambda masks, _areas: masks)
    target, area, scale = 3, 0.2, 8 / 224
    options = {"step": 56.0, "sigma": 70.0, "max_blur": 40.0, "levels": 4, "steps": 3, "areas": (area,), "game": game}
    mask = explainer("extremal_perturbation", double, selector="contrast", **options).explain(image, torch.tensor([target]))[
        0
    ]

    points, buffer = torch.ones(5, 4, dtype=torch.float64), None
    for t in range(3):
        points.requires_grad_()
        m = slow_smooth_maximum(points, (10, 8), 2, 70 * scale, 20)
        levels = [
            torch.stack([slow_blur(c, 40 * scale * (1 - k / 3), ceil(4 * 40 * scale * (1 - k / 3))) for c in image[0]])
            if k < 3
            else image[0]
            for k in range(4)
        ]
        seen = torch.zeros(3, 10, 8, dtype=torch.float64)
        for k in range(4):  # hat functions are the linear interpolation between levels
            at = m if game == "preserve" else 1 - m
            seen = seen + (1 - (3 * at - k).abs()).clamp_min(0) * levels[k]
        logits = double.logits((seen.flip(2) if t % 2 == 0 else seen)[None])[0]
        reward = logits[target] - max(logits[k] for k in range(5) if k != target)
        energy = (reward if game == "preserve" else -reward) - 300 * 1.0035**t * slow_area_error(m, area)
        (slope,) = torch.autograd.grad(-energy, points)
        buffer = slope if buffer is None else 0.9 * buffer + (1 - 0.9) * slope
        points = (points.detach() - 0.01 * buffer).clamp(0, 1)
    same(mask, slow_smooth_maximum(points, (10, 8), 2, 70 * scale, 20))
    assert mask.std() > 1e-4


def test_the_area_is_the_one_asked_for() -> None:
    """Within 2 % of the area, also where nothing says what to keep; in fewer steps by larger weights."""
    areas = (0.05, 0.1, 0.3)
    quick: dict[str, object] = {"steps": 160, "learning_rate": 0.05, "area_weight": 1500.0, "areas": areas, "flip": False}
    classifier, image, _ = planted(strength=0.3)
    for target in (1, 0):  # logit 0 is constant
        masks = ExtremalPerturbation(classifier, **quick).masks(image, torch.tensor([target]))  # type: ignore[arg-type]
        torch.testing.assert_close(masks.mean((2, 3)), torch.tensor([areas]), rtol=0.02, atol=0)
        assert masks.amin() >= 0
        assert masks.amax() <= 1


@pytest.mark.parametrize("steps", [1, 20])
def test_the_area_is_the_one_asked_for_in_however_few_steps(double: Classifier, image: Tensor, steps: int) -> None:
    areas = (0.02, 0.05, 0.3, 0.9)
    masks = ExtremalPerturbation(double, areas=areas, steps=steps, step=56.0).masks(image, torch.tensor([2]))
    torch.testing.assert_close(masks.mean((2, 3)), torch.tensor([areas]).double(), rtol=1e-4, atol=0)


def test_of_area() -> None:
    """Against the literal search for the power of one mask; the order of pixels, and what is 0 or 1, remain."""
    g = torch.Generator().manual_seed(3)
    masks = torch.rand(3, 6, 5, dtype=torch.float64, generator=g) ** torch.tensor([0.5, 2, 1])[:, None, None]
    masks[:, 0, :2] = torch.tensor([0.0, 1.0])
    areas = torch.tensor([0.2, 0.4, float(masks[2].mean())], dtype=torch.float64)
    found = of_area(masks, areas)
    same(found.mean((1, 2)), areas)
    same(found[2], masks[2])
    powers = torch.linspace(0.1, 20, 200_000, dtype=torch.float64)
    for mask, area, fitted in zip(masks[:2], areas, found, strict=False):
        gamma = powers[((mask.flatten()[:, None] ** powers).mean(0) - area).abs().argmin()]
        torch.testing.assert_close(fitted, mask**gamma, rtol=0, atol=1e-4)
        assert torch.equal(fitted.flatten().argsort(), mask.flatten().argsort())
        assert fitted[0, :2].tolist() == [0, 1]


def test_a_mask_to_a_power_is_the_maximum_of_steeper_bumps() -> None:
    """With a hard maximum, whose limit the soft one is: points and bumps to that power make the same mask."""
    points = torch.rand(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    mask = slow_smooth_maximum(points, (10, 8), 2, 2.5, 600)
    sharp = [[0.0] * 8 for _ in range(10)]
    for i, j, gy, gx in product(range(10), range(8), range(-3, 8), range(-3, 7)):
        distance = sqrt((i - 2 * gy - 0.5) ** 2 + (j - 2 * gx - 0.5) ** 2)
        bump = exp(-2 * 3.7 * max(0.0, distance / 2.5 - 0.5) ** 2)
        if abs(i // 2 - gy) <= 2 and abs(j // 2 - gx) <= 2:
            sharp[i][j] = max(sharp[i][j], bump * float(points[min(max(gy, 0), 4), min(max(gx, 0), 3)] ** 3.7))
    torch.testing.assert_close(mask**3.7, torch.tensor(sharp, dtype=torch.float64), rtol=0, atol=2e-3)


def test_a_fitted_mask_has_the_bumps_of_its_points_at_another_radius(double: Classifier) -> None:
    method, size = ExtremalPerturbation(double, step=56.0, sigma=70.0), (10, 8)
    points = torch.tensor([[[0.0, 0, 1, 0], [0, 0.3, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]], dtype=torch.float64)
    for wider in (0.9, 1.0, 1.7):
        wanted = slow_smooth_maximum(points[0], size, 2, wider * 70 * 8 / 224, 20)
        found = method._fitted(points, float(wanted.mean()), size)
        torch.testing.assert_close(found[0], wanted, rtol=0, atol=2e-3)
    for impossible, end in ((0.001, 0.7), (0.999, 2.0)):
        nearest = slow_smooth_maximum(points[0], size, 2, end * 70 * 8 / 224, 20)
        torch.testing.assert_close(method._fitted(points, impossible, size)[0], nearest, rtol=0, atol=5e-3)


def test_a_mirrored_network_has_the_mirrored_mask(double: Classifier, image: Tensor) -> None:
    class Mirrored(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = double.module

        def forward(self, x: Tensor) -> Tensor:
            return cast(Tensor, self.network(x.flip(3)))

    options: dict[str, object] = {"steps": 5, "flip": False, "step": 100.0}
    wide = torch.nn.functional.pad(image, (2, 0, 0, 0), mode="reflect")  # 10 pixels in 3 cells of 4
    other = replace(double, module=Mirrored())
    target = torch.tensor([2])
    mask = ExtremalPerturbation(double, **options).explain(wide, target)  # type: ignore[arg-type]
    same(ExtremalPerturbation(other, **options).explain(wide.flip(3), target).flip(2), mask)  # type: ignore[arg-type]


def test_first_sufficient_area() -> None:
    """The smallest mask whose image has no lower a logit than the image; the last if there is none."""
    classifier, image, region = planted()
    method = ExtremalPerturbation(classifier, areas=(0.1, 0.2, 0.3), combine="first_sufficient")
    masks = torch.stack([region * 0.5, region * 1.0, torch.ones(region.shape)])[None]
    assert method._first_sufficient(image, masks, torch.tensor([1])).tolist() == [1]
    assert method._first_sufficient(image, masks * 0.5, torch.tensor([1])).tolist() == [2]
    short = replace(method, steps=2)
    masks = short.masks(image, torch.tensor([1]))
    same(short.explain(image, torch.tensor([1]))[0], masks[0, 2])
    same(replace(short, combine="mean").explain(image, torch.tensor([1]))[0], masks[0].mean(0))


def test_smooth_pixel_mask_is_extremal_perturbation_with_its_settings(double: Classifier, image: Tensor) -> None:
    target = torch.tensor([4])
    own = explainer("smooth_pixel_mask", double, steps=3).explain(image, target)
    other = explainer("extremal_perturbation", double, steps=3, areas=(0.05,), selector="contrast").explain(image, target)
    assert torch.equal(own, other)
