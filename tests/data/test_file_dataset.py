"""What every dataset of files does: batches, limits, digests, and what is said about broken pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.picture_folders import listed, paint

from seewhy.data import VOC, Entry, FileDataset, Folder, PictureList, batches
from seewhy.data.pictures import View
from seewhy.errors import ImageError, SeewhyError

VIEW = View((32, 32), 0.875)
NAMES = ("tench, Tinca tinca", "great white shark", "crane", "house finch", "crane")


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


# -- a reader of the tests ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Given(FileDataset):
    """A dataset of entries that a test has made."""

    given: tuple[Entry, ...] = ()

    def read(self) -> PictureList:
        return PictureList(self.classes or NAMES, self.given)


def given(root: Path, *entries: Entry, **options: Any) -> Given:
    return Given(root, View((32, 32), 1.0), given=entries, **options)


def test_the_digest_is_of_names_labels_boxes_masks_and_file_sizes(tmp_path: Path) -> None:
    file, mask = (paint(tmp_path / name, (32, 32)) for name in ("a.png", "mask.png"))
    other = paint(tmp_path / "other.png", (32, 32), (2, 2, 9, 9))
    entry = Entry("a", file, 1, ((0.0, 0.0, 4.0, 4.0),))
    same = given(tmp_path, entry).digest([0])
    assert len(same) == 16
    assert given(tmp_path, entry._replace(place="list.txt, line 7", group="a patient")).digest([0]) == same
    moved = tmp_path / "moved" / "a.png"
    moved.parent.mkdir()
    moved.write_bytes(file.read_bytes())
    assert given(tmp_path / "moved", entry._replace(file=moved)).digest([0]) == same, "a folder may be moved"
    changes: list[dict[str, Any]] = [
        {"id": "b"}, {"label": 2}, {"label": None}, {"label": (1,)}, {"boxes": ((0.0, 0.0, 4.0, 5.0),)}, {"boxes": None},
        {"box_labels": (1,)}, {"mask": mask}, {"mask": mask, "mask_values": (1,)}, {"file": other},
    ]  # fmt: skip
    digests = [given(tmp_path, entry._replace(**change)).digest([0]) for change in changes]
    assert len({same, *digests}) == len(changes) + 1
    two = given(tmp_path, entry, Entry("b", other, 0))
    assert two.digest([0]) == same, "an image's digest does not depend on the others"
    assert two.digest([0, 1]) == two.digest([1, 0]) != two.digest([0])
    file.unlink()
    assert two.digest([0]) != same, "a file that is gone can still be asked for"
    with pytest.raises(ImageError, match=r"a\.png does not exist"):
        two.batch([0])


def test_masks_have_values(tmp_path: Path) -> None:
    file = paint(tmp_path / "a.png", (32, 32))
    trimap = np.full((32, 32), 2, np.uint8)
    trimap[4:9, 6:10], trimap[0, 0] = 1, 3
    Image.fromarray(trimap).save(tmp_path / "mask.png")
    for values, marked in (((1,), trimap == 1), ((1, 3), trimap != 2), ((), trimap > 0)):
        batch = given(tmp_path, Entry("a", file, 0, mask=tmp_path / "mask.png", mask_values=values)).batch([0])
        assert batch.regions is not None
        np.testing.assert_array_equal(batch.regions[0].numpy(), marked)
        assert batch.boxes is None


def test_several_labels_have_a_region_each(tmp_path: Path) -> None:
    files = [paint(tmp_path / f"{name}.png", (32, 32)) for name in "ab"]
    boxes = ((0.0, 0.0, 4.0, 4.0), (8.0, 8.0, 10.0, 10.0), (20.0, 20.0, 23.0, 21.0))
    found = given(tmp_path, Entry("a", files[0], (1, 3), boxes, (1, 3, 1)), Entry("b", files[1], (), ()))
    batch = found.batch([0, 1])
    assert batch.labels is not None
    assert batch.labels.tolist() == [[0, 1, 0, 1, 0], [0, 0, 0, 0, 0]]
    assert batch.regions is not None
    assert batch.regions.sum((2, 3)).tolist() == [[0, 19, 0, 4, 0], [0] * 5]  # type: ignore[call-arg]
    assert batch.boxes is None


def test_what_nobody_said_is_none(tmp_path: Path) -> None:
    batch = given(tmp_path, Entry("a", paint(tmp_path / "a.png"))).batch([0])
    assert (batch.labels, batch.regions, batch.boxes) == (None, None, None)


def test_a_name_twice_is_a_mistake(tmp_path: Path) -> None:
    entries = [Entry("a", paint(tmp_path / "a.png"), place=f"{tmp_path}/list.txt, line {i}") for i in (1, 2)]
    with pytest.raises(SeewhyError, match=r"list\.txt, line 2 names the picture a, as list\.txt, line 1 does"):
        given(tmp_path, *entries)
    with pytest.raises(SeewhyError, match="names the picture a, twice"):
        given(tmp_path, *(entry._replace(place="") for entry in entries))
    with pytest.raises(SeewhyError, match="lists no picture"):
        given(tmp_path)


def test_a_broken_picture_is_an_image_error_that_begins_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(b"text")
    for place, begin in (("", str(file)), ("list.txt, line 3", "list.txt, line 3: ")):
        with pytest.raises(ImageError) as caught:
            given(tmp_path, Entry("a", file, place=place)).batch([0])
        assert str(caught.value).startswith(begin)


def test_a_reader_writes_one_method() -> None:
    assert FileDataset.__abstractmethods__ == {"read"}
    for kind in (Folder, VOC, Given):
        assert not set(vars(kind)) & {"batch", "digest", "ids", "sample", "entries", "__len__", "__post_init__"}
