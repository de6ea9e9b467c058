"""Your own pictures: a folder for each class, a folder of pictures, or a csv file that also says where the object is."""

import warnings
from dataclasses import dataclass
from pathlib import Path

from seewhy.data.base import DATASETS
from seewhy.data.class_names import class_index, is_number, must_be_one_way
from seewhy.data.file_dataset import Entry, FileDataset, PictureList
from seewhy.data.labels_csv import find_boxes_column, read_labels_csv
from seewhy.data.pictures import SUFFIXES, pictures_in
from seewhy.errors import SeewhyError, SeewhyWarning
from seewhy.files import did_you_mean_file


@DATASETS.register("folder")
@dataclass(frozen=True)
class Folder(FileDataset):
    """The pictures in a folder, as a classifier sees them.

    Three layouts are understood:

    - ``PATH/CLASS/*.jpg``: a folder for each class. Its name is the name of the class (capitals and underscores do not
      matter), the index of the class, or its ImageNet number such as n01440764.
    - ``PATH/labels.csv``: a line for each picture. A column "file" names it (beside the csv file or in the folder images/),
      and one of "index", "label", "class", "name" or "wnid" says its class.
    - ``PATH/*.jpg``: pictures without labels.

    The csv file may have a column "boxes" (or one whose name begins so) and a column "mask". Boxes are written "left top
    right bottom; left top right bottom", in pixels of the picture as a viewer shows it. A mask is a picture of the same
    size that is not 0 on the object. The region is the mask, or all boxes together. It goes through the same resizing and
    cropping as the picture. A box that is cut away is left out, and its region is empty.

    Args:
        path: the folder, or a csv file.
        classes: ``classifier.classes``; without them folders are counted from 0 in alphabetical order, and give the names.
        boxes_column: the column with the boxes, if several begin with "boxes"; "none" for no boxes.
    """

    boxes_column: str | None = None

    def read(self) -> PictureList:
        """The csv file if there is one, else the folders of classes, else the pictures of the folder."""
        folder = Path(self.path)
        if not folder.exists():
            raise SeewhyError(f"folder {folder} does not exist{did_you_mean_file(folder)}")
        if folder.is_file() and folder.suffix.lower() != ".csv":
            raise SeewhyError(f"{folder} is neither a folder nor a csv file")
        table = folder if folder.is_file() else folder / "labels.csv"
        if table.is_file():
            return PictureList(self.classes, read_labels_csv(table, self.classes, self.boxes_column))
        find_boxes_column([], self.boxes_column, None)
        return read_folders(folder, self.classes)


def read_folders(folder: Path, classes: tuple[str, ...]) -> PictureList:
    """The pictures of the class folders; without such folders, the pictures of the folder itself, which have no label."""
    loose, folders = pictures_in(folder), _class_folders(folder)
    if loose and folders:
        raise SeewhyError(
            f"folder {folder} has pictures ({loose[0].name}) beside folders of classes ({folders[0].name}): move one of them"
        )
    if not loose and not folders:
        raise SeewhyError(f"folder {folder} holds no pictures ({', '.join(SUFFIXES)}), folders of them, or labels.csv")
    names = tuple(p.name for p in folders)
    if not classes and all(map(is_number, names)) and list(names) != sorted(names, key=int):
        _say_indices(folder)
    classes = classes or (() if all(map(is_number, names)) else names)
    must_be_one_way(names, classes, f"folder {folder}")
    labels = [class_index(name, classes, f"folder {folder}:") for name in names]
    found = [Entry(file.name, file) for file in loose]
    for name, of_class, label in zip(names, folders, labels, strict=True):
        found += [Entry(f"{name}/{file.name}", file, label) for file in pictures_in(of_class)]
    return PictureList(classes, found)


def _say_indices(folder: Path) -> None:
    said = f"the folders in {folder} are called by numbers, which are read as indices: if the network counts them in"
    warnings.warn(
        f"{said} alphabetical order, as ImageFolder of torchvision does, give the class names", SeewhyWarning, stacklevel=3
    )


def _class_folders(folder: Path) -> list[Path]:
    """The folders in it that are not hidden, in alphabetical order; none if they hold no pictures."""
    found = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))
    return found if any(pictures_in(p) for p in found) else []
