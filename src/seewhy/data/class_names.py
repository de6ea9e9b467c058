"""From what a dataset calls a class to the index of that class."""

import re

from seewhy.errors import SeewhyError
from seewhy.registry import did_you_mean


def folded(name: str) -> str:
    """A name of a class as it is compared: capitals, underscores and outer spaces do not matter."""
    return name.strip().lower().replace("_", " ")


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
    full = [folded(name) for name in classes]
    for names in (full, [name.partition(",")[0] for name in full]):  # "tench, Tinca tinca" is also called tench
        found = [i for i, name in enumerate(names) if name == folded(text)]
        if len(found) > 1:  # ImageNet has two cranes
            raise SeewhyError(f"{place} {text!r} is the name of {len(found)} classes: write {' or '.join(map(str, found))}")
        if found:
            return found[0]
    raise SeewhyError(f"{place} {text!r} is no class of the classifier.{did_you_mean(folded(text), full)}")
