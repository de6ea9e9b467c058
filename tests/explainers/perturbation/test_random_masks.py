"""The random masks of RISE and RELAX: how they are drawn, and when two maps agree."""

from math import ceil
from typing import Any

import numpy as np
import pytest
import torch
from skimage.transform import resize
from support.tiny_models import SIZE
from torch import Tensor

from seewhy.explainers.perturbation.random_masks import ROUND, MaskStream
from seewhy.maps import pearson


def pictures(n: int = 2, seed: int = 1) -> Tensor:
    return torch.rand(n, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def all_masks(stream: MaskStream, batch_size: int = 7, h: int = SIZE, w: int = SIZE) -> Tensor:
    return torch.cat(list(stream.batches(torch.zeros(3, h, w, dtype=torch.float64), batch_size)))


def place_between_cells(pixel: int, cells: int, pixels: int) -> float:
    """Where the center of a pixel lies, when the center of cell j is at j."""
    return (pixel + 0.5) / pixels * cells - 0.5


def interpolated(row: list[float], place: float) -> float:
    """Between the two nearest cells; the outer ones reach to the border."""
    place = min(max(place, 0), len(row) - 1)
    left = min(int(place), len(row) - 2)
    return row[left] + (place - left) * (row[left + 1] - row[left])


@pytest.mark.parametrize(("h", "w", "cells"), [(16, 16, 7), (12, 17, 4), (20, 9, 3)])
@pytest.mark.parametrize("border", ["repeat", "mirror"])
def test_masks_are_upsampled_grids_cropped_at_random(border: Any, h: int, w: int, cells: int) -> None:
    """Pixel by pixel; those with mirrored borders are what scikit-image makes in the released code."""
    stream, p = MaskStream(5, cells, 0.4, seed=3, border=border), 0.4
    generator = torch.Generator().manual_seed(3)
    grids = (torch.rand(ROUND, cells, cells, generator=generator) < p).double()
    cell_h, cell_w = ceil(h / cells), ceil(w / cells)
    down, right = (torch.randint(cell, (ROUND,), generator=generator) for cell in (cell_h, cell_w))
    size = (cells + 1) * cell_h, (cells + 1) * cell_w
    for grid, dy, dx, mask in zip(grids, down.tolist(), right.tolist(), all_masks(stream, h=h, w=w), strict=False):
        if border == "mirror":
            large = resize(grid.numpy(), size, order=1, mode="reflect", anti_aliasing=False)
        else:
            wide = [
                [interpolated(row, place_between_cells(j, cells, size[1])) for j in range(size[1])] for row in grid.tolist()
            ]
            columns = [
                [interpolated(list(column), place_between_cells(i, cells, size[0])) for i in range(size[0])]
                for column in zip(*wide, strict=True)
            ]
            large = np.array(columns).T
        np.testing.assert_allclose(mask.numpy(), large[dy : dy + h, dx : dx + w], atol=1e-12)


@pytest.mark.parametrize("border", ["repeat", "mirror"])
def test_every_pixel_is_kept_as_often_as_a_cell(border: Any) -> None:
    masks = all_masks(MaskStream(20_000, 4, 0.3, border=border), 256)
    assert masks.amin() >= 0
    assert masks.amax() <= 1
    assert masks.std() > 0.2
    torch.testing.assert_close(masks.mean(0), torch.full((SIZE, SIZE), 0.3, dtype=torch.float64), rtol=0, atol=0.012)


def test_the_first_masks_do_not_depend_on_how_many_follow_nor_on_the_batch() -> None:
    many = all_masks(MaskStream(2 * ROUND + 9), 100)
    assert len(many) == 2 * ROUND + 9
    assert torch.equal(all_masks(MaskStream(70), 32), many[:70])
    assert torch.equal(all_masks(MaskStream(ROUND + 1), 1), many[: ROUND + 1])
    assert not torch.equal(all_masks(MaskStream(70, seed=1)), many[:70])
    assert len(many.unique(dim=0)) == len(many)


def test_masks_are_never_all_there() -> None:
    stream = MaskStream(10**9)
    assert [len(masks) for masks, _ in zip(stream.batches(pictures()[0], 100), range(6), strict=False)] == [100, 100, 56] * 2


def test_correlation_is_numpys() -> None:
    a, b = torch.randn(2, 3, 40, dtype=torch.float64)
    b[2] = 1.0
    for i in range(2):
        assert float(pearson(a, b)[i]) == pytest.approx(np.corrcoef(a[i], b[i])[0, 1])
    assert float(pearson(a, b)[2]) == 0
