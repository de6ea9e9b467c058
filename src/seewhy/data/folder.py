"""Your own pictures: a folder for each class, or a csv file that also tells where the object is."""

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from math import isfinite
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from PIL import Image
from torch import Tensor

from seewhy.data.base import DATASETS, Batch
from seewhy.data.pictures import SUFFIXES, View, read_picture, see, to_tensor
from seewhy.data.regions import Box, checked_boxes, fit, read_mask, region_of
from seewhy.errors import SeewhyError
from seewhy.registry import did_you_mean

T = TypeVar("T")

LABEL_COLUMNS = ("index", "label", "class", "name", "wnid")
"""Columns of the csv file that say the class; the first that there is."""


class Entry(NamedTuple):
    """One picture and what is said of it.

    file   where it is
    place  what errors call the line that names it; empty if no file does
    label  index of its class
    boxes  left, top, right, bottom of its objects, in its own pixels
    mask   a picture of the same size, non-zero where the object is
    """

    file: Path
    place: str = ""
    label: int | None = None
    boxes: tuple[Box, ...] = ()
    mask: Path | None = None


@DATASETS.register("folder")
@dataclass(frozen=True)
class Folder:
    """The pictures in a folder, as a classifier sees them.

    Three layouts are understood. ``PATH/CLASS/*.jpg``: a folder for each class, called by the name of the class (capitals
    and underscores do not matter), its index, or its ImageNet number such as n01440764. ``PATH/labels.csv``: a line for
    each picture, with a column "file" (beside the csv file or in its subfolder images/), and one of "index", "label",
    "class", "name", "wnid". ``PATH/*.jpg``: pictures without labels.

    The csv file may have a column "boxes" (or one that begins so), "left top right bottom; left top right bottom", in
    pixels of the picture as a viewer shows it, and a column "mask", a picture of the same size that is not 0 where the
    object is. The region is the mask, or all boxes together; it goes through the same resizing and cropping as the
    picture. What is cut away leaves no box, and an empty region.

    path          the folder, or a csv file
    view          how the classifier sees a picture: ``classifier.view``
    classes       ``classifier.classes``; without them folders count from 0 in alphabetical order, and give the names
    limit         only so many pictures, spread evenly over the list, so that each class has its share
    boxes_column  which column has the boxes, if several begin so; "none" for no boxes
    gray          one channel, for a classifier of gray images
    """

    path: str | Path
    view: View
    classes: tuple[str, ...] = ()
    limit: int | None = None
    boxes_column: str | None = None
    gray: bool = False

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise SeewhyError(f"folder: limit is {self.limit}; ask for at least 1 picture")
        if not self.classes and self._table is None:
            names = [folder.name for folder in class_folders(self.folder)]
            if not all(name.isdecimal() for name in names):
                object.__setattr__(self, "classes", tuple(names))
        _ = self.entries  # all that is wrong with the list is said now

    @property
    def folder(self) -> Path:
        """What the names of the pictures are relative to."""
        return Path(self.path) if self._table is None else self._table.parent

    @property
    def _table(self) -> Path | None:
        """The csv file, if there is one."""
        path = Path(self.path)
        if not path.exists():
            raise SeewhyError(f"folder {path} does not exist")
        if path.is_file():
            if path.suffix.lower() != ".csv":
                raise SeewhyError(f"{path} is neither a folder nor a csv file")
            return path
        return path / "labels.csv" if (path / "labels.csv").is_file() else None

    @cached_property
    def entries(self) -> list[Entry]:
        """The pictures in their order."""
        if self._table is not None:
            found = read_table(self._table, self.classes, self.boxes_column)
        else:
            boxes_in([], self.boxes_column, None)
            found = read_folders(self.folder, self.classes)
        return spread(found, self.limit)

    def __len__(self) -> int:
        return len(self.entries)

    @cached_property
    def ids(self) -> list[str]:
        """The names of the files, relative to the folder."""
        return [_relative(entry.file, self.folder) for entry in self.entries]

    @cached_property
    def digest(self) -> str:
        """Of what is said of the pictures and of the sizes of their files: another one, other data."""
        said = zip(self.ids, self.entries, strict=True)
        lines = (f"{i} {e.label} {e.boxes} {e.mask and e.mask.name} {e.file.stat().st_size}" for i, e in said)
        return sha256("\n".join(lines).encode()).hexdigest()[:16]

    @cached_property
    def _has(self) -> tuple[bool, bool, bool]:
        """Are there labels, regions and boxes?"""
        columns = header(self._table) if self._table is not None else []
        boxed = boxes_in(columns, self.boxes_column, self._table) is not None
        return self.entries[0].label is not None, boxed or "mask" in columns, boxed

    def batch(self, indices: Sequence[int]) -> Batch:
        """The pictures at these places, read now."""
        part = [self.entries[i] for i in indices]
        images, regions, boxes = zip(*(self.sample(entry) for entry in part), strict=True)
        labelled, marked, boxed = self._has
        return Batch(
            ids=[self.ids[i] for i in indices],
            images=torch.stack(images),
            labels=torch.tensor([entry.label for entry in part]) if labelled else None,
            regions=torch.stack(regions) if marked else None,
            boxes=boxes if boxed else None,
        )

    def sample(self, entry: Entry) -> tuple[Tensor, Tensor, Tensor]:
        """(c, h, w) the picture, (h, w) the region and (m, 4) the boxes that are left of it, as the network sees them."""
        try:
            picture = read_picture(entry.file)
            inside = [fit(box, picture.size, self.view) for box in checked_boxes(entry.boxes, picture.size)]
            boxes = torch.tensor([box for box in inside if box is not None]).reshape(-1, 4)
            region = region_of(boxes, self.view) if entry.mask is None else read_mask(entry.mask, picture.size, self.view)
        except SeewhyError as error:
            raise SeewhyError(f"{entry.place}{error}") from None
        return shown(picture, self.view, self.gray), region, boxes


def spread(found: Sequence[T], limit: int | None) -> list[T]:
    """``limit`` of them, evenly spread; all, if there are no more."""
    n = len(found)
    return list(found) if limit is None or limit >= n else [found[i * n // limit] for i in range(limit)]


def shown(picture: Image.Image, view: View, gray: bool) -> Tensor:
    """(c, h, w) what the network sees of it, in three channels or one gray one."""
    seen = see(picture, view)
    return to_tensor(seen.convert("L").convert("RGB"))[:1] if gray else to_tensor(seen)


# -- the list -----------------------------------------------------------------------------------------------------------


def class_folders(folder: Path) -> list[Path]:
    """The folders in it, in alphabetical order, but hidden ones; none if they hold no pictures."""
    found = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))
    return found if any(_pictures(p) for p in found) else []


def read_folders(folder: Path, classes: tuple[str, ...]) -> list[Entry]:
    """The pictures of the class folders; without any, the pictures of the folder itself, which have no label."""
    loose, folders = _pictures(folder), class_folders(folder)
    if loose and folders:
        raise SeewhyError(
            f"folder {folder} has pictures ({loose[0].name}) beside folders of classes ({folders[0].name}): move one of them"
        )
    if not loose and not folders:
        raise SeewhyError(f"folder {folder} holds no pictures ({', '.join(SUFFIXES)}), folders of them, or labels.csv")
    labels = [class_index(p.name, classes, f"folder {folder}:") for p in folders]
    return [Entry(file) for file in loose] or [
        Entry(file, label=label) for p, label in zip(folders, labels, strict=True) for file in _pictures(p)
    ]


def header(table: Path) -> list[str]:
    """The names of the columns."""
    return list(_rows(table)[0])


def read_table(table: Path, classes: tuple[str, ...], boxes_column: str | None) -> list[Entry]:
    """The pictures of a csv file."""
    columns, rows = _rows(table)
    if "file" not in columns:
        raise SeewhyError(f"{table}: no column 'file' in its first line; it has {', '.join(columns) or 'none'}")
    if not rows:
        raise SeewhyError(f"{table} lists no picture")
    label, boxes = next((c for c in LABEL_COLUMNS if c in columns), None), boxes_in(columns, boxes_column, table)
    entries: dict[Path, Entry] = {}
    for line, row in rows:
        place = f"{table.name}, line {line}"
        file = _beside(table, row["file"], f"{place}: picture")
        if file in entries:
            raise SeewhyError(f"{place}: {row['file']} is listed twice; several boxes are separated by semicolons")
        entries[file] = Entry(
            file,
            f"{place}: ",
            None if label is None else class_index(row[label], classes, f"{place}: {label}", label == "index"),
            () if boxes is None else parse_boxes(row[boxes], f"{place}: {boxes}"),
            _beside(table, row["mask"], f"{place}: mask") if row.get("mask") else None,
        )
    return list(entries.values())


def _rows(table: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The columns, and each row with the number of its line."""
    try:
        with table.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.reader(opened)
            columns = [name.strip() for name in next(reader, [])]
            rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader if any(row)]
    except (UnicodeDecodeError, csv.Error):
        raise SeewhyError(f"{table} is not a csv file in UTF-8") from None
    except OSError as error:
        raise SeewhyError(f"{table} cannot be read ({error.strerror or error})") from None
    for line, row in rows:
        if len(row) != len(columns):
            raise SeewhyError(
                f"{table.name}, line {line}: {len(row)} cells under {len(columns)} columns; text with commas needs quotes"
            )
    return columns, [(line, dict(zip(columns, row, strict=True))) for line, row in rows]


def boxes_in(columns: Sequence[str], wanted: str | None, table: Path | None) -> str | None:
    """The column with the boxes, if there is one; SeewhyError where it must be said which."""
    found = [name for name in columns if name.startswith("boxes")]
    if wanted == "none":
        return None
    if wanted is not None:
        if wanted not in columns:
            raise SeewhyError(f"{table or 'the folder'} has no column {wanted!r}.{did_you_mean(wanted, list(columns))}")
        return wanted
    if len(found) > 1 and "boxes" not in found:
        raise SeewhyError(f"{table} has boxes in {', '.join(found)}: choose one with boxes_column, or none")
    return "boxes" if "boxes" in found else next(iter(found), None)


def class_index(text: str, classes: tuple[str, ...], place: str, number: bool = False) -> int:
    """The class that is called ``text``; ``number``: only an index will do. ``place`` begins the error."""
    if re.fullmatch(r"[0-9]+", text):
        if classes and int(text) >= len(classes):
            raise SeewhyError(f"{place} {text} is no class: the classifier has classes 0 to {len(classes) - 1}")
        return int(text)
    if number or not text:
        raise SeewhyError(f"{place} {text!r} is no index of a class: write a number from 0 on")
    if not classes:
        raise SeewhyError(f"{place} {text!r} is no class: there are no class names, write indices or give the names")
    if re.fullmatch(r"n[0-9]{8}", text) and len(classes) == 1000 and text not in classes:
        from timm.data import ImageNetInfo

        wnids = ImageNetInfo().label_names()
        if text in wnids:
            return wnids.index(text)
    folded = [_fold(name) for name in classes]
    for names in (folded, [name.partition(",")[0] for name in folded]):  # "tench, Tinca tinca" is also called tench
        found = [i for i, name in enumerate(names) if name == _fold(text)]
        if len(found) > 1:  # ImageNet has two cranes
            raise SeewhyError(f"{place} {text!r} is the name of {len(found)} classes: write {' or '.join(map(str, found))}")
        if found:
            return found[0]
    raise SeewhyError(f"{place} {text!r} is no class of the classifier.{did_you_mean(_fold(text), folded)}")


def parse_boxes(text: str, place: str) -> tuple[Box, ...]:
    """``"left top right bottom;..."``, no box for an empty cell; SeewhyError unless each has four numbers in that order."""
    boxes = []
    for part in filter(str.strip, text.split(";")):
        try:
            left, top, right, bottom = (float(number) for number in re.split(r"[\s,]+", part.strip()))
        except ValueError:
            raise SeewhyError(f"{place} {part.strip()!r}: a box is four numbers, left top right bottom") from None
        if not (all(map(isfinite, (left, top, right, bottom))) and left < right and top < bottom):
            raise SeewhyError(f"{place} {part.strip()!r}: left is not less than right, or top not less than bottom")
        boxes.append((left, top, right, bottom))
    return tuple(boxes)


def _beside(table: Path, name: str, what: str) -> Path:
    """The file called ``name`` beside the table or in its folder images/."""
    for file in (table.parent / name, table.parent / "images" / name):
        if name and file.is_file():
            return file
    raise SeewhyError(f"{what} {name!r} is neither in {table.parent} nor in its folder images")


def _pictures(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and p.is_file() and p.name[0] != ".")


def _relative(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix() if file.is_relative_to(folder) else file.as_posix()


def _fold(name: str) -> str:
    return name.strip().lower().replace("_", " ")
