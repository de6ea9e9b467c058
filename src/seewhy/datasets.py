"""A dataset by name, as a classifier sees it."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

from seewhy.cases import MOST_CLASSES
from seewhy.data import DATASETS, Batch, Dataset
from seewhy.errors import SeewhyError
from seewhy.metrics.base import Need
from seewhy.model import Classifier
from seewhy.options import checked, from_text
from seewhy.registry import did_you_mean


def dataset(
    name: str, classifier: Classifier, limit: int | None = None, options: Mapping[str, str] | None = None
) -> Dataset:
    """The dataset ``name`` in the form that ``classifier`` takes.

    Args:
        name: "shapes"; "folder:PATH"; "voc:PATH"; or just a path: of a csv file or a folder, which is VOC's if it holds
            Annotations.
        classifier: tells the size of its input, how a picture becomes that, and what its classes are called.
        limit: about how many images; all by default (200 of ``shapes``).
        options: fields of the dataset, as text: seed=1, shortcut=random, boxes_column=boxes_227_xyxy.

    Raises:
        SeewhyError: no such dataset, path or option.
    """
    kind_name, _, path = name.partition(":")
    if kind_name not in DATASETS and Path(name).exists():
        kind_name, path = "voc" if (Path(name) / "Annotations").is_dir() else "folder", name
    if kind_name not in DATASETS:
        raise SeewhyError(
            f"unknown dataset {kind_name!r}, and no such folder or csv file.{did_you_mean(kind_name, DATASETS)} "
            f"Known: {', '.join(DATASETS)}"
        )
    kind = cast(Any, DATASETS[kind_name])
    known = {f.name for f in fields(kind)}
    if "path" in known and not path:
        raise SeewhyError(f"dataset {kind_name} needs a path: {kind_name}:PATH")
    if "path" not in known and path:
        raise SeewhyError(f"dataset {kind_name} has no path: write {kind_name}")
    given = {
        "path": Path(path),
        "view": classifier.view,
        "classes": classifier.classes,
        "size": classifier.input_size[0],
        "n": limit or 200,
        "limit": limit,
        "multilabel": classifier.multilabel,
        "gray": len(classifier.mean) == 1,
    }
    chosen = {key: value for key, value in given.items() if key in known}
    for option in options or {}:
        if option not in known or option in ("path", "view", "classes"):
            free = sorted(known - {"path", "view", "classes"})
            hint = did_you_mean(option, free)
            raise SeewhyError(f"dataset {kind_name} has no option {option!r}.{hint} Options: {', '.join(free)}")
    asked = checked(kind, kind_name, from_text(kind, options or {}))
    return cast(Dataset, kind(**{**chosen, **asked}))


def offers(dataset: Dataset, classifier: Classifier, map_classes: bool = False, target: str = "predicted") -> set[Need]:
    """What metrics can have of a dataset, going by its first readable image; merged maps have no explainer and no cost."""
    first = _first(dataset)
    found: set[Need] = set() if target == "present" else {"explainer", "cost", "flops"}
    if first.labels is not None:
        found.add("labels")
    if first.regions is not None:
        found |= {"regions", "boxes"}
    if map_classes or classifier.n_classes <= MOST_CLASSES:
        found.add("class_maps")
    return found


def _first(dataset: Dataset) -> Batch:
    """The first image that can be read; SeewhyError, of the first one, if none can."""
    broken: SeewhyError | None = None
    for index in range(len(dataset)):
        try:
            return dataset.batch([index])
        except SeewhyError as error:
            broken = broken or error
    raise broken or SeewhyError("the dataset is empty")
