"""The csv file of a folder: a line for each picture, with its class, its boxes and its mask."""

import csv
import re
from collections.abc import Sequence
from contextlib import suppress
from math import isfinite
from pathlib import Path
from typing import Literal

from seewhy.data.class_names import class_index, must_be_one_way
from seewhy.data.file_dataset import Entry
from seewhy.data.pictures import is_of_system
from seewhy.data.regions import Box
from seewhy.errors import SeewhyError
from seewhy.files import did_you_mean_file
from seewhy.registry import did_you_mean

LABEL_COLUMNS = ("index", "label", "class", "name", "wnid")
"""Columns that say the class; the first of them that the file has."""
FILE_COLUMNS = ("file", "filename", "path", "filepath", "image", "imagepath", "picture", "img", "imageid")
"""What tables of others call the column of the picture, in small letters and without underscores."""


def read_labels_csv(table: Path, classes: tuple[str, ...], boxes_column: str | None) -> list[Entry]:
    """The pictures of a csv file, named by their paths from its folder."""
    columns, rows = _read_rows(table)
    if "file" not in columns:
        other = next((name for name in columns if name.lower().replace("_", "") in FILE_COLUMNS), None)
        hint = f": call the column {other!r} 'file'" if other else did_you_mean("file", columns)
        raise SeewhyError(f"{table}: no column 'file' in its first line; it has {', '.join(columns) or 'none'}{hint}")
    if not rows:
        raise SeewhyError(f"{table} lists no picture")
    rows = [(line, row) for line, row in rows if not is_of_system(Path(row["file"]))]
    label, boxes = next((c for c in LABEL_COLUMNS if c in columns), None), find_boxes_column(columns, boxes_column, table)
    only: Literal["index"] | None = "index" if label == "index" else None
    if label is not None and only is None:
        must_be_one_way((row[label] for _, row in rows), classes, f"{table}: column {label!r}")
    entries: dict[Path, Entry] = {}
    for line, row in rows:
        place = f"{table.name}, line {line}"
        file = _find_file(table, row["file"], f"{place}: picture")
        if file in entries:
            raise SeewhyError(f"{place}: {row['file']} is listed twice; several boxes are separated by semicolons")
        entries[file] = Entry(
            file.relative_to(table.parent).as_posix() if file.is_relative_to(table.parent) else file.as_posix(),
            file,
            label=None if label is None else class_index(row[label], classes, f"{place}: {label}", only),
            boxes=None if boxes is None else parse_boxes(row[boxes], f"{place}: {boxes}"),
            mask=_find_file(table, row["mask"], f"{place}: mask") if row.get("mask") else None,
            place=place,
        )
    return list(entries.values())


def find_boxes_column(columns: Sequence[str], wanted: str | None, table: Path | None) -> str | None:
    """The column with the boxes, or None; SeewhyError if the user must choose between several."""
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


def parse_boxes(text: str, place: str) -> tuple[Box, ...]:
    """The boxes of a cell, ``"left top right bottom;..."``; an empty cell has none."""
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


def _read_rows(table: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
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


def _find_file(table: Path, name: str, what: str) -> Path:
    """The file called ``name``, beside the table or in the folder images/ beside it."""
    for file in (table.parent / name, table.parent / "images" / name):
        with suppress(OSError):  # a name that is too long
            if name and file.is_file():
                return file
    folder = table.parent / "images" if (table.parent / "images").is_dir() else table.parent
    hint = did_you_mean_file(folder / name) if name else ""
    raise SeewhyError(f"{what} {name!r} is neither in {table.parent} nor in its folder images{hint}")
