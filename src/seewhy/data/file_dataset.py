"""Pictures in files: a reader lists them, and the dataset does the rest."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, NamedTuple, TypeVar, final

import torch
from PIL import Image
from torch import Tensor

from seewhy.data.base import Batch, Limit
from seewhy.data.depth import White, say_note
from seewhy.data.pictures import View, network_input, read_picture
from seewhy.data.regions import Box, box_as_seen, check_boxes, read_mask, region_of_boxes
from seewhy.describe import digest_of
from seewhy.errors import ImageError, SeewhyError
from seewhy.options import Doc

Item = TypeVar("Item")


class Entry(NamedTuple):
    """One picture of the list, and what is known of it.

    id           its name, unique in the dataset
    file         the picture
    label        the index of its class, or the indices of all its classes in a multi-label dataset; None: not known
    boxes        left, top, right, bottom of each object in pixels of the picture, right and bottom excluded; None: not known
    box_labels   the class of each box, in a multi-label dataset
    mask         a picture of the same size that marks the object of the label; it goes before the boxes
    mask_values  the values of the mask that mark the object; by default all but 0
    size         (width, height) of the picture for which the boxes were drawn, if the dataset says it
    place        the file, and perhaps the line, that lists this picture; errors begin with it
    group        what this picture shares with others, such as a patient: no split may part a group
    """

    id: str
    file: Path
    label: int | tuple[int, ...] | None = None
    boxes: tuple[Box, ...] | None = None
    box_labels: tuple[int, ...] = ()
    mask: Path | None = None
    mask_values: tuple[int, ...] = ()
    size: tuple[int, int] | None = None
    place: str = ""
    group: str = ""


class PictureList(NamedTuple):
    """What a reader has read: the names of the classes, and the pictures in their order."""

    classes: tuple[str, ...]
    entries: Sequence[Entry]


@dataclass(frozen=True)
class FileDataset(ABC):
    """The pictures that a reader lists, as a classifier sees them.

    A reader is a subclass that writes ``read`` and adds its own options. All else is final: names, digests, batches, and
    the checks of pictures, boxes and masks. ``takes`` names the fields that ``seewhy.dataset`` fills from the classifier.
    """

    takes: ClassVar[tuple[str, ...]] = ("path", "view", "classes", "limit", "gray")

    path: Annotated[str | Path, Doc("The folder or the file of the dataset.")]
    view: Annotated[View, Doc("How the classifier sees a picture: ``classifier.view``.")]
    classes: Annotated[tuple[str, ...], Doc("``classifier.classes``; without them the names that the dataset gives.")] = ()
    limit: Limit | None = None
    gray: Annotated[bool, Doc("One channel, for a classifier of gray images.")] = field(default=False, kw_only=True)
    white: White | None = field(default=None, kw_only=True)

    @abstractmethod
    def read(self) -> PictureList:
        """The list of the dataset. SeewhyError says what is wrong with it; no picture is read yet."""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise SeewhyError(f"{type(self).__name__.lower()}: limit is {self.limit}; ask for at least 1 picture")
        object.__setattr__(self, "classes", self._list.classes)

    @final
    @cached_property
    def _list(self) -> PictureList:
        classes, entries = self.read()
        # the name of a file need not be UTF-8, and that of a picture is: tables and digests are made of it
        entries = [e._replace(id=e.id.encode(errors="backslashreplace").decode()) for e in self.chosen(entries)]
        if not entries:
            raise SeewhyError(f"{self.path} lists no picture")
        known: dict[str, Entry] = {}
        for entry in entries:
            if other := known.get(entry.id):
                again = f"as {Path(other.place).name} does" if other.place else "twice"
                raise SeewhyError(f"{entry.place or self.path} names the picture {entry.id}, {again}")
            known[entry.id] = entry
        return PictureList(classes, entries)

    @final
    def chosen(self, items: Sequence[Item]) -> list[Item]:
        """``limit`` of the items, spread evenly, or all. A reader for which each item costs a read calls it early."""
        n, wanted = len(items), self.limit
        return list(items) if wanted is None or wanted >= n else [items[i * n // wanted] for i in range(wanted)]

    @final
    @property
    def entries(self) -> Sequence[Entry]:
        """The pictures in their order."""
        return self._list.entries

    @final
    def __len__(self) -> int:
        return len(self.entries)

    @final
    @cached_property
    def ids(self) -> list[str]:
        """The name of each picture."""
        return [entry.id for entry in self.entries]

    @final
    def digest(self, indices: Sequence[int]) -> str:
        """Names, labels, boxes and masks of these pictures, and the sizes of their files, as a digest."""
        lines = []
        for entry in (self.entries[i] for i in indices):
            mask = None if entry.mask is None else (entry.mask.name, entry.mask_values, _bytes(entry.mask))
            lines.append(f"{entry.id} {entry.label} {entry.boxes} {entry.box_labels} {mask} {_bytes(entry.file)}")
        return digest_of("\n".join(sorted(lines)).encode())

    @final
    def batch(self, indices: Sequence[int]) -> Batch:
        """The pictures at these places, read now."""
        part = [self.entries[i] for i in indices]
        images, regions, boxes = zip(*(self.sample(entry) for entry in part), strict=True)
        first, boxed = self.entries[0], any(entry.boxes is not None for entry in self.entries)
        return Batch(
            ids=[entry.id for entry in part],
            images=torch.stack(images),
            labels=None if first.label is None else torch.stack([self._label(entry) for entry in part]),
            regions=torch.stack(regions) if boxed or any(entry.mask for entry in self.entries) else None,
            boxes=boxes if boxed and not isinstance(first.label, tuple) else None,
        )

    @final
    def _label(self, entry: Entry) -> Tensor:
        """() the class, or (k,) zeros and ones."""
        if isinstance(entry.label, tuple):
            return torch.zeros(len(self.classes)).index_fill(0, torch.tensor(entry.label, dtype=torch.long), 1.0)
        return torch.tensor(entry.label)

    @final
    def sample(self, entry: Entry) -> tuple[Tensor, Tensor, Tensor]:
        """(c, h, w) the picture, (h, w) or (k, h, w) its regions and (m, 4) its boxes, as the network sees them.

        What the network does not see leaves no box, and an empty region. ImageError says what is wrong with a picture.
        """
        try:
            picture = read_picture(entry.file, self.white)
            self._say_note(picture, entry)
            if entry.size not in (None, picture.size):
                said, is_ = (f"{w} x {h}" for w, h in (entry.size or (0, 0), picture.size))
                raise ImageError(f"{entry.place} has boxes in a picture of {said} pixels, but {entry.file.name} has {is_}")
            check_boxes(entry.boxes or (), picture.size)
            seen = [box_as_seen(box, picture.size, self.view) for box in entry.boxes or ()]
            mask = None if entry.mask is None else read_mask(entry.mask, picture.size, self.view, entry.mask_values)
        except ImageError:
            raise
        except SeewhyError as error:
            raise ImageError(f"{entry.place}: {error}" if entry.place else str(error)) from None
        boxes = torch.tensor([box for box in seen if box is not None]).reshape(-1, 4)
        if isinstance(entry.label, tuple):
            labels = torch.tensor([label for label, box in zip(entry.box_labels, seen, strict=True) if box is not None])
            region = torch.zeros(len(self.classes), *self.view.size, dtype=torch.bool)
            for label in labels.unique().tolist():
                region[label] = region_of_boxes(boxes[labels == label], self.view)
        else:
            region = region_of_boxes(boxes, self.view) if mask is None else mask
        return network_input(picture, self.view, self.gray), region, boxes

    @final
    def _say_note(self, picture: Image.Image, entry: Entry) -> None:
        """Of the first picture that looks almost black, or has no window; the others are most likely like it."""
        if "_said" not in self.__dict__ and say_note(picture, f"picture {entry.file}"):
            self.__dict__["_said"] = True


def _bytes(file: Path) -> int:
    """The size of a file; -1 if there is none: ``batch`` says that, for this picture alone."""
    try:
        return file.stat().st_size
    except OSError:
        return -1
