"""Masks found by descent: extremal and meaningful perturbation, smooth pixel mask, iGOS++.

The losses and the first steps are written again, slowly and literally, in float64: one image, pixel by pixel.
"""

from collections import Counter
from copy import deepcopy
from dataclasses import replace
from itertools import product
from math import ceil, exp, sqrt

import pytest
import torch
from support.tiny_models import TINY
from torch import Tensor, nn

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.data.shapes.shapes import Shapes
from seewhy.errors import SeewhyError
from seewhy.explainers import explainer
from seewhy.explainers.optimized import extremal_perturbation
from seewhy.explainers.optimized.extremal_perturbation import ExtremalPerturbation, area_error, of_area
from seewhy.explainers.optimized.igos_pp import IGOSPlusPlus, _Search
from seewhy.explainers.optimized.smooth_masks import blur, perturbed, pyramid, smooth_maximum
from seewhy.explainers.selectors import Selector


@pytest.fixture
def double() -> Classifier:
    """A tiny network in float64."""
    classifier = TINY["cnn"]()
    return replace(classifier, module=deepcopy(classifier.module).double(), mean=(0.4, 0.5, 0.3), std=(0.2, 0.3, 0.25))


@pytest.fixture
def image() -> Tensor:
    """Not square, and smaller than the network's own size."""
    return torch.rand(1, 3, 10, 8, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


# -- the pieces -------------------------------------------------------------------------------------------------------


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


def same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(("sigma", "reach"), [(0.7, None), (1.4, None), (3.0, 2), (9.0, 4)])
def test_blur(image: Tensor, sigma: float, reach: int | None) -> None:
    blurred = blur(image, sigma, reach)
    same(blurred[0, 1], slow_blur(image[0, 1], sigma, ceil(4 * sigma) if reach is None else reach))
    same(blur(torch.full_like(image, 0.3), sigma, reach), torch.full_like(image, 0.3))  # no dark frame


def test_blur_in_bf16_regions_stays_exact(image: Tensor) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(blur(image.float(), 1.4), blur(image.float(), 1.4).float())
        torch.testing.assert_close(blur(image.float(), 1.4).double(), blur(image, 1.4), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(("size", "step", "sigma"), [((10, 8), 1, 1.5), ((10, 13), 3, 4.0), ((9, 9), 4, 2.5)])
def test_smooth_maximum(size: tuple[int, int], step: int, sigma: float) -> None:
    points = torch.rand(2, ceil(size[0] / step), ceil(size[1] / step), dtype=torch.float64)
    masks = smooth_maximum(points, size, step, sigma, 20.0)
    same(masks[1], slow_smooth_maximum(points[1], size, step, sigma, 20.0))
    small = torch.rand(1, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda p: smooth_maximum(p, (11, 7), 4, 5.0, 20.0), small)


def test_smooth_maximum_of_one_point_is_its_bump() -> None:
    points = torch.zeros(1, 9, 9, dtype=torch.float64)
    points[0, 4, 4] = 1
    mask = smooth_maximum(points, (45, 45), 5, 10.0, 20.0)[0]
    assert mask[22, 22:27].min() > 0.9999  # within sigma / 2
    assert mask[22, 32] == pytest.approx(exp(-0.5), abs=1e-3)  # at sigma
    assert mask[22, 44] == 0
    same(mask, mask.T)
    same(mask, mask.flip(0))


def test_equal_points_favor_no_place() -> None:
    mask = smooth_maximum(torch.full((1, 5, 4), 0.7, dtype=torch.float64), (20, 16), 4, 6.0, 20.0)[0]
    cells = mask.unfold(0, 4, 4).unfold(1, 4, 4)
    same(cells, cells[2, 2].expand_as(cells))


def test_perturbed_is_the_level_that_the_mask_says(image: Tensor) -> None:
    blurs = pyramid(image, 1.2, 5)
    same(blurs[0, 0], blur(image, 1.2)[0])
    same(blurs[0, 4], image[0])
    mask = torch.rand(1, 10, 8, dtype=torch.float64)
    mask[0, 0, :3] = torch.tensor([0.0, 0.5, 1.0])
    for i, j in product(range(10), range(8)):
        height = 4 * float(mask[0, i, j])
        low = min(int(height), 3)
        expected = (low + 1 - height) * blurs[0, low, :, i, j] + (height - low) * blurs[0, low + 1, :, i, j]
        same(perturbed(blurs, mask)[0, :, i, j], expected)


def test_the_mask_has_a_slope_at_one(image: Tensor) -> None:
    mask = torch.ones(1, 10, 8, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(perturbed(pyramid(image, 1.2, 8), mask).square().sum(), mask)
    assert (slope != 0).all()


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


# -- the losses and the first steps -----------------------------------------------------------------------------------


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
    search = _Search(IGOSPlusPlus(double, cells=1, path_steps=3), image, blur(image, 2.0), torch.tensor([2]))
    assert torch.isfinite(search.simplicity(torch.full((2, 1, 1), 0.5, dtype=torch.float64)))
    method = IGOSPlusPlus(double, cells=1, selector="logit", sparsity=0.0, iterations=2, path_steps=2)
    assert torch.isfinite(method.explain(image, torch.tensor([2]))).all()


def test_igos_pp_never_climbs(image: Tensor, double: Classifier) -> None:
    method = IGOSPlusPlus(double, cells=4, path_steps=3, selector="logit")
    search = _Search(method, image, blur(image, 2.0), torch.tensor([2]))
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
    search = _Search(method, image, blur(image, 2.0), torch.tensor([2]))
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


# -- what theory says -------------------------------------------------------------------------------------------------


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


PLANTED: dict[str, tuple[float, dict[str, object]]] = {
    "extremal_perturbation": (0.3, {"steps": 60, "learning_rate": 0.05, "areas": (0.1,), "flip": False}),
    "smooth_pixel_mask": (1.0, {"steps": 200, "area": 0.1, "flip": False}),
    "meaningful_perturbation": (0.05, {"steps": 100}),
    "igos_pp": (0.05, {"iterations": 10, "path_steps": 5}),
}


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
@pytest.mark.parametrize("name", list(PLANTED))
def test_planted_evidence_is_found(name: str, size: tuple[int, int]) -> None:
    strength, options = PLANTED[name]
    classifier, image, region = planted(size, strength)
    found = explainer(name, classifier, **options).explain(image, torch.tensor([1]))[0]
    order = found.flatten().argsort(descending=True)[: int(region.sum()) // 2]
    assert region.flatten()[order].all()
    assert found[region].mean() > 2.5 * found[~region].mean()


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
        def forward(self, x: Tensor) -> Tensor:
            return double.module(x.flip(3))

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


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("extremal_perturbation", {"areas": (0.1, 1.2)}, "areas are parts of the image"),
        ("extremal_perturbation", {"areas": (0.3, 0.1)}, "rising"),
        ("extremal_perturbation", {"levels": 1}, "levels=1: give a whole number of at least 2"),
        ("extremal_perturbation", {"sigma": 0.0}, "sigma=0.0: give a number above 0"),
        ("smooth_pixel_mask", {"area": 0.0}, "area=0.0: give a number above 0 and below 1"),
        ("smooth_pixel_mask", {"area": 1.0}, "area=1.0: give a number above 0 and below 1"),
        ("meaningful_perturbation", {"beta": 0.5}, "beta=0.5: give a number of at least 1"),
        ("meaningful_perturbation", {"game": "hide"}, "give delete or preserve"),
        ("igos_pp", {"edge": 0.0}, "edge=0.0: give a number above 0"),
    ],
)
def test_wrong_options(double: Classifier, name: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(SeewhyError, match=said):
        explainer(name, double, **options)


# -- a trained network whose evidence is known ------------------------------------------------------------------------

ON_SHAPES: dict[str, dict[str, object]] = {
    "extremal_perturbation": {"steps": 80, "learning_rate": 0.05},
    "meaningful_perturbation": {"steps": 60},
    "igos_pp": {"iterations": 4, "path_steps": 4},
}


@pytest.mark.parametrize("name", list(ON_SHAPES))
def test_most_of_the_mask_lies_on_the_shape(name: str) -> None:
    classifier = seewhy.load("shapes")
    batch = Shapes(n=2).batch([0, 1])
    regions, images, targets = batch.regions, batch.images, batch.labels
    assert regions is not None
    assert targets is not None
    found = explainer(name, classifier, **ON_SHAPES[name]).explain(images, targets)
    noise = explainer("random", classifier).explain(images, targets)

    def on_the_shape(maps: Tensor) -> Tensor:
        return (maps * regions).sum((1, 2)) / maps.sum((1, 2))

    chance = regions.float().mean((1, 2))
    assert (on_the_shape(found) > 1.5 * chance).all()
    assert (on_the_shape(found) > on_the_shape(noise)).all()
