"""Boxes and masks go where the picture goes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.picture_folders import VIEWS, listed, paint
from torch.nn.functional import max_pool2d

from seewhy.data import Folder, batches
from seewhy.data.pictures import View, as_seen, to_tensor
from seewhy.data.regions import placement

VIEW = View((32, 32), 0.875)
NAMES = ("tench, Tinca tinca", "great white shark", "crane", "house finch", "crane")


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("size", [(64, 64), (200, 90), (61, 133), (20, 37), (150, 101)])
def test_boxes_and_masks_go_where_the_picture_goes(tmp_path: Path, size: tuple[int, int], view: View) -> None:
    """A white rectangle on black: the region is where the picture is white, but for the line where both meet."""
    w, h = size
    box = (w // 4, h // 5, w - w // 3, h - h // 4)
    paint(tmp_path / "a.png", size, box)
    paint(tmp_path / "mask.png", size, box)
    listed(tmp_path / "boxes", "file,boxes", f"../a.png,{' '.join(map(str, box))}")
    listed(tmp_path / "mask", "file,mask", "../a.png,../mask.png")
    for layout in ("boxes", "mask"):
        batch = next(batches(Folder(tmp_path / layout, view), 1))
        white = batch.images[:, 0] > 0.5
        assert isinstance(batch.regions, torch.Tensor)
        assert batch.regions.dtype == torch.bool
        wrong = batch.regions ^ white
        line = max_pool2d(white.float(), 3, 1, 1) != -max_pool2d(-white.float(), 3, 1, 1)
        assert not (wrong & ~line).any()
        assert wrong.float().mean() < 0.03
        assert batch.regions.any()
        assert not batch.regions.all()


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("size", [(64, 64), (200, 90), (61, 133), (33, 32), (500, 375)])
def test_placement_is_that_of_see(size: tuple[int, int], view: View) -> None:
    """Each corner of what is seen comes from the place of the picture that the numbers say, within one pixel."""
    w, h = size
    ramp = np.zeros((h, w, 3), np.uint8)
    ramp[..., 0] = np.linspace(0, 255, w)[None]
    ramp[..., 1] = np.linspace(0, 255, h)[:, None]
    seen = to_tensor(as_seen(Image.fromarray(ramp), view._replace(interpolation="bilinear")))
    across, down, left, top = placement(size, view)
    part = 4 if view.crop_mode == "corner" else 2  # a corner mode leaves the middle empty
    middle_y, middle_x = view.size[0] // part, view.size[1] // part
    x, y = ((middle_x + 0.5 + left) / across - 0.5) / (w - 1), ((middle_y + 0.5 + top) / down - 0.5) / (h - 1)
    assert float(seen[0, middle_y, middle_x]) == pytest.approx(x, abs=0.01)
    assert float(seen[1, middle_y, middle_x]) == pytest.approx(y, abs=0.01)


def test_boxes_are_exact(tmp_path: Path) -> None:
    """100 x 50 to 32 x 32 of crop 1: everything times 0.64, and 16 pixels cut off at the left."""
    paint(tmp_path / "a.png", (100, 50))
    paint(tmp_path / "b.png", (100, 50))
    listed(tmp_path, "file,boxes", 'a.png,"50 10 60,20; 0 0 100 25"', "b.png,0.5 1 20.5 2")
    batch = next(batches(Folder(tmp_path, View((32, 32), 1.0)), 2))
    assert batch.boxes is not None
    torch.testing.assert_close(batch.boxes[0], torch.tensor([[16.0, 6.4, 22.4, 12.8], [0.0, 0.0, 32.0, 16.0]]))
    assert batch.boxes[1].shape == (0, 4)  # cut away with the left side
    assert isinstance(batch.regions, torch.Tensor)
    assert batch.regions.sum((1, 2)).tolist() == [512, 0]


def test_a_box_smaller_than_a_pixel_is_one_pixel(tmp_path: Path) -> None:
    paint(tmp_path / "a.png", (320, 320))
    listed(tmp_path, "file,boxes", "a.png,161 161 163 163")
    batch = next(batches(Folder(tmp_path, View((32, 32), 1.0)), 1))
    assert batch.regions.nonzero().tolist() == [[0, 16, 16]]  # type: ignore[union-attr]


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_masks_of_any_mode(tmp_path: Path, mode: str) -> None:
    paint(tmp_path / "a.png", (32, 32))
    spot = np.zeros((32, 32), np.uint8)
    spot[3:7, 5:10] = 1
    if mode == "P":
        mask = Image.fromarray(spot, "P")
        mask.putpalette([255, 255, 255, 0, 0, 0])  # class 0 is shown white, class 1 black
    elif mode == "I;16":
        mask = Image.fromarray(spot.astype(np.uint16))
    else:
        mask = Image.fromarray(spot * 255).convert(mode)
    mask.save(tmp_path / "m.png")
    listed(tmp_path, "file,mask", "a.png,m.png")
    batch = next(batches(Folder(tmp_path, View((32, 32), 1.0)), 1))
    np.testing.assert_array_equal(batch.regions[0].numpy(), spot > 0)  # type: ignore[index]
    assert batch.boxes is None
