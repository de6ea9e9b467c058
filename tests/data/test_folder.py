"""Pictures of one's own: the layouts of a folder, and what is said about mistakes."""

from pathlib import Path

import pytest
import torch
from support.picture_folders import paint

from seewhy.data import DATASETS, Dataset, Folder, batches
from seewhy.data.pictures import View, as_seen, read_picture, to_tensor
from seewhy.errors import SeewhyError

VIEW = View((32, 32), 0.875)
NAMES = ("tench, Tinca tinca", "great white shark", "crane", "house finch", "crane")


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
    with pytest.warns(
        UserWarning, match="which are read as indices: .* as ImageFolder of torchvision does, give the class names"
    ):
        dataset = Folder(tmp_path / "numbers", VIEW)
    assert dataset.classes == ()
    assert [b.labels.tolist() for b in batches(dataset, 1)] == [[10], [2]]  # type: ignore[union-attr]


def test_folders_that_are_called_by_numbers(tmp_path: Path) -> None:
    """In alphabetical order, as ImageFolder of torchvision counts them: "10" is the third class."""
    names = ("0", "1", "10", "11", "2")
    for name in names:
        paint(tmp_path / name / "a.png")
    dataset = Folder(tmp_path, VIEW, names)
    assert [(entry.id, entry.label) for entry in dataset.entries] == [(f"{name}/a.png", i) for i, name in enumerate(names)]
    with pytest.raises(SeewhyError, match="has '10', which is the name of a class, and '0', which is none"):
        Folder(tmp_path, VIEW, ("cat", "10", "11", "2", "dog"))


def test_pictures_without_labels(tmp_path: Path) -> None:
    for name in ("b.png", "a.png"):
        paint(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    (batch,) = batches(Folder(str(tmp_path), VIEW, NAMES), 5)
    assert batch.labels is None
    assert batch.ids == ["a.png", "b.png"]


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
