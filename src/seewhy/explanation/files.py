"""The files that ``seewhy explain`` writes."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.data.depth import say_note
from seewhy.data.pictures import is_of_system, list_pictures, network_input, read_picture, to_picture
from seewhy.describe import environment
from seewhy.explainers import Explainer
from seewhy.explanation import overlay
from seewhy.explanation.explain import Explanation, explain_targets, predict
from seewhy.explanation.prepare import prepare
from seewhy.explanation.sheet import Panel, sheet
from seewhy.explanation.targets import classes_of_targets
from seewhy.files import staged, write_atomically, write_text

MAX_SLUG = 72
"""Bytes of one of the three parts of a file's name; file systems take 255 in all."""


class ReadPicture(NamedTuple):
    """A file of the command line, and (c, h, w) what the network sees of it: bytes, or floats in [0, 1] of a deep one."""

    file: Path
    pixels: Tensor


def find_pictures(paths: Sequence[Path]) -> list[Path]:
    """The files among ``paths``, and the pictures in the folders among them.

    Of several paths, as a shell makes of ``photos/*``, those that a system puts there, such as ``Thumbs.db``, are left out.
    """
    own = [path for path in paths if not is_of_system(path)]
    found = [file for path in own or paths for file in (list_pictures(path) if path.is_dir() else [path])]
    for file in found:
        if not file.is_file():
            read_picture(file)  # raises: a misspelled name is an error before the network is loaded
    return found


def read_pictures(files: Iterable[Path], classifier: Classifier, white: float | None = None) -> list[ReadPicture]:
    """Every picture, read once and kept at the network's size. SeewhyError for a broken picture.

    All pictures are read before the first is explained, so that none turns out to be broken after an hour of work. Of the
    pictures that look almost black, since their ``white`` is unknown, or that have no window, the first is said.
    """
    view, gray = classifier.view, len(classifier.mean) == 1
    found, said = [], False
    for file in files:
        picture = read_picture(file, white)
        said = said or say_note(picture, f"picture {file}")
        image = network_input(picture, view, gray)
        pixels = (255 * image).round().byte()
        found.append(ReadPicture(file, pixels if torch.equal(pixels.float() / 255, image) else image))
    return found


def explain_seen(
    seen: ReadPicture, classifier: Classifier, explainers: Mapping[str, Explainer], target: str
) -> list[Explanation]:  # fmt: skip
    """One picture, explained by every method; ``target`` is written as in ``classes_of_targets``."""
    pixels = seen.pixels if seen.pixels.is_floating_point() else seen.pixels.float() / 255
    image, name = prepare(pixels, classifier)[0], seen.file.name
    scores = predict(image, classifier, name)
    targets = classes_of_targets(target, classifier, scores)
    return explain_targets(image, classifier, explainers, targets, scores, name)


def write(folder: str | Path, pictures: Iterable[Sequence[Explanation]], details: Mapping[str, object]) -> list[Path]:
    """Write the explanations into ``folder``, and return the files, the manifest last.

    Each explanation becomes ``NAME.EXPLAINER.CLASS.png`` and ``.npy``, each picture with several explanations also a sheet.
    Where the method says how sure it is, ``.error.npy`` has the standard error of each pixel's value.
    ``manifest.json`` lists them, with versions, hardware and ``details``. All files are written beside the folder first and
    moved at the end: if anything fails, nothing is left behind.

    Args:
        folder: made where it does not exist.
        pictures: yields the explanations of one picture after another.
        details: for the manifest.
    """
    names: set[str] = set()
    with staged(folder) as staging:
        entries = [entry for group in pictures for entry in _write_picture(staging, group, names)]
        manifest = {**details, "schema": 1, **environment(), "explanations": entries}
        write_text(staging / "manifest.json", json.dumps(manifest, indent=2, allow_nan=False) + "\n")
        files = sorted((path.name for path in staging.iterdir()), key=lambda name: (name == "manifest.json", name))
    return [Path(folder) / name for name in files]


def _write_picture(folder: Path, explanations: Sequence[Explanation], names: set[str]) -> list[dict[str, object]]:
    """Write the files of one picture, and return their entries in the manifest; ``names`` are taken already."""
    entries: list[dict[str, object]] = []
    picture = _free(slug(Path(explanations[0].name).stem), names)
    for e in explanations:
        stem = _free(".".join((picture, slug(e.explainer), slug(e.short_name))), names)
        e.save(folder / f"{stem}.png")
        e.save(folder / f"{stem}.npy")
        entry: dict[str, object] = {"picture": e.name, "explainer": e.explainer, "target": e.target}
        if e.value is not None:
            entry |= {"output": e.class_name, "value": e.value}
        else:
            entry |= {"class": e.class_name, "probability": e.probability}
        entry |= {"overlay": f"{stem}.png", "map": f"{stem}.npy"}
        if e.error is not None:
            write_atomically(folder / f"{stem}.error.npy", partial(np.save, arr=e.error.numpy()))
            entry["error"] = f"{stem}.error.npy"
        entries.append(entry)
    if len(explanations) > 1:
        write_atomically(folder / f"{picture}.sheet.png", partial(comparison(explanations).save, format="PNG"))
    return entries


def _free(name: str, names: set[str]) -> str:
    """``name``, or ``name-2``, ``name-3``, ... where it is taken: two pictures, or two classes, may have one name.

    Names that differ in capitals alone count as the same, as on some file systems.
    """
    numbered = (name if i == 1 else f"{name}-{i}" for i in count(1))
    free = next(n for n in numbered if n.lower() not in names)
    names.add(free.lower())
    return free


def comparison(explanations: Sequence[Explanation]) -> Image.Image:
    """The sheet of one picture: a row for each class, a column for each method."""
    keys = {overlay.colormap_of(e.map) for e in explanations}
    methods = list(dict.fromkeys(e.explainer for e in explanations))
    rows = []
    for target in dict.fromkeys(e.target for e in explanations):
        row = {e.explainer: e for e in explanations if e.target == target}
        first = next(iter(row.values()))
        seen = Panel(overlay.enlarge(to_picture(first.image), 224), first.caption, bold=True)
        rows.append([seen, *(Panel(overlay.overlay(e.image, e.map, 224), m) for m, e in row.items())])
    if len(rows) == 1:
        rows = [rows[0][i : i + 6] for i in range(0, len(rows[0]), 6)]
        return sheet(rows, keys=keys)
    return sheet(rows, columns=["", *methods], keys=keys)


def slug(name: str) -> str:
    """``name`` with underscores for all that a file system may refuse, and no longer than it takes."""
    return re.sub(r"[^\w\-]+", "_", name).strip("_").encode()[:MAX_SLUG].decode(errors="ignore") or "_"
