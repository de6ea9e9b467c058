"""Pictures with boxes in the layout of PASCAL VOC: an XML file for each picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from math import isfinite
from pathlib import Path, PureWindowsPath
from typing import NamedTuple
from xml.etree import ElementTree

import torch
from torch import Tensor

from seewhy.data.base import DATASETS, Batch
from seewhy.data.folder import class_index, shown, spread
from seewhy.data.pictures import SUFFIXES, View, read_picture
from seewhy.data.regions import Box, checked_boxes, fit, region_of
from seewhy.errors import SeewhyError
from seewhy.registry import did_you_mean

MAX_BYTES = 10_000_000
"""Of one annotation; a picture with a thousand objects needs a few hundred thousand."""
SIDES = ("xmin", "ymin", "xmax", "ymax")


class Object(NamedTuple):
    """One object of a picture: its name, its box (right and bottom excluded; None if it is empty), is it difficult?"""

    name: str
    box: Box | None
    difficult: bool


class Annotation(NamedTuple):
    """What an XML file says: the name of its picture and (width, height), if it says them, and the objects."""

    filename: str
    size: tuple[int, int] | None
    objects: tuple[Object, ...]


class VOCEntry(NamedTuple):
    """One picture: its annotation's file, its own, its size if that is said, and class and box of each object."""

    source: Path
    file: Path
    size: tuple[int, int] | None
    objects: tuple[tuple[int, Box], ...]


@DATASETS.register("voc")
@dataclass(frozen=True)
class VOC:
    """Pictures with boxes in the folders of PASCAL VOC: Annotations/, JPEGImages/ and perhaps ImageSets/Main/.

    ``Annotations/a.xml`` names its picture in <filename>; where JPEGImages/ has no such file, it is JPEGImages/a with any
    suffix of a picture. Pixels are counted from 1 and both ends belong to the box, as VOC has it: left is xmin - 1, right
    is xmax. A box that leaves the picture by a few pixels is cut. An object whose xmin is xmax, or ymin is ymax, was
    clicked and not drawn: it is left out, as if it were not in the file.

    With ``multilabel`` the labels are (n, k) zeros and ones, and the regions (n, k, h, w) the boxes of each class
    together. ``Batch.boxes`` is None then, for boxes are those of the class explained, and here each row has several: what
    needs a box takes the one around the region of the class. Without ``multilabel`` every picture has objects of one
    class; that is its label, the region is all boxes together, and the boxes are given. An object that the network does
    not see, because it is cut away with the border, still counts for the label.

    path        the folder
    view        how the classifier sees a picture: ``classifier.view``
    classes     ``classifier.classes``; without them the names of all objects in Annotations/, in alphabetical order.
                Capitals and underscores do not matter
    limit       only so many pictures, spread evenly over the list
    split       a list of pictures, ImageSets/Main/SPLIT.txt; without it every picture that has an annotation
    difficult   do objects flagged as difficult count? If not, they are left out, as if they were not in the file
    gray        one channel, for a classifier of gray images
    multilabel  may a picture have objects of several classes?
    """

    path: str | Path
    view: View
    classes: tuple[str, ...] = ()
    limit: int | None = None
    split: str | None = None
    difficult: bool = True
    gray: bool = False
    multilabel: bool = True

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise SeewhyError(f"voc: limit is {self.limit}; ask for at least 1 picture")
        if not self.classes:
            names = {found.name for file in self._annotations.values() for found in read_annotation(file).objects}
            if not names:
                raise SeewhyError(f"{self._annotation_folder}: no annotation has an object, and there are no class names")
            object.__setattr__(self, "classes", tuple(sorted(names)))
        _ = self.entries  # all that is wrong with the annotations is said now

    @property
    def _annotation_folder(self) -> Path:
        return Path(self.path) / "Annotations"

    @cached_property
    def _annotations(self) -> dict[str, Path]:
        """The XML files by their stems."""
        folder = self._annotation_folder
        if not folder.is_dir():
            raise SeewhyError(f"{folder} is no folder: a voc dataset has Annotations/*.xml and JPEGImages/ in its path")
        found = {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() == ".xml" and p.name[0] != "."}
        if not found:
            raise SeewhyError(f"{folder} holds no xml file")
        return found

    @cached_property
    def entries(self) -> list[VOCEntry]:
        """The pictures in their order."""
        annotations, folder = self._annotations, Path(self.path) / "JPEGImages"
        if not folder.is_dir():
            raise SeewhyError(f"{folder} is no folder: a voc dataset has its pictures there")
        pictures = {p.name: p for p in sorted(folder.iterdir()) if p.suffix.lower() in SUFFIXES}
        stems = list(annotations) if self.split is None else read_split(Path(self.path), self.split, annotations)
        found: dict[Path, VOCEntry] = {}
        for stem in spread(stems, self.limit):
            entry = self._entry(annotations[stem], pictures, folder)
            if entry.file in found:
                raise SeewhyError(
                    f"{entry.source} names the picture {entry.file.name}, as {found[entry.file].source.name} does"
                )
            found[entry.file] = entry
        return list(found.values())

    def _entry(self, source: Path, pictures: dict[str, Path], folder: Path) -> VOCEntry:
        said = read_annotation(source)
        by_stem = (p for p in pictures.values() if p.stem == source.stem)
        file = pictures.get(PureWindowsPath(said.filename).name) or next(by_stem, None)  # some tools write a whole path
        if file is None:
            raise SeewhyError(f"{source}: its picture {said.filename or source.stem!r} is not in {folder}")
        counted = [o for o in said.objects if o.box is not None and (self.difficult or not o.difficult)]
        objects = tuple((self._class(o.name, source), o.box) for o in counted if o.box is not None)
        present = sorted({label for label, _ in objects})
        if not self.multilabel and len(present) != 1:
            names = " and ".join(self.classes[label] for label in present) or "no object"
            raise SeewhyError(f"{source} has {names}; without multilabel every picture has objects of one class")
        return VOCEntry(source, file, said.size, objects)

    def _class(self, name: str, source: Path) -> int:
        if self.classes.count(name) == 1:
            return self.classes.index(name)
        if name.isdecimal():  # an index to class_index; but whether a file's numbers count from 0 or from 1 is not known
            raise SeewhyError(
                f"{source}: object {name!r} is no class of the classifier.{did_you_mean(name, [*self.classes])}"
            )
        return class_index(name, self.classes, f"{source}: object")

    def __len__(self) -> int:
        return len(self.entries)

    @cached_property
    def ids(self) -> list[str]:
        """The names of the pictures' files."""
        return [entry.file.name for entry in self.entries]

    @cached_property
    def digest(self) -> str:
        """Of the objects and of the sizes of the pictures' files: another one, other data."""
        lines = (f"{entry.file.name} {entry.objects} {entry.file.stat().st_size}" for entry in self.entries)
        return sha256("\n".join(lines).encode()).hexdigest()[:16]

    def batch(self, indices: Sequence[int]) -> Batch:
        """The pictures at these places, read now."""
        images, labels, regions, boxes = zip(*(self.sample(self.entries[i]) for i in indices), strict=True)
        return Batch(
            ids=[self.ids[i] for i in indices],
            images=torch.stack(images),
            labels=torch.stack(labels),
            regions=torch.stack(regions),
            boxes=None if self.multilabel else boxes,
        )

    def sample(self, entry: VOCEntry) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The picture, its label or labels, its region or regions, and (m, 4) all boxes that the network sees."""
        picture = read_picture(entry.file)
        if entry.size not in (None, picture.size):
            said, is_ = (f"{w} x {h}" for w, h in (entry.size or (0, 0), picture.size))
            raise SeewhyError(f"{entry.source} has boxes in a picture of {said} pixels, but {entry.file.name} has {is_}")
        try:
            checked_boxes(tuple(box for _, box in entry.objects), picture.size)
        except SeewhyError as error:
            raise SeewhyError(f"{entry.source}: {error}") from None
        inside = [(label, fit(box, picture.size, self.view)) for label, box in entry.objects]
        boxes = torch.tensor([box for _, box in inside if box is not None]).reshape(-1, 4)
        image = shown(picture, self.view, self.gray)
        if not self.multilabel:
            return image, torch.tensor(entry.objects[0][0]), region_of(boxes, self.view), boxes
        labels = torch.zeros(len(self.classes))
        labels[torch.tensor([label for label, _ in entry.objects]).long()] = 1.0
        of_class = torch.tensor([label for label, box in inside if box is not None])
        regions = torch.zeros(len(self.classes), *self.view.size, dtype=torch.bool)
        for label in of_class.unique().tolist():
            regions[label] = region_of(boxes[of_class == label], self.view)
        return image, labels, regions, boxes


# -- the files ----------------------------------------------------------------------------------------------------------


def read_split(path: Path, split: str, annotations: dict[str, Path]) -> list[str]:
    """The stems in the list ``split``, each once."""
    folder = path / "ImageSets" / "Main"
    lists = {p.stem: p for p in sorted(folder.glob("*.txt"))}
    if split not in lists:
        known = f"It has {', '.join(lists)}" if lists else "It has no lists at all"
        raise SeewhyError(f"{folder} has no split {split!r}.{did_you_mean(split, list(lists))} {known}")
    try:
        lines = lists[split].read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SeewhyError(f"{lists[split]} cannot be read as text in UTF-8 ({error})") from None
    stems = {line.strip(): number for number, line in reversed([*enumerate(lines, 1)]) if line.strip()}
    for stem, number in reversed(stems.items()):
        if stem not in annotations:
            raise SeewhyError(f"{lists[split]}, line {number}: Annotations has no {stem}.xml")
    if not stems:
        raise SeewhyError(f"{lists[split]} lists no picture")
    return sorted(stems, key=stems.__getitem__)


class _WithoutDoctype(ElementTree.TreeBuilder):
    """Entities can only be declared in a DOCTYPE, so a file without one cannot grow or fetch anything when it is read."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise SeewhyError("has a DOCTYPE, with which a file can be hostile: take it out")


def read_annotation(file: Path) -> Annotation:
    """The annotation in ``file``; SeewhyError if it is broken, hostile, or none."""
    try:
        if file.stat().st_size > MAX_BYTES:
            raise SeewhyError(f"has more than {MAX_BYTES // 10**6} million bytes")
        root = ElementTree.fromstring(file.read_bytes(), ElementTree.XMLParser(target=_WithoutDoctype()))
        if root.tag != "annotation":
            raise SeewhyError(f"is no annotation of VOC: it begins with <{root.tag[:40]}>")
        size = tuple(_number(root, f"size/{side}", 0.0) for side in ("width", "height"))
        return Annotation(
            filename=_text(root, "filename"),
            size=(int(size[0]), int(size[1])) if min(size) > 0 else None,  # some tools write 0
            objects=tuple(_object(found) for found in root.findall("object")),
        )
    except SeewhyError as error:
        raise SeewhyError(f"{file} {error}") from None
    except OSError as error:
        raise SeewhyError(f"{file} cannot be read ({error.strerror or error})") from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # the last two: of encodings
        raise SeewhyError(f"{file} is no XML that can be read ({error})") from None


def _object(found: ElementTree.Element) -> Object:
    name = _text(found, "name")
    if not name:
        raise SeewhyError("has an object without a name")
    if found.find("bndbox") is None:
        raise SeewhyError(f"has an object {name!r} without a bndbox")
    left, top, right, bottom = (_number(found, f"bndbox/{side}") for side in SIDES)
    if left > right or top > bottom:
        box = f"{left:g} {top:g} {right:g} {bottom:g}"
        raise SeewhyError(f"has an object {name!r} whose box {box} has xmin over xmax, or ymin over ymax")
    empty = left == right or top == bottom
    return Object(name, None if empty else (left - 1, top - 1, right, bottom), _text(found, "difficult") not in ("", "0"))


def _text(element: ElementTree.Element, tag: str) -> str:
    return (element.findtext(tag) or "").strip()


def _number(element: ElementTree.Element, tag: str, default: float | None = None) -> float:
    text = _text(element, tag)
    if not text and default is not None:
        return default
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not isfinite(number):
        raise SeewhyError(f"has {text!r} where <{tag.rpartition('/')[2]}> wants a number")
    return number
