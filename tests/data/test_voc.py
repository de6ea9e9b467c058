"""The folders of PASCAL VOC: labels, geometry, lists, and what is said about mistakes."""

import re
from pathlib import Path

import pytest
import torch
from support.picture_folders import SIZE, VIEWS, Thing, annotate, paint, voc, write_split, xml
from support.tiny_models import TINY
from torch import Tensor
from torch.nn.functional import max_pool2d

import seewhy
from seewhy.data import DATASETS, VOC, Dataset, batches
from seewhy.data.named import dataset
from seewhy.data.pictures import View
from seewhy.data.voc import MAX_BYTES, read_annotation
from seewhy.errors import SeewhyError
from seewhy.metrics import metric

VIEW = View((30, 40), 1.0)
NAMES = ("cat", "dog", "polar bear")
CAT, DOG, BEAR = ("cat", (1, 1, 8, 10)), ("dog", (11, 6, 20, 15)), ("Polar_Bear", (21, 1, 40, 30))


# -- labels, regions and boxes ------------------------------------------------------------------------------------------


def test_several_classes_in_a_picture(tmp_path: Path) -> None:
    voc(tmp_path, b=(DOG, CAT, ("cat", (5, 5, 12, 12))), a=(BEAR,), c=())
    found = VOC(tmp_path, VIEW, NAMES)
    assert isinstance(found, Dataset)
    assert DATASETS["voc"] is VOC
    assert len(found) == 3
    (batch,) = batches(found, 5)
    assert batch.ids == ["a.png", "b.png", "c.png"]
    assert batch.images.shape == (3, 3, 30, 40)
    assert isinstance(batch.labels, Tensor)
    assert batch.labels.tolist() == [[0, 0, 1], [1, 1, 0], [0, 0, 0]]
    assert isinstance(batch.regions, Tensor)
    assert batch.regions.dtype == torch.bool
    assert batch.regions.sum((2, 3)).tolist() == [[0, 0, 600], [80 + 64 - 4 * 6, 100, 0], [0, 0, 0]]
    assert batch.boxes is None


def test_pixels_are_counted_from_one_and_the_last_is_inside(tmp_path: Path) -> None:
    voc(tmp_path, a=(("cat", (3, 5, 7, 6)),), b=(("cat", (1, 1, 40, 30)),))
    (batch,) = batches(VOC(tmp_path, VIEW, NAMES, multilabel=False), 2)
    assert batch.boxes is not None
    assert [boxes.tolist() for boxes in batch.boxes] == [[[2, 4, 7, 6]], [[0, 0, 40, 30]]]
    assert isinstance(batch.regions, Tensor)
    assert batch.regions[0].nonzero().tolist() == [[y, x] for y in (4, 5) for x in range(2, 7)]
    assert batch.regions[1].all()


def test_one_class_in_a_picture(tmp_path: Path) -> None:
    voc(tmp_path, a=(("dog", (1, 1, 4, 4)), ("dog", (9, 9, 10, 10))), b=(CAT,))
    (batch,) = batches(VOC(str(tmp_path), VIEW, NAMES, multilabel=False), 2)
    assert isinstance(batch.labels, Tensor)
    assert batch.labels.tolist() == [1, 0]
    assert isinstance(batch.regions, Tensor)
    assert batch.regions.sum((1, 2)).tolist() == [20, 80]
    assert [len(boxes) for boxes in batch.boxes or ()] == [2, 1]
    both = annotate(tmp_path, "a", xml(CAT, DOG, filename="a.png"))
    with pytest.raises(SeewhyError, match=f"^{re.escape(str(both))} has cat and dog; without multilabel every picture has"):
        VOC(tmp_path, VIEW, NAMES, multilabel=False)
    annotate(tmp_path, "a", xml(filename="a.png"))
    with pytest.raises(SeewhyError, match=r"a\.xml has no object; without multilabel"):
        VOC(tmp_path, VIEW, NAMES, multilabel=False)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("size", [(64, 64), (200, 90), (61, 133), (150, 101)])
def test_boxes_go_where_the_picture_goes(tmp_path: Path, size: tuple[int, int], view: View) -> None:
    """A white rectangle on black: the region is where the picture is white, but for the line where both meet."""
    w, h = size
    box = (w // 4, h // 5, w - w // 3, h - h // 4)
    paint(tmp_path / "JPEGImages/a.png", size, box)
    annotate(tmp_path, "a", xml(("dog", (box[0] + 1, box[1] + 1, *box[2:])), size=size))
    batch = next(batches(VOC(tmp_path, view, NAMES), 1))
    white = batch.images[0, 0] > 0.5
    assert isinstance(batch.regions, Tensor)
    region = batch.regions[0, 1]
    line = max_pool2d(white[None].float(), 3, 1, 1) != -max_pool2d(-white[None].float(), 3, 1, 1)
    assert not ((region ^ white) & ~line[0]).any()
    assert 0 < region.float().mean() < 1
    assert not batch.regions[0, [0, 2]].any()


def test_an_object_that_is_cut_away_still_counts_for_the_label(tmp_path: Path) -> None:
    voc(tmp_path, a=(("cat", (1, 1, 4, 30)), ("dog", (15, 10, 20, 20))))
    batch = next(batches(VOC(tmp_path, View((30, 30), 1.0), NAMES), 1))
    assert isinstance(batch.labels, Tensor)
    assert batch.labels.tolist() == [[1, 1, 0]]
    assert batch.regions.flatten(2).any(2).tolist() == [[False, True, False]]  # type: ignore[union-attr]


def test_boxes_out_of_the_picture_are_cut_and_empty_ones_left_out(tmp_path: Path) -> None:
    clicked: tuple[Thing, ...] = (("polar bear", (9, 9, 9, 9)), ("polar bear", (2, 5, 9, 5)))
    voc(tmp_path, a=(("cat", (0, 0, 10.0, 10)), ("dog", (31, 21, 42, 31)), *clicked))
    batch = next(batches(VOC(tmp_path, VIEW, NAMES), 1))
    assert isinstance(batch.labels, Tensor)
    assert batch.labels.tolist() == [[1, 1, 0]]
    assert batch.regions.sum((2, 3)).tolist() == [[100, 100, 0]]  # type: ignore[union-attr]
    voc(tmp_path, a=(("dog", (31, 21, 80, 31)),))
    with pytest.raises(SeewhyError, match=r"a\.xml: box 30 20 80 31 leaves its picture of 40 x 30 pixels"):
        next(batches(VOC(tmp_path, VIEW, NAMES), 1))


def test_difficult_objects(tmp_path: Path) -> None:
    voc(tmp_path, a=((*CAT, "1"), (*DOG, "0")), b=((*CAT, "1"),))
    for difficult, expected in ((True, [[1, 1, 0], [1, 0, 0]]), (False, [[0, 1, 0], [0, 0, 0]])):
        (batch,) = batches(VOC(tmp_path, VIEW, NAMES, difficult=difficult), 2)
        assert isinstance(batch.labels, Tensor)
        assert batch.labels.tolist() == expected
        assert batch.regions.flatten(2).any(2).int().tolist() == expected  # type: ignore[union-attr]


def test_parts_are_no_objects(tmp_path: Path) -> None:
    """The persons of VOC have a head and hands, with boxes of their own."""
    part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>3</xmax><ymax>3</ymax></bndbox></part>"
    paint(tmp_path / "JPEGImages/a.png", SIZE)
    annotate(tmp_path, "a", xml(CAT).replace("<object>", f"<object>{part}"))
    (entry,) = VOC(tmp_path, VIEW, NAMES).entries
    assert (entry.box_labels, entry.boxes) == ((0,), ((0, 0, 8, 10),))


def test_gray(tmp_path: Path) -> None:
    voc(tmp_path, a=(CAT,))
    color, gray = (next(batches(VOC(tmp_path, VIEW, NAMES, gray=g), 1)).images[0] for g in (False, True))
    assert gray.shape == (1, 30, 40)
    torch.testing.assert_close(
        gray[0], (color * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0), atol=0.01, rtol=0
    )


# -- classes ------------------------------------------------------------------------------------------------------------


def test_without_class_names_those_of_all_annotations(tmp_path: Path) -> None:
    """The same for every list, so that the numbers of classes are too."""
    voc(tmp_path, a=(DOG,), b=(CAT,), c=((*BEAR, "1"),))
    write_split(tmp_path, "val", "a\n")
    for split in (None, "val"):
        assert VOC(tmp_path, VIEW, split=split, difficult=False).classes == ("Polar_Bear", "cat", "dog")


def test_classes_called_by_numbers(tmp_path: Path) -> None:
    voc(tmp_path, a=(("1", (1, 1, 3, 3)),))
    assert VOC(tmp_path, VIEW, ("1", "2")).entries[0].box_labels == (0,)
    with pytest.raises(SeewhyError, match=r"a\.xml: object '1' is no class of the classifier"):
        VOC(tmp_path, VIEW, NAMES)


def test_a_class_that_the_classifier_does_not_know(tmp_path: Path) -> None:
    voc(tmp_path, a=(CAT, ("dogs", (1, 1, 3, 3))))
    with pytest.raises(SeewhyError, match=r"a\.xml: object 'dogs' is no class of the classifier. Did you mean 'dog'\?"):
        VOC(tmp_path, VIEW, NAMES)
    with pytest.raises(SeewhyError, match=r"a\.xml: object 'cat' is the name of 2 classes: write 0 or 1"):
        VOC(tmp_path, VIEW, ("cat", "cat", "dogs"))


# -- which pictures -----------------------------------------------------------------------------------------------------


def test_splits(tmp_path: Path) -> None:
    voc(tmp_path, a=(CAT,), b=(CAT,), c=(CAT,))
    write_split(tmp_path, "train", "\ufeffc\r\n\r\n a \nc\n")
    write_split(tmp_path, "val", "b\n")
    write_split(tmp_path, "empty", "\n")
    write_split(tmp_path, "wrong", "a\n\nd\nb")
    assert next(batches(VOC(tmp_path, VIEW, NAMES, split="train"), 9)).ids == ["c.png", "a.png"]
    assert len(VOC(tmp_path, VIEW, NAMES)) == 3
    for split, said in (
        ("vall", r"Main has no split 'vall'. Did you mean 'val'\? It has empty, train, val, wrong"),
        ("../Main/val", "Main has no split '../Main/val'."),
        ("empty", r"empty\.txt lists no picture"),
        ("wrong", r"wrong\.txt, line 3: Annotations has no d\.xml"),
    ):
        with pytest.raises(SeewhyError, match=said):
            VOC(tmp_path, VIEW, NAMES, split=split)
    (tmp_path / "ImageSets/Main/val.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SeewhyError, match=r"val\.txt cannot be read as text in UTF-8"):
        VOC(tmp_path, VIEW, NAMES, split="val")


def test_no_splits(tmp_path: Path) -> None:
    voc(tmp_path, a=(CAT,))
    with pytest.raises(SeewhyError, match=r"Main has no split 'val'\. It has no lists at all"):
        VOC(tmp_path, VIEW, NAMES, split="val")


def test_limit_is_spread_over_the_list_and_batches_stream(tmp_path: Path) -> None:
    voc(tmp_path, **{f"p{i}": (CAT,) for i in range(8)})
    found = VOC(tmp_path, VIEW, NAMES, limit=4)
    assert [batch.ids for batch in batches(found, 3)] == [["p0.png", "p2.png", "p4.png"], ["p6.png"]]
    assert len(VOC(tmp_path, VIEW, NAMES, limit=100)) == 8
    (tmp_path / "JPEGImages/p6.png").write_bytes(b"")
    stream = batches(found, 3)
    assert len(next(stream).ids) == 3
    with pytest.raises(SeewhyError, match=r"p6\.png is empty"):
        next(stream)
    with pytest.raises(SeewhyError, match="batch_size is 0"):
        next(batches(found, 0))
    with pytest.raises(SeewhyError, match="limit is 0"):
        VOC(tmp_path, VIEW, NAMES, limit=0)


@pytest.mark.parametrize(
    "filename", ["other.JPG", "C:\\data\\other.JPG", "/data/other.JPG", "../JPEGImages/other.JPG", "gone.jpg", "..", ""]
)
def test_the_picture_is_the_one_named_or_called_like_the_file(tmp_path: Path, filename: str) -> None:
    paint(tmp_path / "JPEGImages/a.png", SIZE)
    paint(tmp_path / "JPEGImages/other.JPG", SIZE)
    annotate(tmp_path, "a", xml(CAT, filename=filename))
    expected = "other.JPG" if "other" in filename else "a.png"
    assert next(batches(VOC(tmp_path, VIEW, NAMES), 1)).ids == [expected]


# -- mistakes -----------------------------------------------------------------------------------------------------------


def test_pictures_that_are_missing_or_named_twice(tmp_path: Path) -> None:
    voc(tmp_path, a=(CAT,))
    other = annotate(tmp_path, "b", xml(CAT, filename="gone.png"))
    with pytest.raises(SeewhyError, match=f"^{re.escape(str(other))}: its picture 'gone.png' is not in .*JPEGImages$"):
        VOC(tmp_path, VIEW, NAMES)
    annotate(tmp_path, "b", xml(CAT, filename="a.png"))
    with pytest.raises(SeewhyError, match=r"b\.xml names the picture a\.png, as a\.xml does"):
        VOC(tmp_path, VIEW, NAMES)


def test_folders_that_are_missing(tmp_path: Path) -> None:
    with pytest.raises(SeewhyError, match=r"Annotations is no folder: a voc dataset has Annotations/\*\.xml"):
        VOC(tmp_path, VIEW, NAMES)
    (tmp_path / "Annotations").mkdir()
    with pytest.raises(SeewhyError, match="Annotations holds no xml file"):
        VOC(tmp_path, VIEW)
    annotate(tmp_path, "a", xml())
    with pytest.raises(SeewhyError, match="JPEGImages is no folder"):
        VOC(tmp_path, VIEW, NAMES)
    with pytest.raises(SeewhyError, match="Annotations: no annotation has an object, and there are no class names"):
        VOC(tmp_path, VIEW)


def test_boxes_of_another_size_of_the_picture(tmp_path: Path) -> None:
    paint(tmp_path / "JPEGImages/a.png", (20, 15))
    annotate(tmp_path, "a", xml(CAT))
    with pytest.raises(SeewhyError, match=r"a\.xml has boxes in a picture of 40 x 30 pixels, but a\.png has 20 x 15"):
        next(batches(VOC(tmp_path, VIEW, NAMES), 1))
    for size in (None, (0, 0)):
        annotate(tmp_path, "a", xml(CAT, size=size))
        assert next(batches(VOC(tmp_path, VIEW, NAMES), 1)).ids == ["a.png"]


def laughs(doctype: str, encoding: str = "utf-8") -> bytes:
    return f'<?xml version="1.0" encoding="{encoding}"?>{doctype}<annotation>&lol;</annotation>'.encode(encoding)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is no XML that can be read (no element found"),
        ("<annotation><object></annotation>", "is no XML that can be read (mismatched tag"),
        ("<annotation>&lol;</annotation>", "is no XML that can be read (undefined entity"),
        ('<?xml version="1.0" encoding="nothing"?><annotation/>', "is no XML that can be read ("),
        (b"<annotation>\xff</annotation>", "is no XML that can be read ("),
        (b"\x89PNG\r\n\x1a\n", "is no XML that can be read ("),
        (laughs('<!DOCTYPE a [<!ENTITY lol "lol">]>'), "has a DOCTYPE, with which a file can be hostile"),
        (laughs('<!DOCTYPE a [<!ENTITY lol "lol">]>', "utf-16"), "has a DOCTYPE"),
        (laughs('<!DOCTYPE a [<!ENTITY lol SYSTEM "file:///etc/hosts">]>'), "has a DOCTYPE"),
        (laughs('<!DOCTYPE a SYSTEM "http://example.com/a.dtd">'), "has a DOCTYPE"),
        (b" " * (MAX_BYTES + 1), "has more than 10 million bytes"),
        ("<html/>", "is no annotation of VOC: it begins with <html>"),
        (xml(CAT).replace("cat", " "), "has an object without a name"),
        (xml(CAT).replace("bndbox", "polygon"), "has an object 'cat' without a bndbox"),
        (xml(CAT).replace("<xmax>8</xmax>", ""), "has '' where <xmax> wants a number"),
        (xml(CAT).replace(">8<", ">nan<"), "has 'nan' where <xmax> wants a number"),
        (xml(CAT).replace(">8<", ">eight<"), "has 'eight' where <xmax> wants a number"),
        (xml(CAT).replace(">40<", ">wide<"), "has 'wide' where <width> wants a number"),
        (xml(("cat", (9, 1, 8, 10))), "has an object 'cat' whose box 9 1 8 10 has xmin over xmax, or ymin over ymax"),
    ],
)  # fmt: skip
def test_annotations_that_are_broken_or_hostile(tmp_path: Path, text: str | bytes, said: str) -> None:
    voc(tmp_path, a=(CAT,))
    file = annotate(tmp_path, "a", text)
    with pytest.raises(SeewhyError) as error:
        VOC(tmp_path, VIEW, NAMES)
    assert str(error.value).startswith(f"{file} {said}")
    assert "\n" not in str(error.value)


def test_an_annotation_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.xml").mkdir()
    with pytest.raises(SeewhyError, match=r"a\.xml cannot be read \(Is a directory\)"):
        read_annotation(tmp_path / "a.xml")


def test_a_deep_annotation_is_read(tmp_path: Path) -> None:
    file = annotate(tmp_path, "a", "<annotation>" + "<x>" * 100_000 + "</x>" * 100_000 + "</annotation>")
    assert read_annotation(file).objects == ()


# -- from a name to an evaluation ---------------------------------------------------------------------------------------


def test_every_class_of_a_picture_is_evaluated_on_its_own_region(tmp_path: Path) -> None:
    classifier = TINY["cnn_multilabel"]()
    voc(tmp_path, a=(CAT, DOG), b=(DOG,))
    write_split(tmp_path, "val", "a\nb\n")
    found = dataset(f"voc:{tmp_path}", classifier, options={"split": "val", "difficult": "false"})
    assert isinstance(found, VOC)
    assert (found.split, found.difficult, found.multilabel) == ("val", False, True)
    measures = {"mass": metric("relevance_mass"), "box": metric("box_accuracy")}
    result = seewhy.evaluate(classifier, ["grad_cam"], measures, found, target="label")
    assert len([row for row in result.rows if row.metric == "mass"]) == 3


# -- blood cells --------------------------------------------------------------------------------------------------------


@pytest.mark.real_data
def test_a_published_dataset(real_data: Path) -> None:
    root = real_data / "bccd" / "BCCD"
    found = VOC(root, View((96, 96), 1.0, "squash"))
    assert len(found) == 364
    assert found.classes == ("Platelets", "RBC", "WBC")
    counts = torch.tensor([label for entry in found.entries for label in entry.box_labels]).bincount()
    assert counts.tolist() == [361, 4153, 372]  # two of the 4155 red cells were clicked and not drawn
    splits = {name: len(VOC(root, VIEW, split=name)) for name in ("train", "val", "trainval", "test")}
    assert splits == {"train": 205, "val": 87, "trainval": 292, "test": 72}
    batch = next(batches(VOC(root, View((96, 96), 1.0, "squash"), limit=20), 20))
    assert isinstance(batch.labels, Tensor)
    assert isinstance(batch.regions, Tensor)
    assert torch.equal(batch.regions.flatten(2).any(2), batch.labels > 0)
