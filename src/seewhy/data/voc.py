"""Pictures with boxes in the layout of PASCAL VOC: an XML file for each picture."""

from dataclasses import dataclass
from math import isfinite
from pathlib import Path, PureWindowsPath
from typing import ClassVar, NamedTuple
from xml.etree import ElementTree

from seewhy.data.base import DATASETS
from seewhy.data.class_names import class_index
from seewhy.data.file_dataset import Entry, FileDataset, PictureList
from seewhy.data.pictures import pictures_in
from seewhy.data.regions import Box
from seewhy.errors import SeewhyError
from seewhy.registry import did_you_mean

MAX_BYTES = 10_000_000
"""The largest annotation; a picture with a thousand objects needs a few hundred thousand bytes."""


class Object(NamedTuple):
    """One object of a picture: its name, its box (right and bottom excluded; None if empty), whether it is difficult."""

    name: str
    box: Box | None
    difficult: bool


class Annotation(NamedTuple):
    """The content of an XML file: the name of its picture, (width, height) of the picture if given, and the objects."""

    filename: str
    size: tuple[int, int] | None
    objects: tuple[Object, ...]


@DATASETS.register("voc")
@dataclass(frozen=True)
class VOC(FileDataset):
    """Pictures with boxes in the folders of PASCAL VOC: Annotations/, JPEGImages/ and perhaps ImageSets/Main/.

    ``Annotations/a.xml`` names its picture in <filename>. If JPEGImages/ has no such file, the picture is JPEGImages/a with
    any suffix of a picture. VOC counts pixels from 1, and both ends belong to the box: left is xmin - 1, right is xmax. A
    box that leaves the picture by a few pixels is cut. An object whose xmin is xmax, or whose ymin is ymax, was clicked and
    not drawn: it is left out, as if it were not in the file.

    With ``multilabel`` the labels are (n, k) zeros and ones, and the regions (n, k, h, w) are the boxes of each class
    together. ``Batch.boxes`` is None then: boxes are those of the class explained, and each picture has several classes. A
    metric that needs a box takes the one around the region of the class. Without ``multilabel`` every picture has objects of
    one class. That class is the label, the region is all boxes together, and the boxes are given. An object that is cut
    away with the border, so that the network does not see it, still counts for the label.

    Source: Everingham et al., The PASCAL Visual Object Classes (VOC) Challenge, IJCV 2010. The pictures are from Flickr,
    under its terms of use; other datasets with this layout have terms of their own.

    Args:
        classes: ``classifier.classes``, whose capitals and underscores do not matter; without them the names of all
            objects in Annotations/, in alphabetical order.
        split: a list of pictures, ImageSets/Main/SPLIT.txt; without it every picture that has an annotation.
        difficult: whether objects flagged as difficult count; if not, they are left out, as if they were not in the file.
        multilabel: whether a picture may have objects of several classes.
    """

    takes: ClassVar[tuple[str, ...]] = (*FileDataset.takes, "multilabel")

    split: str | None = None
    difficult: bool = True
    multilabel: bool = True

    def read(self) -> PictureList:
        """An entry for each annotation of the split."""
        annotations = _list_annotations(Path(self.path) / "Annotations")
        classes = self.classes or _all_names(annotations)
        folder = Path(self.path) / "JPEGImages"
        if not folder.is_dir():
            raise SeewhyError(f"{folder} is no folder: a voc dataset has its pictures there")
        pictures = {p.name: p for p in pictures_in(folder)}
        stems = list(annotations) if self.split is None else read_split(Path(self.path), self.split, annotations)
        return PictureList(classes, [self._entry(annotations[stem], classes, pictures) for stem in self.chosen(stems)])

    def _entry(self, source: Path, classes: tuple[str, ...], pictures: dict[str, Path]) -> Entry:
        found = read_annotation(source)
        by_stem = (p for p in pictures.values() if p.stem == source.stem)
        file = pictures.get(PureWindowsPath(found.filename).name) or next(by_stem, None)  # some tools write a whole path
        if file is None:
            folder = Path(self.path) / "JPEGImages"
            raise SeewhyError(f"{source}: its picture {found.filename or source.stem!r} is not in {folder}")
        counted = [o for o in found.objects if o.box is not None and (self.difficult or not o.difficult)]
        labels = tuple(_class_of(o.name, classes, source) for o in counted)
        present = tuple(sorted(set(labels)))
        if not self.multilabel and len(present) != 1:
            names = " and ".join(classes[label] for label in present) or "no object"
            raise SeewhyError(f"{source} has {names}; without multilabel every picture has objects of one class")
        return Entry(
            file.name,
            file,
            label=present if self.multilabel else present[0],
            boxes=tuple(o.box for o in counted if o.box is not None),
            box_labels=labels,
            size=found.size,
            place=str(source),
        )


def _list_annotations(folder: Path) -> dict[str, Path]:
    """The XML files by their stems."""
    if not folder.is_dir():
        raise SeewhyError(f"{folder} is no folder: a voc dataset has Annotations/*.xml and JPEGImages/ in its path")
    found = {p.stem: p for p in sorted(folder.iterdir()) if p.suffix.lower() == ".xml" and p.name[0] != "."}
    if not found:
        raise SeewhyError(f"{folder} holds no xml file")
    return found


def _all_names(annotations: dict[str, Path]) -> tuple[str, ...]:
    """The names of the objects of all annotations, whatever the split, so that the indices are those of every split."""
    names = {found.name for file in annotations.values() for found in read_annotation(file).objects}
    if not names:
        folder = next(iter(annotations.values())).parent
        raise SeewhyError(f"{folder}: no annotation has an object, and there are no class names")
    return tuple(sorted(names))


def _class_of(name: str, classes: tuple[str, ...], source: Path) -> int:
    # a number that is no name is no index: whether a file counts classes from 0 or from 1 is not known
    return class_index(name, classes, f"{source}: object", only="name")


def read_split(path: Path, split: str, annotations: dict[str, Path]) -> list[str]:
    """The stems that the list ``split`` names, in its order, each once."""
    folder = path / "ImageSets" / "Main"
    lists = {p.stem: p for p in sorted(folder.glob("*.txt"))}
    if split not in lists:
        known = f"It has {', '.join(lists)}" if lists else "It has no lists at all"
        raise SeewhyError(f"{folder} has no split {split!r}.{did_you_mean(split, list(lists))} {known}")
    try:
        lines = [line.strip() for line in lists[split].read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise SeewhyError(f"{lists[split]} cannot be read as text in UTF-8 ({error})") from None
    for number, stem in enumerate(lines, 1):
        if stem and stem not in annotations:
            raise SeewhyError(f"{lists[split]}, line {number}: Annotations has no {stem}.xml")
    if not any(lines):
        raise SeewhyError(f"{lists[split]} lists no picture")
    return list(dict.fromkeys(filter(None, lines)))


class _WithoutDoctype(ElementTree.TreeBuilder):
    """Refuses a DOCTYPE. Entities are declared there alone, so a file without a DOCTYPE cannot grow or fetch anything."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        raise SeewhyError("has a DOCTYPE, with which a file can be hostile: take it out")


def read_annotation(file: Path) -> Annotation:
    """The annotation in ``file``; SeewhyError if the file is broken or hostile, or holds no annotation of VOC."""
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
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # ValueError and LookupError: of encodings
        raise SeewhyError(f"{file} is no XML that can be read ({error})") from None


def _object(found: ElementTree.Element) -> Object:
    name = _text(found, "name")
    if not name:
        raise SeewhyError("has an object without a name")
    if found.find("bndbox") is None:
        raise SeewhyError(f"has an object {name!r} without a bndbox")
    left, top, right, bottom = (_number(found, f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax"))
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
