"""Blurs, pyramids and smooth maxima, written again pixel by pixel."""

from itertools import product
from math import ceil, exp

import pytest
import torch
from support.slow_masks import same, slow_blur, slow_smooth_maximum
from torch import Tensor

from seewhy.explainers.optimized.smooth_masks import blend_levels, blur, pyramid, smooth_maximum


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
        same(blend_levels(blurs, mask)[0, :, i, j], expected)


def test_the_mask_has_a_slope_at_one(image: Tensor) -> None:
    mask = torch.ones(1, 10, 8, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(blend_levels(pyramid(image, 1.2, 8), mask).square().sum(), mask)
    assert (slope != 0).all()
