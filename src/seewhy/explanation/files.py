"""The files that ``seewhy explain`` writes."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.data.depth import say_note
from seewhy.data.pictures import is_of_system, list_pictures, network_input, read_picture
from seewhy.describe import environment
from seewhy.explainers import Explainer
from seewhy.explanation.comparison import comparison
from seewhy.explanation.expected import AsExpectedError, ClassContrast, ClassContrasts
from seewhy.explanation.explain import explain_expected, explain_targets, predict
from seewhy.explanation.explanation import Explanation
from seewhy.explanation.prepare import prepare
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


def explain_each(
    pictures: Iterable[ReadPicture],
    classifier: Classifier,
    explainers: Mapping[str, Explainer],
    target: str,
    expected: str | None,
    left_out: Callable[[str], None],
) -> Iterator[tuple[ReadPicture, list[Explanation] | list[ClassContrast]]]:
    """``explain_seen`` of every picture. ``left_out`` is told of a picture whose predicted class is the expected one.

    ``AsExpectedError`` where that is so of all pictures.
    """
    reasons, found = list[AsExpectedError](), 0
    for seen in pictures:
        try:
            yield seen, explain_seen(seen, classifier, explainers, target, expected)
            found += 1
        except AsExpectedError as reason:
            reasons.append(reason)
    if reasons and not found:
        raise reasons[0]
    for one in reasons:
        left_out(str(one))


def explain_seen(
    seen: ReadPicture, classifier: Classifier, explainers: Mapping[str, Explainer], target: str, expected: str | None = None
) -> list[Explanation] | list[ClassContrast]:  # fmt: skip
    """One picture, explained by every method; ``target`` is written as in ``classes_of_targets``.

    With a class that was ``expected``, the contrasts of the predicted class and that one; see ``explain_expected``.
    """
    pixels = seen.pixels if seen.pixels.is_floating_point() else seen.pixels.float() / 255
    image, name = prepare(pixels, classifier)[0], seen.file.name
    scores = predict(image, classifier, name)
    if expected is not None:
        return explain_expected(image, classifier, explainers, expected, scores, name)
    targets = classes_of_targets(target, classifier, scores)
    return explain_targets(image, classifier, explainers, targets, scores, name)


def write(
    folder: str | Path, pictures: Iterable[Sequence[Explanation] | Sequence[ClassContrast]], details: Mapping[str, object]
) -> list[Path]:
    """Write the explanations into ``folder``, and return the files, the manifest last.

    Each explanation becomes ``NAME.EXPLAINER.CLASS.png`` and ``.npy``, each picture with several explanations also a sheet.
    Where the method says how sure it is, ``.error.npy`` has the standard error of each pixel's value.
    Of a contrast with an expected class, ``NAME.expected.png`` is the sheet of all methods, and
    ``NAME.EXPLAINER.difference.npy`` the difference. ``manifest.json`` lists them, with versions, hardware and ``details``.
    All files are written beside the folder first and moved at the end: if anything fails, nothing is left behind.

    Args:
        folder: made where it does not exist.
        pictures: yields the explanations, or the contrasts, of one picture after another.
        details: for the manifest.
    """
    names: set[str] = set()
    with staged(folder) as staging:
        entries, contrasts = list[dict[str, object]](), list[dict[str, object]]()
        for group in pictures:
            explanations = [e for one in group for e in _maps_of(one)]
            picture = _free(slug(Path(explanations[0].name).stem), names)
            entries += _write_maps(staging, picture, explanations, names)
            if mine := [one for one in group if isinstance(one, ClassContrast)]:
                contrasts += _write_contrasts(staging, picture, mine, names)
            elif len(explanations) > 1:
                write_atomically(staging / f"{picture}.sheet.png", partial(comparison(explanations).save, format="PNG"))
        manifest = {**details, "schema": 1, **environment(), "explanations": entries}
        manifest |= {"contrasts": contrasts} if contrasts else {}
        write_text(staging / "manifest.json", json.dumps(manifest, indent=2, allow_nan=False) + "\n")
        files = sorted((path.name for path in staging.iterdir()), key=lambda name: (name == "manifest.json", name))
    return [Path(folder) / name for name in files]


def _maps_of(one: Explanation | ClassContrast) -> list[Explanation]:
    return [one.predicted, one.expected] if isinstance(one, ClassContrast) else [one]


def _write_maps(
    folder: Path, picture: str, explanations: Sequence[Explanation], names: set[str]
) -> list[dict[str, object]]:  # fmt: skip
    """Write the maps of one picture, and return their entries in the manifest; ``names`` are taken already."""
    entries: list[dict[str, object]] = []
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
    return entries


def _write_contrasts(
    folder: Path, picture: str, contrasts: Sequence[ClassContrast], names: set[str]
) -> list[dict[str, object]]:  # fmt: skip
    """Write the sheet and the differences of one picture, and return their entries in the manifest."""
    sheet = _free(f"{picture}.expected", names) + ".png"
    write_atomically(folder / sheet, partial(ClassContrasts(tuple(contrasts)).sheet().save, format="PNG"))
    entries: list[dict[str, object]] = []
    for c in contrasts:
        file = _free(f"{picture}.{slug(c.explainer)}.difference", names) + ".npy"
        c.save(folder / file)
        entry = {"picture": c.name, "explainer": c.explainer, "predicted": c.predicted.target, "expected": c.expected.target}
        where = {"place": c.parting.place, "predicted": c.parting.predicted, "expected": c.parting.expected}
        entries.append({**entry, "elsewhere": c.elsewhere, "parting": where, "difference": file, "sheet": sheet})
    return entries


def _free(name: str, names: set[str]) -> str:
    """``name``, or ``name-2``, ``name-3``, ... where it is taken: two pictures, or two classes, may have one name.

    Names that differ in capitals alone count as the same, as on some file systems.
    """
    numbered = (name if i == 1 else f"{name}-{i}" for i in count(1))
    free = next(n for n in numbered if n.lower() not in names)
    names.add(free.lower())
    return free


def slug(name: str) -> str:
    """``name`` with underscores for all that a file system may refuse, and no longer than it takes."""
    return re.sub(r"[^\w\-]+", "_", name).strip("_").encode()[:MAX_SLUG].decode(errors="ignore") or "_"
