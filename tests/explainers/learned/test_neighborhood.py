"""The filter that averages masks over neighborhoods, against loops over pixels."""

import pytest
import torch
from torch import Tensor

from seewhy.explainers.learned.neighborhood import FilterBorder, averaged, random_kernels, side_of


def place(at: int, cells: int, border: FilterBorder) -> int:
    """The cell that stands for one beyond the border."""
    if border == "circular":
        return at % cells
    if border == "replicate":
        return min(max(at, 0), cells - 1)
    return -at if at < 0 else 2 * (cells - 1) - at if at >= cells else at


def literal(mask: Tensor, kernel: Tensor, border: FilterBorder) -> Tensor:
    (h, w), reach, found = mask.shape, len(kernel) // 2, torch.zeros_like(mask)
    for y in range(h):
        for x in range(w):
            total = 0.0
            for dy in range(len(kernel)):
                for dx in range(len(kernel)):
                    value = mask[place(y + dy - reach, h, border), place(x + dx - reach, w, border)]
                    total += float(kernel[dy, dx]) * float(value)
            found[y, x] = total
    return found


@pytest.mark.parametrize("border", ["reflect", "replicate", "circular"])
def test_each_image_has_its_own_kernel_and_all_of_its_masks_have_it(border: FilterBorder) -> None:
    masks = torch.rand(2, 2, 6, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    kernels = random_kernels(2, 5, torch.Generator().manual_seed(1)).double()
    found = averaged(masks, 5, kernels, border)
    for i in range(2):
        for j in range(2):
            torch.testing.assert_close(found[i, j], literal(masks[i, j], kernels[i], border))


@pytest.mark.parametrize("border", ["reflect", "replicate", "circular"])
def test_without_kernels_it_is_the_box(border: FilterBorder) -> None:
    masks = torch.rand(1, 1, 6, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    box = torch.full((5, 5), 1 / 25, dtype=torch.float64)
    torch.testing.assert_close(averaged(masks, 5, border=border)[0, 0], literal(masks[0, 0], box, border))


def test_one_kernel_for_all_is_that_of_the_released_code() -> None:
    masks, kernel = torch.rand(3, 1, 6, 6), random_kernels(1, 3, torch.Generator().manual_seed(0))
    alone = torch.cat([averaged(mask[None], 3, kernel, "circular") for mask in masks])
    torch.testing.assert_close(averaged(masks, 3, kernel, "circular"), alone)


def test_kernels_are_positive_sum_to_one_and_have_the_box_as_mean() -> None:
    kernels = random_kernels(20_000, 3, torch.Generator().manual_seed(0))
    assert float(kernels.min()) >= 0
    torch.testing.assert_close(kernels.sum((1, 2)), torch.ones(20_000))
    torch.testing.assert_close(kernels.mean(0), torch.full((3, 3), 1 / 9), atol=2e-3, rtol=0)
    assert float((kernels[0] - kernels[1]).abs().max()) > 0.01
    assert torch.equal(kernels[:1], random_kernels(1, 3, torch.Generator().manual_seed(0)))


def test_a_constant_mask_stays_and_a_mask_stays_in_its_range() -> None:
    kernels = random_kernels(2, 5, torch.Generator().manual_seed(0))
    torch.testing.assert_close(averaged(torch.full((2, 1, 9, 9), 0.3), 5, kernels), torch.full((2, 1, 9, 9), 0.3))
    found = averaged(torch.rand(2, 1, 9, 9).round(), 5, kernels)
    assert float(found.min()) >= -1e-6
    assert float(found.max()) <= 1 + 1e-6


def test_the_circular_border_takes_what_is_at_the_left_to_the_right_and_the_default_does_not() -> None:
    mask = torch.zeros(1, 1, 9, 9)
    mask[..., 0] = 1
    assert float(averaged(mask, 3, border="circular")[0, 0, 4, 8]) == pytest.approx(1 / 3)
    assert float(averaged(mask, 3)[0, 0, 4, 8]) == 0


@pytest.mark.parametrize(
    ("neighborhood", "grid", "side"),
    [
        (21, (224, 224), 21),
        (21, (56, 56), 5),
        (21, (96, 96), 9),
        (21, (96, 200), 9),
        (21, (24, 24), 3),
        (0, (224, 224), 0),
        (14, (224, 224), 13),
        (28, (224, 224), 27),
        (500, (4, 6), 7),
        (1, (16, 16), 3),
    ],
)
def test_the_neighborhood_scales_with_the_mask(neighborhood: int, grid: tuple[int, int], side: int) -> None:
    assert side_of(neighborhood, grid) == side
    if side:
        masks = torch.rand(1, 1, *grid)
        assert averaged(masks, side).shape == masks.shape


def test_bfloat16_around_it_costs_no_digits() -> None:
    masks = torch.rand(1, 1, 24, 24)
    with torch.autocast("cpu", torch.bfloat16):
        found = averaged(masks, 9)
    torch.testing.assert_close(found, averaged(masks, 9))
