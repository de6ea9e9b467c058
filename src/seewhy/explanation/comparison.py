"""The sheet of several explanations: the photograph once, each name once, each map with its scale."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PIL import Image

from seewhy.data.pictures import to_picture
from seewhy.explanation.overlay import enlarge
from seewhy.explanation.sheet import Panel, sheet

if TYPE_CHECKING:
    from seewhy.explanation.explanation import Explanation

LEAST_SIDE = 224
"""Pixels of the width of a map; of a network with a larger input as many as the input has."""
MAPS_ABREAST = 6
"""Pictures side by side, where there is one class or one method."""
MOST_METHODS = 8
"""With more methods, methods are rows and classes are columns, if there are fewer classes."""
MOST_ROWS = 60
"""A sheet of the 1000 classes of ImageNet could be opened by no viewer."""
SAME_MAP = "the same for every class"


def comparison(explanations: Sequence["Explanation"], size: int | None = None) -> Image.Image:
    """The sheet of one picture, or of several.

    The maps of one class, or by one method, stand side by side. Otherwise each class of each picture has a row, and each
    method a column. A map that does not depend on the class is there once for each picture.

    Args:
        explanations: those of one picture follow each other.
        size: width of a map in pixels; by default that of the network's input, and at least ``LEAST_SIDE``.
    """
    pictures = by_picture(explanations)
    side = size or max(LEAST_SIDE, *(e.image.shape[-1] for e in explanations))
    if len(pictures) > 1:
        return _of_pictures(pictures, side)
    mine = _once(pictures[0])
    specific = [e for e in mine if e.class_specific]
    targets, methods = list(dict.fromkeys(e.target for e in specific)), {e.explainer for e in specific}
    several = len(targets) > 1
    return _of_classes(mine, targets, side) if several and len(methods) > 1 else _side_by_side(mine, side, several)


def by_picture(explanations: Sequence["Explanation"]) -> list[list["Explanation"]]:
    """The explanations of each picture; those of one picture follow each other."""
    found: list[list[Explanation]] = []
    for e in explanations:
        first = found[-1][0] if found else None
        same = first is not None and first.name == e.name and first.image.shape == e.image.shape
        if first is not None and same and (first.image is e.image or bool((first.image == e.image).all())):
            found[-1].append(e)
        else:
            found.append([e])
    return found


def photograph(e: "Explanation", side: int, caption: str = "") -> Panel:
    """The picture as the network saw it."""
    return Panel(_wide(to_picture(e.image), side), caption, bold=True)


def map_panel(e: "Explanation", side: int, caption: str = "") -> Panel:
    """The map over the picture, and its scale."""
    return Panel(_wide(e.drawn(_short(e, side)), side), caption, scale=e.scale)


def _short(e: "Explanation", side: int) -> int:
    """The shorter side of a picture that is ``side`` wide."""
    height, width = e.image.shape[-2:]
    return round(side * min(height, width) / width)


def _wide(picture: Image.Image, side: int) -> Image.Image:
    return enlarge(picture, round(side * min(picture.size) / picture.width))


def _once(explanations: Sequence["Explanation"]) -> list["Explanation"]:
    """Of a method whose map is the same for every class, the first explanation alone."""
    seen, found = set[str](), []
    for e in explanations:
        if e.class_specific or e.explainer not in seen:
            found.append(e)
            seen.add(e.explainer)
    return found


def _keys(explanations: Sequence["Explanation"]) -> set[str]:
    return {e.scale.colormap for e in explanations}


def _side_by_side(mine: Sequence["Explanation"], side: int, several_classes: bool) -> Image.Image:
    """The photograph and the maps side by side, in as many rows as it takes: of several methods, or of several classes."""
    specific = [e for e in mine if e.class_specific]
    said = SAME_MAP if not specific else specific[0].explainer if several_classes else specific[0].caption
    shown, panels = mine[: MOST_ROWS * MAPS_ABREAST], [photograph(mine[0], side)]
    for e in shown:
        name = e.caption if several_classes and e.class_specific else e.explainer
        panels.append(map_panel(e, side, name + ("" if e.class_specific or not specific else f"\n{SAME_MAP}")))
    rows = [panels[i : i + MAPS_ABREAST] for i in range(0, len(panels), MAPS_ABREAST)]
    labels = [said, *[""] * (len(rows) - 1)]
    if len(shown) < len(mine):
        rows.append([])
        labels.append(_more(len(mine) - len(shown)))
    return sheet(rows, mine[0].name, size=side, keys=_keys(mine), labels=labels, label_at=1)


def _more(left_out: int) -> str:
    return f"… and {left_out} more, which have files of their own"


def _of_classes(mine: Sequence["Explanation"], targets: Sequence[int], side: int) -> Image.Image:
    """A row for each class and a column for each method; on the left the photograph and the maps of no class."""
    specific = {(e.target, e.explainer): e for e in mine if e.class_specific}
    methods = list(dict.fromkeys(method for _, method in specific))
    said = {e.target: e.caption for e in specific.values()}
    left = [
        photograph(mine[0], side),
        *(map_panel(e, side, f"{e.explainer}\n{SAME_MAP}") for e in mine if not e.class_specific),
    ]
    upright = len(methods) <= MOST_METHODS or len(targets) >= len(methods)
    names = [said[target] for target in targets] if upright else methods
    headings = methods if upright else [said[target] for target in targets]
    maps: list[list[Panel | None]] = [
        [
            map_panel(e, side) if (e := specific.get((row, column) if upright else (column, row))) else None  # type: ignore[arg-type]
            for column in (methods if upright else targets)
        ]
        for row in (targets if upright else methods)[:MOST_ROWS]
    ]
    deep = len(maps)
    beside = -(-len(left) // deep)
    columns = [left[i * deep : (i + 1) * deep] for i in range(beside)]
    rows = [[*(c[i] if i < len(c) else None for c in columns), *row] for i, row in enumerate(maps)]
    labels = list(names[:deep])
    if len(names) > deep:
        rows.append([])
        labels.append(_more(len(names) - deep))
    headings = [*[""] * beside, *headings]
    return sheet(rows, mine[0].name, headings, side, _keys(mine), labels, label_at=beside)


def _of_pictures(pictures: Sequence[Sequence["Explanation"]], side: int) -> Image.Image:
    """A row for each class of each picture, with the photograph in the first of its rows, and a column for each method."""
    methods = list(dict.fromkeys(e.explainer for of in pictures for e in of))
    rows, labels = list[list[Panel | None]](), list[str]()
    for of in pictures:
        mine = _once(of)
        targets = list(dict.fromkeys(e.target for e in of if e.class_specific)) or [of[0].target]
        said = {e.target: e.caption if e.class_specific else SAME_MAP for e in reversed(of)}
        for i, target in enumerate(targets):
            there = {e.explainer: e for e in mine if e.target == target or (i == 0 and not e.class_specific)}
            maps = [map_panel(there[method], side) if method in there else None for method in methods]
            rows.append([photograph(of[0], side, of[0].name) if i == 0 else None, *maps])
            labels.append(said[target])
    if len(rows) > MOST_ROWS:
        labels = [*labels[:MOST_ROWS], _more(len(rows) - MOST_ROWS)]
        rows = [*rows[:MOST_ROWS], []]
    headings = [f"{name} (no class)" if name in _classless(pictures) else name for name in methods]
    keys = _keys([e for of in pictures for e in of])
    return sheet(rows, "", ["", *headings], side, keys, labels, label_at=1)


def _classless(pictures: Sequence[Sequence["Explanation"]]) -> set[str]:
    return {e.explainer for of in pictures for e in of if not e.class_specific}
