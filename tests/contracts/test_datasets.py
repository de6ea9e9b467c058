"""Every registered dataset keeps the contract, on small trees in its layouts; and each check notices what it is for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from support.picture_folders import paint, voc

from seewhy.data import DATASETS, VOC, Batch, Dataset, Folder, Parts, Shapes
from seewhy.data.pictures import View
from seewhy.errors import SeewhyError
from seewhy.options import described
from seewhy.testing import check_dataset
from seewhy.testing.datasets import CHECKS, check_broken_picture

VIEW = View((24, 32), 0.9)
CAT, DOG, BEAR = ("cat", (1, 1, 8, 10)), ("dog", (11, 6, 20, 15)), ("bear", (21, 1, 40, 30))
Made = tuple[Dataset, Path | None]


def folders(root: Path) -> Made:
    files = [paint(root / name) for name in ("ant/a.png", "ant/bb.png", "bee/ccc.png")]
    return Folder(root, VIEW), files[1]


def pictures(root: Path) -> Made:
    files = [paint(root / f"{'x' * i}.png") for i in range(1, 10)]
    return Folder(root, VIEW, gray=True, limit=8), files[0]


def table(root: Path) -> Made:
    files = [paint(root / "images" / f"{name}.png") for name in ("a", "bb", "ccc")]
    paint(root / "mask.png", box=(3, 3, 20, 20))
    lines = ["file,index,boxes,mask", "a.png,0,1 1 20 20; 5 5 39 29,", "bb.png,2,0 0 1 1,", "ccc.png,1,,mask.png"]
    (root / "labels.csv").write_text("\n".join(lines))
    return Folder(root, VIEW, ("ant", "bee", "cat")), files[2]


def several_classes(root: Path) -> Made:
    voc(root, a=(CAT, DOG), bb=(BEAR,), ccc=())
    return VOC(root, VIEW), root / "JPEGImages" / "bb.png"


def one_class(root: Path) -> Made:
    voc(root, a=(CAT,), bb=(BEAR, BEAR), ccc=(DOG,))
    return VOC(root, VIEW, multilabel=False), root / "JPEGImages" / "a.png"


TREES: dict[str, list[Callable[[Path], Made]]] = {
    "folder": [folders, pictures, table],
    "voc": [several_classes, one_class],
    "shapes": [
        lambda _: (Shapes(n=12, size=32), None),
        lambda _: (Shapes(n=12, size=32, multilabel=True, shortcut="random", split="train"), None),
    ],
}


@pytest.mark.parametrize(("name", "place"), [(name, i) for name in DATASETS for i in range(len(TREES.get(name, [0])))])
def test_contract(name: str, place: int, tmp_path: Path) -> None:
    dataset, spare = TREES[name][place](tmp_path)
    assert type(dataset) is DATASETS[name]
    check_dataset(dataset, spare)


@pytest.mark.parametrize("name", DATASETS)
def test_what_a_dataset_declares(name: str) -> None:
    kind: Any = DATASETS[name]
    options = described(kind)
    assert {"path", "view", "classes", "limit", "size", "n", "gray", "multilabel"} >= set(kind.takes)
    assert {option.name for option in options} >= set(kind.takes)
    for option in options:
        assert option.text, f"{name} does not describe {option.name}"


@dataclass(frozen=True)
class Good:
    """Four images that keep the contract; ``broken`` breaks one promise."""

    broken: str = ""
    classes: ClassVar[tuple[str, ...]] = ("a", "b")
    asked: ClassVar[list[int]] = []

    def __len__(self) -> int:
        return 4

    @property
    def ids(self) -> list[str]:
        return ["a", "b", "c", "a" if self.broken == "ids" else "d"]

    def digest(self, indices: Sequence[int]) -> str:
        if self.broken == "constant digest":
            return "always"
        if self.broken == "digest of what was asked":
            self.asked.extend(indices)
            return str(self.asked)
        return str(list(indices) if self.broken == "digest by order" else sorted(indices))

    def batch(self, indices: Sequence[int]) -> Batch:
        images = torch.stack([torch.full((3, 5, 5), i / 4) for i in indices])
        labels = torch.tensor([i % 2 for i in indices])
        regions = torch.ones(len(images), 5, 5, dtype=torch.bool)
        boxes = tuple(torch.tensor([[1.0, 1.0, 3.0, 5.0]]) for _ in indices)
        changed: dict[str, dict[str, Any]] = {
            "image by its batch": {"images": (images + images.mean()) / 2},
            "image by its place": {"images": images + torch.arange(len(images))[:, None, None, None] / 100},
            "range": {"images": images * 2},
            "random": {"images": torch.rand_like(images) if self.broken == "random" else images},
            "labels": {"labels": labels + 1},
            "labels of a class": {"labels": torch.ones(len(images), 3)},
            "regions": {"regions": regions.float()},
            "boxes": {"boxes": tuple(box + 1 for box in boxes)},
            "ids of a batch": {"ids": ["a"] * len(images)},
        }
        batch = Batch([self.ids[i] for i in indices], images, labels, regions, boxes)
        return batch._replace(**changed.get(self.broken, {}))

    def parts(self, index: int) -> Parts:
        regions, images = torch.eye(5, dtype=torch.bool)[:2, None].expand(2, 5, 5).clone(), torch.zeros(2, 3, 5, 5)
        return Parts(
            ("a", "b", "c")[: 3 if self.broken == "names of parts" else 2],
            torch.zeros_like(regions) if self.broken == "hidden parts" else regions,
            images + 2 if self.broken == "range of parts" else images,
        )


BROKEN = {
    "ids": "two images have the same id",
    "constant digest": "different images have the same digest",
    "digest by order": "depends on the order",
    "digest of what was asked": "asked for again",
    "image by its batch": "an image alone gives other images",
    "image by its place": "an image alone gives other images",
    "range": r"leave \[0, 1\]",
    "random": "other images",
    "labels": "a label is not one of 2 classes",
    "labels of a class": "labels have shape",
    "regions": "not bool",
    "boxes": "leaves the image",
    "ids of a batch": "not those of its places",
    "names of parts": "of 3 parts",
    "hidden parts": "no pixel that can be seen",
    "range of parts": r"without parts leave \[0, 1\]",
}


@pytest.mark.parametrize("promise", BROKEN)
def test_a_broken_promise_is_noticed(promise: str) -> None:
    check_dataset(Good())
    with pytest.raises(AssertionError, match=BROKEN[promise]):
        check_dataset(Good(promise))
    assert len(CHECKS) == 6


@dataclass(frozen=True)
class Blind(Good):
    """Reads a file, and is ``silent`` about what is wrong with it, names no ``file``, or has a digest of the name alone."""

    file: Path = Path()
    fault: str = ""

    def digest(self, indices: Sequence[int]) -> str:
        return f"{sorted(indices)} {'' if self.fault == 'digest' else self.file.stat().st_size}"

    def batch(self, indices: Sequence[int]) -> Batch:
        if self.file.read_bytes() == b"no picture" and 2 in indices and self.fault != "silent":
            raise SeewhyError("a picture is broken" if self.fault == "nameless" else f"{self.file} is broken")
        return super().batch(indices)


def test_a_broken_picture_that_is_not_named_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "c.png"
    file.write_bytes(b"content")
    dataset = Blind(file=file)
    check_broken_picture(dataset, file)
    for fault, said in (("silent", "no image raises"), ("nameless", "names c.png"), ("digest", "the digest has not")):
        with pytest.raises(AssertionError, match=said):
            check_broken_picture(replace(dataset, fault=fault), file)
        assert file.read_bytes() == b"content"
