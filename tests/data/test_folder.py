"""Pictures of one's own: layouts, geometry, and what is said about mistakes."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.picture_folders import VIEWS, paint
from torch.nn.functional import max_pool2d

from seewhy.data import DATASETS, Dataset, Folder, batches
from seewhy.data.pictures import View, as_seen, read_picture, to_tensor
from seewhy.data.regions import placement
from seewhy.errors import SeewhyError

VIEW = View((32, 32), 0.875)
NAMES = ("tench, Tinca tinca", "great white shark", "crane", "house finch", "crane")


def listed(folder: Path, *lines: str, name: str = "labels.csv", encoding: str = "utf-8") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("\n".join(lines) + "\n", encoding=encoding)
    return folder


# -- layouts ------------------------------------------------------------------------------------------------------------


def test_class_folders_by_name_index_and_number(tmp_path: Path) -> None:
    for name in ("Great_White_Shark/b.png", "Great_White_Shark/a.JPG", "0/c.png", "House finch/d.png"):
        paint(tmp_path / name)
    paint(tmp_path / ".hidden/e.png")
    paint(tmp_path / "0/._c.png")
    dataset = Folder(tmp_path, VIEW, NAMES)
    assert isinstance(dataset, Dataset)
    assert DATASETS["folder"] is Folder
    assert dataset.classes == NAMES
    (batch,) = batches(dataset, 10)
    assert batch.ids == ["0/c.png", "Great_White_Shark/a.JPG", "Great_White_Shark/b.png", "House finch/d.png"]
    assert batch.labels is not None
    assert batch.labels.tolist() == [0, 1, 1, 3]
    assert batch.regions is None
    assert batch.boxes is None
    expected = to_tensor(as_seen(read_picture(tmp_path / "House finch/d.png"), VIEW))
    assert torch.equal(batch.images[3], expected)


def test_imagenet_numbers(tmp_path: Path) -> None:
    paint(tmp_path / "n01440764/a.png")
    paint(tmp_path / "n15075141/a.png")
    (batch,) = batches(Folder(tmp_path, VIEW, tuple(f"class {i}" for i in range(1000))), 2)
    assert batch.labels is not None
    assert batch.labels.tolist() == [0, 999]


def test_without_class_names_folders_are_counted(tmp_path: Path) -> None:
    for name in ("dog", "ant", "cat"):
        paint(tmp_path / "names" / name / "a.png")
    dataset = Folder(tmp_path / "names", VIEW)
    assert dataset.classes == ("ant", "cat", "dog")
    assert [b.labels.tolist() for b in batches(dataset, 1)] == [[0], [1], [2]]  # type: ignore[union-attr]
    for name in ("10", "2"):
        paint(tmp_path / "numbers" / name / "a.png")
    dataset = Folder(tmp_path / "numbers", VIEW)
    assert dataset.classes == ()
    assert [b.labels.tolist() for b in batches(dataset, 1)] == [[10], [2]]  # type: ignore[union-attr]


def test_pictures_without_labels(tmp_path: Path) -> None:
    for name in ("b.png", "a.png"):
        paint(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    (batch,) = batches(Folder(str(tmp_path), VIEW, NAMES), 5)
    assert batch.labels is None
    assert batch.ids == ["a.png", "b.png"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize(
    ("column", "cells"),
    [("index", "1 3"), ("label", "great_white_shark 3"), ("class", "Great White Shark,House Finch"), ("name", "1,3")],
)
def test_csv(tmp_path: Path, encoding: str, column: str, cells: str) -> None:
    first, second = cells.split("," if "," in cells else " ")
    paint(tmp_path / "images/ä.png")
    paint(tmp_path / "b.png")
    listed(tmp_path, f"file, {column} ,note", f"ä.png,{first},x", "", f'b.png,"{second}",', encoding=encoding)
    for path in (tmp_path, tmp_path / "labels.csv"):
        (batch,) = batches(Folder(path, VIEW, NAMES), 5)
        assert batch.ids == ["images/ä.png", "b.png"]
        assert batch.labels is not None
        assert batch.labels.tolist() == [1, 3]
        assert batch.regions is None


def test_csv_without_labels_or_under_another_name(tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    listed(tmp_path, "file", "a.png", name="mine.CSV")
    assert next(batches(Folder(tmp_path / "mine.CSV", VIEW), 1)).labels is None


def test_batches_stream_in_order(tmp_path: Path) -> None:
    for i in range(7):
        paint(tmp_path / f"{i}.png")
    dataset = Folder(tmp_path, VIEW)
    assert len(dataset) == 7
    assert [b.ids for b in batches(dataset, 3)] == [
        ["0.png", "1.png", "2.png"], ["3.png", "4.png", "5.png"], ["6.png"],
    ]  # fmt: skip
    (tmp_path / "6.png").write_bytes(b"")
    assert next(batches(dataset, 3)).images.shape == (3, 3, 32, 32)  # the last is not read yet


def test_limit_is_spread_over_the_list(tmp_path: Path) -> None:
    for name in ("ant", "bee"):
        for i in range(4):
            paint(tmp_path / name / f"{i}.png")
    assert next(batches(Folder(tmp_path, VIEW, limit=4), 4)).ids == ["ant/0.png", "ant/2.png", "bee/0.png", "bee/2.png"]
    assert len(Folder(tmp_path, VIEW, limit=100)) == 8


def test_gray(tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    color, gray = (next(batches(Folder(tmp_path, VIEW, gray=g), 1)).images[0] for g in (False, True))
    assert gray.shape == (1, 32, 32)
    torch.testing.assert_close(
        gray[0], (color * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0), atol=0.01, rtol=0
    )


# -- where the object is ------------------------------------------------------------------------------------------------


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
    middle_y, middle_x = view.size[0] // 2, view.size[1] // 2
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


def test_a_line_without_boxes_has_an_empty_region(tmp_path: Path) -> None:
    for name in "ab":
        paint(tmp_path / f"{name}.png")
    listed(tmp_path, "file,boxes", "a.png,1 1 20 20", "b.png,")
    batch = next(batches(Folder(tmp_path, VIEW), 2))
    assert [len(b) for b in batch.boxes or ()] == [1, 0]
    assert batch.regions.flatten(1).any(1).tolist() == [True, False]  # type: ignore[union-attr]


def test_the_mask_is_taken_where_there_is_one(tmp_path: Path) -> None:
    for name in "ab":
        paint(tmp_path / f"{name}.png", (32, 32))
    paint(tmp_path / "m.png", (32, 32), (0, 0, 4, 4))
    listed(tmp_path, "file,boxes,mask", "a.png,0 0 8 8,m.png", "b.png,0 0 8 8,")
    batch = next(batches(Folder(tmp_path, View((32, 32), 1.0)), 2))
    assert batch.regions.sum((1, 2)).tolist() == [16, 64]  # type: ignore[union-attr]


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


def test_the_column_with_the_boxes(tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    listed(tmp_path, "file,boxes_old,boxes_new", "a.png,1 1 2 2,3 3 9 9")
    with pytest.raises(SeewhyError, match="has boxes in boxes_old, boxes_new: choose one with boxes_column, or none"):
        Folder(tmp_path, VIEW)
    assert Folder(tmp_path, VIEW, boxes_column="boxes_new").entries[0].boxes == ((3.0, 3.0, 9.0, 9.0),)
    assert next(batches(Folder(tmp_path, VIEW, boxes_column="none"), 1)).regions is None
    with pytest.raises(SeewhyError, match=r"has no column 'boxes_nw'. Did you mean 'boxes_new'\?"):
        Folder(tmp_path, VIEW, boxes_column="boxes_nw")
    listed(tmp_path, "file,boxes_only", "a.png,1 1 2 2")
    assert Folder(tmp_path, VIEW).entries[0].boxes == ((1.0, 1.0, 2.0, 2.0),)
    listed(tmp_path, "file,boxes_old,boxes", "a.png,1 1 2 2,3 3 9 9")
    assert Folder(tmp_path, VIEW).entries[0].boxes == ((3.0, 3.0, 9.0, 9.0),)


# -- mistakes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["picture,index", "a.png,0"], "no column 'file' in its first line; it has picture, index"),
        ([""], "no column 'file' in its first line; it has none"),
        (["file,index"], "labels.csv lists no picture"),
        (
            ["file,index", "a.png,0", "b.png,0"],
            "labels.csv, line 3: picture 'b.png' is neither in .* nor in its folder images",
        ),
        (["file,index", ",0"], "line 2: picture '' is neither"),
        (["file,index", "a.png,tench"], "line 2: index 'tench' is no index of a class"),
        (["file,index", "a.png,-1"], "line 2: index '-1' is no index of a class"),
        (["file,index", "a.png,5"], "line 2: index 5 is no class: the classifier has classes 0 to 4"),
        (["file,label", "a.png,"], "line 2: label '' is no index"),
        (["file,label", "a.png,hous finch"], "line 2: label 'hous finch' is no class .* Did you mean 'house finch'"),
        (["file,name", "a.png,crane"], "line 2: name 'crane' is the name of 2 classes: write 2 or 4"),
        (["file,index", "a.png,0,1"], "line 2: 3 cells under 2 columns; text with commas needs quotes"),
        (["file,index", "a.png"], "line 2: 1 cells under 2 columns"),
        (["file,index", "a.png,0", "a.png,0"], "line 3: a.png is listed twice"),
        (["file,boxes", "a.png,1 2 3"], "line 2: boxes '1 2 3': a box is four numbers, left top right bottom"),
        (["file,boxes", "a.png,1 2 3 x"], "line 2: boxes '1 2 3 x': a box is four numbers"),
        (["file,boxes", "a.png,1 2 3 4;9 2 3 4"], "boxes '9 2 3 4': left is not less than right"),
        (["file,boxes", "a.png,1 2 3 nan"], "boxes '1 2 3 nan': left is not less"),
        (["file,mask", "a.png,none.png"], "line 2: mask 'none.png' is neither in"),
    ],
)
def test_mistakes_in_the_list(tmp_path: Path, lines: list[str], said: str) -> None:
    paint(tmp_path / "a.png")
    with pytest.raises(SeewhyError, match=said) as caught:
        Folder(listed(tmp_path, *lines), VIEW, NAMES)
    assert "\n" not in str(caught.value)


def test_names_without_class_names(tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    with pytest.raises(SeewhyError, match="line 2: name 'tench' is no class: there are no class names"):
        Folder(listed(tmp_path, "file,name", "a.png,tench"), VIEW)


def test_a_table_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(b"\xff\xfe\x00file")
    with pytest.raises(SeewhyError, match=r"labels.csv is not a csv file in UTF-8"):
        Folder(tmp_path, VIEW)


@pytest.mark.parametrize(
    ("content", "line", "said"),
    [
        (b"", "a.png,0,,", "labels.csv, line 2: picture .*a.png is empty"),
        (b"text", "a.png,0,,", "labels.csv, line 2: .*a.png is not a picture that can be read"),
        (None, "a.png,0,1 1 99 9,", "labels.csv, line 2: box 1 1 99 9 leaves its picture of 40 x 30 pixels"),
        (None, "a.png,0,,other.png", "labels.csv, line 2: mask .*other.png has 20 x 10 pixels, its picture 40 x 30"),
    ],
)
def test_mistakes_in_the_pictures(tmp_path: Path, content: bytes | None, line: str, said: str) -> None:
    paint(tmp_path / "a.png")
    paint(tmp_path / "other.png", (20, 10))
    if content is not None:
        (tmp_path / "a.png").write_bytes(content)
    dataset = Folder(listed(tmp_path, "file,index,boxes,mask", line), VIEW, NAMES)
    with pytest.raises(SeewhyError, match=said) as caught:
        next(batches(dataset, 1))
    assert "\n" not in str(caught.value)


def test_mistakes_in_the_folder(tmp_path: Path) -> None:
    with pytest.raises(SeewhyError, match="none does not exist"):
        Folder(tmp_path / "none", VIEW)
    with pytest.raises(SeewhyError, match="holds no pictures"):
        Folder(tmp_path, VIEW)
    with pytest.raises(SeewhyError, match=r"a.png is neither a folder nor a csv file"):
        Folder(paint(tmp_path / "a.png"), VIEW)
    paint(tmp_path / "hous_finch/b.png")
    with pytest.raises(SeewhyError, match=r"has pictures \(a.png\) beside folders of classes \(hous_finch\)"):
        Folder(tmp_path, VIEW, NAMES)
    (tmp_path / "a.png").unlink()
    with pytest.raises(SeewhyError, match=r"'hous_finch' is no class of the classifier. Did you mean 'house finch'\?"):
        Folder(tmp_path, VIEW, NAMES)
    with pytest.raises(SeewhyError, match="limit is 0"):
        Folder(tmp_path, VIEW, limit=0)
    with pytest.raises(SeewhyError, match="has no column 'boxes_x'"):
        Folder(tmp_path, VIEW, boxes_column="boxes_x")
    with pytest.raises(SeewhyError, match="batch_size is 0"):
        next(batches(Folder(tmp_path, VIEW), 0))
    (tmp_path / "hous_finch/c.png").write_bytes(b"\x89PNG")
    with pytest.raises(SeewhyError, match=r"c.png is not a picture"):
        list(batches(Folder(tmp_path, VIEW), 2))
