"""The names of classes: read from a file, compared, and found."""

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from seewhy.errors import SeewhyError
from seewhy.registry import did_you_mean

MAX_LISTED_NAMES = 20
"""An error lists at most this many class names."""


def read_class_names(classes: str | Path | Sequence[str]) -> tuple[str, ...]:
    """Class names in the order of the logits. SeewhyError for a file that cannot be read or holds none.

    Args:
        classes: "imagenet", a text file (a name per line), a csv file (a column "name", and perhaps "index"), or a list.
    """
    if classes == "imagenet":
        import torchvision

        return tuple(torchvision.models.ResNet18_Weights.DEFAULT.meta["categories"])
    if not isinstance(classes, str | Path):
        return tuple(str(c) for c in classes)
    path = Path(classes)
    if not path.is_file():
        raise SeewhyError(f"class names {str(classes)!r}: no such file; give a text or csv file, or 'imagenet'")
    text = _read_text(path)
    names = _read_csv(text, path) if path.suffix == ".csv" else text.splitlines()
    names = [n.strip() for n in names if n and n.strip()]
    if not names:
        raise SeewhyError(f"class names {path}: the file is empty")
    return tuple(names)


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise SeewhyError(f"class names {path}: not a text file in UTF-8") from None
    except OSError as error:
        raise SeewhyError(f"class names {path}: cannot be read ({error.strerror or error})") from None


def _read_csv(text: str, path: Path) -> list[str]:
    """The column "name", sorted by the column "index" where there is one: it has every index from 0, each once."""
    rows = list(csv.DictReader(text.splitlines()))
    if not rows or "name" not in rows[0]:
        raise SeewhyError(f"class names {path}: a csv file needs a heading with a column 'name'")
    if "index" in rows[0]:
        by_index = {str(row["index"]).strip(): row for row in rows}
        if gap := set(map(str, range(len(rows)))) - set(by_index):
            missing = f"must count from 0 to {len(rows) - 1}; {min(gap, key=int)} is missing"
            raise SeewhyError(f"class names {path}: the column 'index' {missing}")
        rows = [by_index[str(i)] for i in range(len(rows))]
    return [row["name"] for row in rows]


def fold(name: str) -> str:
    """The form in which names are compared: without case, underscores and spaces at the ends."""
    return name.strip().lower().replace("_", " ")


def find_class(text: str, classes: Sequence[str], n_classes: int) -> int:
    """Index of the class that ``text`` names, by index or by name in any case. SeewhyError if there is none, or several."""
    text = text.strip()
    if re.fullmatch(r"-?[0-9]+", text):
        if not 0 <= int(text) < n_classes:
            raise SeewhyError(f"class {text} does not exist: the classifier has classes 0 to {n_classes - 1}")
        return int(text)
    names = [fold(c) for c in classes]
    found = [i for i, name in enumerate(names) if name == fold(text)]
    if len(found) > 1:  # ImageNet has two cranes
        raise SeewhyError(f"{len(found)} classes are called {text!r}; give the index: {', '.join(map(str, found))}")
    if found:
        return found[0]
    if not names:
        raise SeewhyError(f"class {text!r} does not exist: this classifier has no class names, give an index")
    more = f", ... ({len(names)} in all)" if len(names) > MAX_LISTED_NAMES else ""
    known = ", ".join(classes[:MAX_LISTED_NAMES]) + more
    raise SeewhyError(f"class {text!r} does not exist.{did_you_mean(fold(text), names)} Known: {known}")


def class_index(text: str, classes: tuple[str, ...], place: str, number: bool = False) -> int:
    """The index of the class that is called ``text``.

    Args:
        text: a name, the first of several names, an index, or an ImageNet number such as n01440764.
        classes: the names of all classes.
        place: begins the error.
        number: accept an index only.

    Raises:
        SeewhyError: no class has this name or index, or several classes have this name.
    """
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
    full = [fold(name) for name in classes]
    for names in (full, [name.partition(",")[0] for name in full]):  # "tench, Tinca tinca" is also called tench
        found = [i for i, name in enumerate(names) if name == fold(text)]
        if len(found) > 1:  # ImageNet has two cranes
            raise SeewhyError(f"{place} {text!r} is the name of {len(found)} classes: write {' or '.join(map(str, found))}")
        if found:
            return found[0]
    raise SeewhyError(f"{place} {text!r} is no class of the classifier.{did_you_mean(fold(text), full)}")
