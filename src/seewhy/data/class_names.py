"""The names of classes: read from a file, compared, and found."""

import csv
import re
import warnings
from collections.abc import Iterable, Sequence
from functools import lru_cache
from io import StringIO
from pathlib import Path
from typing import Literal

from seewhy.errors import SeewhyError, SeewhyWarning
from seewhy.files import did_you_mean_file
from seewhy.registry import did_you_mean

MAX_LISTED_NAMES = 20
"""An error lists at most this many class names."""
MAX_DIGITS = 18
"""No index of a class has more digits."""


def read_class_names(classes: str | Path | Sequence[str]) -> tuple[str, ...]:
    """Class names in the order of the logits. SeewhyError for a file that cannot be read or holds none.

    Args:
        classes: "imagenet", a text file (a name per line), a csv file (a column "name", and perhaps "index"), names with
            commas ("normal,pneumonia"), or a list.
    """
    if classes == "imagenet":
        import torchvision

        return tuple(torchvision.models.ResNet18_Weights.DEFAULT.meta["categories"])
    if not isinstance(classes, str | Path):
        return tuple(str(c) for c in classes)
    path = Path(classes)
    if "," in str(classes) and path.suffix.lower() not in (".txt", ".csv") and not path.is_file():
        return tuple(name.strip() for name in str(classes).split(","))
    if not path.is_file():
        hint = did_you_mean(str(classes), ["imagenet"]) or did_you_mean_file(path).removeprefix(".")
        raise SeewhyError(f"class names {str(classes)!r}: no such file; give a text or csv file, or 'imagenet'.{hint}")
    if path.suffix.lower() != ".csv":
        return tuple(read_lines(path, "class names"))
    names = [n.strip() for n in _read_csv(_read_text(path, "class names"), path) if n.strip()]
    if not names:
        raise SeewhyError(f"class names {path}: the file is empty")
    return tuple(names)


def read_lines(path: Path, what: str) -> list[str]:
    """The lines of a text file that are not empty; SeewhyError if it has none. ``what`` they are begins the error."""
    lines = [line.strip() for line in _read_text(path, what).splitlines() if line.strip()]
    if not lines:
        raise SeewhyError(f"{what} {path}: the file is empty")
    return lines


def _read_text(path: Path, what: str) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise SeewhyError(f"{what} {path}: not a text file in UTF-8") from None
    except OSError as error:
        raise SeewhyError(f"{what} {path}: cannot be read ({error.strerror or error})") from None


def _read_csv(text: str, path: Path) -> list[str]:
    """The column "name", sorted by the column "index" where there is one: it has every index from 0, each once."""
    try:
        rows = list(csv.DictReader(StringIO(text, newline="")))
    except csv.Error as error:
        raise SeewhyError(f"class names {path}: no csv file that can be read ({error})") from None
    if not rows or "name" not in rows[0]:
        raise SeewhyError(f"class names {path}: a csv file needs a heading with a column 'name'")
    if "index" in rows[0]:
        by_index = {str(row["index"]).strip(): row for row in rows}
        if gap := set(map(str, range(len(rows)))) - set(by_index):
            missing = f"must count from 0 to {len(rows) - 1}; {min(gap, key=int)} is missing"
            raise SeewhyError(f"class names {path}: the column 'index' {missing}")
        rows = [by_index[str(i)] for i in range(len(rows))]
    if nameless := [i for i, row in enumerate(rows) if not (row["name"] or "").strip()]:
        raise SeewhyError(f"class names {path}: class {nameless[0]} has no name")
    return [row["name"] for row in rows]


def fold(name: str) -> str:
    """The form in which names are compared: without case, underscores and spaces at the ends."""
    return name.strip().lower().replace("_", " ")


def is_number(text: str) -> bool:
    """Is the text an index as people write it, of digits alone?"""
    return re.fullmatch(r"[0-9]+", text) is not None


def meant(text: str, classes: Sequence[str], n_classes: int | None = None) -> list[int]:
    """The classes that ``text`` may mean: one, several that are called so, or none. The one rule of the whole package.

    A text that is the name of a class is this name. If there is no such name, the first of several names counts, as captions
    show it: "tench, Tinca tinca" is also called tench. If there is still none, case and underscores do not count, in a name
    and then in the first of several. Then each of several names counts: it is also called Tinca tinca. Digits that are no
    name are an index, unless all classes are called by numbers: "3" is then a name that does not exist. Last comes an
    ImageNet number such as n01440764, for 1000 classes.

    Args:
        text: as a person or a file writes it.
        classes: the names of all classes; none if they are unknown.
        n_classes: how many classes there are, where there are no names; None if nobody knows.
    """
    text = text.strip()
    if found := _named(text, classes):
        return found
    if is_number(text) and not called_by_numbers(classes):
        n = len(classes) or n_classes
        index = int(text.lstrip("0")[:MAX_DIGITS] or 0)  # more digits than an index has are beyond every class
        return [] if n is not None and index >= n else [index]
    if re.fullmatch(r"n[0-9]{8}", text) and len(classes) == 1000:
        from timm.data import ImageNetInfo

        wnids = ImageNetInfo().label_names()
        return [wnids.index(text)] if text in wnids else []
    return []


def _named(text: str, classes: Sequence[str]) -> list[int]:
    """The classes that are called ``text``."""
    by_name, by_caption, by_folded, by_first, by_any = _lookup(tuple(classes))
    exactly, folded = by_name.get(text) or by_caption.get(text), fold(text)
    return exactly or by_folded.get(folded) or by_first.get(folded) or by_any.get(folded) or []


@lru_cache(maxsize=8)
def _lookup(classes: tuple[str, ...]) -> tuple[dict[str, list[int]], ...]:
    """The indices of the classes by name and by the first of several names; both as they are compared; and by each name."""
    found: tuple[dict[str, list[int]], ...] = ({}, {}, {}, {}, {})
    for index, name in enumerate(classes):
        each = list(dict.fromkeys(fold(part) for part in name.split(",")))
        first = name.partition(",")[0].strip()
        keys = [name.strip()], [first], [fold(name)], each[:1], [part for part in each if part]
        for several, of in zip(keys, found, strict=True):
            for key in several:
                of.setdefault(key, []).append(index)
    return found


def called_by_numbers(classes: Sequence[str]) -> bool:
    """Is every class called by a number?"""
    return bool(classes) and all(map(is_number, classes))


def find_class(given: int | str, classes: Sequence[str], n_classes: int) -> int:
    """The class that ``given`` means: an integer is an index, a text is read as ``meant`` says.

    SeewhyError if there is no such class, or if there are several.
    """
    if isinstance(given, int):
        if not 0 <= given < n_classes:
            raise SeewhyError(f"class {given} does not exist: the classifier has classes 0 to {n_classes - 1}")
        return given
    text, found = given.strip(), meant(given, classes, n_classes)
    if len(found) == 1:
        if other := [index for index in _lookup(tuple(classes))[1].get(text, []) if index != found[0]]:
            name = f"{text!r} is class {found[0]}; captions call class {other[0]} so too"
            warnings.warn(f"{name}: for that give {classes[other[0]]!r}", SeewhyWarning, stacklevel=3)
        return found[0]
    if found:  # ImageNet has two cranes
        each = ", ".join(f"{index} {classes[index]!r}" for index in found[:MAX_LISTED_NAMES])
        raise SeewhyError(f"{len(found)} classes are called {text!r}; give the index: {each}")
    if called_by_numbers(classes):
        hint = " Every class is called by a number, so a text is a name, and only an integer in Python is an index."
    elif re.fullmatch(r"-?[0-9]+", text):
        raise SeewhyError(f"class {text[:MAX_DIGITS]} does not exist: the classifier has classes 0 to {n_classes - 1}")
    elif not classes:
        raise SeewhyError(
            f"class {text!r} does not exist: this classifier has no class names: give an index, or classes (--classes)"
        )
    else:
        hint = near_class(text, classes)
    more = f", ... ({len(classes)} in all)" if len(classes) > MAX_LISTED_NAMES else ""
    known = ", ".join(classes[:MAX_LISTED_NAMES]) + more
    raise SeewhyError(f"class {text!r} does not exist.{hint} Known: {known}")


def find_classes(text: str, classes: Sequence[str], n_classes: int) -> list[int]:
    """The classes that a text with commas names, each once. The longest part that names a class is one name.

    SeewhyError if a part names no class, or several.
    """
    parts, found = text.split(","), list[int]()
    longest = 1 + max((name.count(",") for name in classes), default=0)
    while parts:
        sizes = range(min(longest, len(parts)), 1, -1)
        n = next((n for n in sizes if meant(",".join(parts[:n]), classes, n_classes)), 1)
        found.append(find_class(",".join(parts[:n]), classes, n_classes))
        parts = parts[n:]
    return list(dict.fromkeys(found))


def class_index(
    text: str, classes: tuple[str, ...], place: str, only: Literal["index", "name"] | None = None
) -> int:  # fmt: skip
    """The index of the class that a file calls ``text``.

    Args:
        text: a name, the first of several names, an index, or an ImageNet number such as n01440764; see ``meant``.
        classes: the names of all classes.
        place: begins the error.
        only: accept nothing but an index, or nothing but a name.

    Raises:
        SeewhyError: no class has this name or index, or several classes have this name.
    """
    if not text or (only == "index" and not is_number(text)):
        raise SeewhyError(f"{place} {text!r} is no index of a class: write a number from 0 on")
    if only == "index":
        found = meant(text, (), len(classes) or None)
    else:
        found = _named(text.strip(), classes) if only == "name" else meant(text, classes)
    if len(found) == 1:
        return found[0]
    if found:  # ImageNet has two cranes
        raise SeewhyError(f"{place} {text!r} is the name of {len(found)} classes: write {' or '.join(map(str, found))}")
    if is_number(text) and only != "name" and not (only is None and called_by_numbers(classes)):
        text = text[:MAX_DIGITS]
        raise SeewhyError(f"{place} {text} is no class: the classifier has classes 0 to {len(classes) - 1}")
    if not classes:
        raise SeewhyError(f"{place} {text!r} is no class: there are no class names, write indices or give the names")
    raise SeewhyError(f"{place} {text!r} is no class of the classifier.{near_class(text, classes)}")


def near_class(text: str, classes: Sequence[str]) -> str:
    """``" Did you mean 'pug'?"`` for the class that is most like ``text``, by any of its names; captions show the first."""
    firsts = {fold(name.partition(",")[0]): name.partition(",")[0].strip() for name in classes}
    if hint := did_you_mean(text.replace("_", " ").strip(), [*firsts.values()]):
        return hint
    others = [part.strip() for name in classes for part in name.split(",")[1:]]
    return did_you_mean(fold(text), [fold(name) for name in others])


def must_be_one_way(texts: Iterable[str], classes: Sequence[str], place: str) -> None:
    """SeewhyError where a file seems to mix names that are numbers with indices: what "3" means there, nobody knows."""
    numbers = [text for text in dict.fromkeys(texts) if is_number(text)]
    names = [text for text in numbers if _named(text, classes) not in ([], [int(text[:MAX_DIGITS])])]
    others = [text for text in numbers if not _named(text, classes)]
    if names and others:
        raise SeewhyError(
            f"{place} has {names[0]!r}, which is the name of a class, and {others[0]!r}, which is none: "
            "write the names alone, or the indices alone in a column 'index'"
        )
