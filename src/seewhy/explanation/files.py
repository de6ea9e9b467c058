"""The files that ``seewhy explain`` writes."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path

from PIL import Image

from seewhy.classifier.classifier import Classifier
from seewhy.data.pictures import list_pictures, read_picture, to_picture
from seewhy.describe import environment
from seewhy.explainers import Explainer
from seewhy.explanation import overlay
from seewhy.explanation.explain import Explanation, explain_targets, predict, prepare
from seewhy.explanation.sheet import Panel, sheet
from seewhy.explanation.targets import classes_of_targets
from seewhy.files import staged


def find_pictures(paths: Sequence[Path]) -> list[Path]:
    """The files among ``paths`` and the pictures in the folders among them; each is read once, so that none fails later."""
    found = [file for path in paths for file in (list_pictures(path) if path.is_dir() else [path])]
    for file in found:
        read_picture(file)
    return found


def explain_file(path: Path, classifier: Classifier, explainers: Mapping[str, Explainer], target: str) -> list[Explanation]:
    """One file of the command line: its targets are written as in ``classes_of_targets``."""
    image, name = prepare(path, classifier)
    probabilities = predict(image, classifier, name)
    targets = classes_of_targets(target, classifier, probabilities)
    return explain_targets(image, classifier, explainers, targets, probabilities, name)


def write(folder: str | Path, pictures: Iterable[Sequence[Explanation]], details: Mapping[str, object]) -> list[Path]:
    """``NAME.EXPLAINER.CLASS.png`` and ``.npy`` for each, a sheet for each picture with several, and ``manifest.json``.

    ``pictures`` yields the explanations of one picture after another. Everything is written beside the folder first and
    moved at the end: if anything fails, nothing is left behind. ``details`` go into the manifest, with versions and the
    hardware. Returns the files, the manifest last.
    """
    names: set[str] = set()
    with staged(folder) as staging:
        entries = [entry for group in pictures for entry in _write_picture(staging, group, names)]
        manifest = {**details, "schema": 1, **environment(), "explanations": entries}
        (staging / "manifest.json").write_text(json.dumps(manifest, indent=2, allow_nan=False) + "\n")
        files = sorted((path.name for path in staging.iterdir()), key=lambda name: (name == "manifest.json", name))
    return [Path(folder) / name for name in files]


def _write_picture(folder: Path, explanations: Sequence[Explanation], names: set[str]) -> list[dict[str, object]]:
    """Files of one picture, and their entries in the manifest; ``names`` are taken already."""
    entries: list[dict[str, object]] = []
    picture = _free(slug(Path(explanations[0].name).stem), names)
    for e in explanations:
        stem = _free(".".join((picture, slug(e.explainer), slug(e.class_name.partition(",")[0]))), names)
        e.save(folder / f"{stem}.png")
        e.save(folder / f"{stem}.npy")
        entry = {"picture": e.name, "explainer": e.explainer, "target": e.target, "class": e.class_name}
        entries.append({**entry, "probability": e.probability, "overlay": f"{stem}.png", "map": f"{stem}.npy"})
    if len(explanations) > 1:
        comparison(explanations).save(folder / f"{picture}.sheet.png")
    return entries


def _free(name: str, names: set[str]) -> str:
    """``name``, or ``name-2``, ``name-3``, ... where it is taken (two pictures, or two classes, of one name).

    Names that differ in capitals alone are one: they are on some file systems.
    """
    numbered = (name if i == 1 else f"{name}-{i}" for i in count(1))
    free = next(n for n in numbered if n.lower() not in names)
    names.add(free.lower())
    return free


def comparison(explanations: Sequence[Explanation]) -> Image.Image:
    """A sheet of one picture: a row for each class, a column for each method."""
    keys = {overlay.scale_of(e.map) for e in explanations}
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
    """A name that every file system takes."""
    return re.sub(r"[^\w\-]+", "_", name).strip("_") or "_"
