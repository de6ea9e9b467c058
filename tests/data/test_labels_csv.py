"""The csv file of a folder: columns, boxes, masks, and what is said about mistakes."""

from pathlib import Path

import pytest
from support.picture_folders import listed, paint

from seewhy.data import Folder, batches
from seewhy.data.pictures import View
from seewhy.errors import SeewhyError

VIEW = View((32, 32), 0.875)
NAMES = ("tench, Tinca tinca", "great white shark", "crane", "house finch", "crane")


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


def test_names_that_are_numbers(tmp_path: Path) -> None:
    """A column of labels has names, a column "index" has indices; a column that may have both is refused."""
    names = ("0", "1", "10", "11", "2")
    for name in "ab":
        paint(tmp_path / f"{name}.png")

    def labels(column: str, first: str, second: str, classes: tuple[str, ...] = names) -> list[object]:
        listed(tmp_path, f"file,{column}", f"a.png,{first}", f"b.png,{second}")
        return [entry.label for entry in Folder(tmp_path, VIEW, classes).entries]

    for column in ("label", "class", "name"):
        assert labels(column, "10", "2") == [2, 4]
    assert labels("index", "1", "2") == [1, 2]
    with pytest.raises(SeewhyError, match="index 10 is no class: the classifier has classes 0 to 4"):
        labels("index", "1", "10")
    mixed = ("cat", "3", "dog", "bee")
    assert labels("label", "3", "dog", mixed) == [1, 2]
    assert labels("label", "2", "dog", mixed) == [2, 2]
    with pytest.raises(SeewhyError, match="column 'label' has '3', which is the name of a class, and '2', which is none"):
        labels("label", "3", "2", mixed)


def test_names_without_class_names(tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    with pytest.raises(SeewhyError, match="line 2: name 'tench' is no class: there are no class names"):
        Folder(listed(tmp_path, "file,name", "a.png,tench"), VIEW)


def test_a_table_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes(b"\xff\xfe\x00file")
    with pytest.raises(SeewhyError, match=r"labels.csv is not a csv file in UTF-8"):
        Folder(tmp_path, VIEW)
