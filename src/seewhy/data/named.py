"""A dataset by name, in the form that a classifier takes."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from seewhy.data import DATASETS, Dataset
from seewhy.data.pictures import View
from seewhy.errors import SeewhyError
from seewhy.files import did_you_mean_file
from seewhy.options import checked, from_text
from seewhy.registry import did_you_mean

OF_THE_CALL = ("path", "view", "classes")
"""Fields of datasets that are no options: the name of the dataset and the classifier say them."""


@runtime_checkable
class SeesPictures(Protocol):
    """What ``dataset`` reads of the network for which the pictures are; a ``Classifier`` has all of it."""

    @property
    def view(self) -> View: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def input_size(self) -> tuple[int, int]: ...
    @property
    def multilabel(self) -> bool: ...
    @property
    def mean(self) -> tuple[float, ...]: ...


def dataset(
    name: str, classifier: SeesPictures, limit: int | None = None, options: Mapping[str, str] | None = None
) -> Dataset:
    """The dataset ``name`` in the form that ``classifier`` takes: for ``seewhy.evaluate``, ``seewhy.fit``, and batches.

    ``len(found)`` is the number of its images, ``found.ids`` are their names, and ``found.batch([0, 1, 2])`` reads some of
    them: a ``Batch`` of images (n, c, h, w) in [0, 1], and of the labels, regions and boxes that are known.

        photos = seewhy.dataset("photos", classifier, limit=100)

    Args:
        name: "shapes"; "folder:PATH"; "voc:PATH"; or a path alone: of a csv file or a folder. A folder that holds
            Annotations is read as VOC. A plug-in may have added other names ("seewhy list datasets" lists them).
        classifier: says the size of its input, how a picture is brought to that size, and the names of its classes.
        limit: about how many images; all by default (200 of ``shapes``).
        options: options of the dataset, as text: seed=1, shortcut=random, boxes_column=boxes_227_xyxy.

    Raises:
        SeewhyError: no such dataset, path or option.
    """
    kind_name, _, path = name.partition(":")
    if kind_name not in DATASETS and Path(name).exists():
        kind_name, path = "voc" if (Path(name) / "Annotations").is_dir() else "folder", name
    if kind_name not in DATASETS:
        hint = did_you_mean(kind_name, DATASETS) or did_you_mean_file(name).removeprefix(".")
        raise SeewhyError(
            f"unknown dataset {kind_name!r}, and no such folder or csv file.{hint} Known: {', '.join(DATASETS)}"
        )
    kind = cast(Any, DATASETS[kind_name])
    if "path" in kind.takes and not path:
        raise SeewhyError(f"dataset {kind_name} needs a path: {kind_name}:PATH")
    if "path" not in kind.takes and path:
        raise SeewhyError(f"dataset {kind_name} has no path: write {kind_name}")
    known = sorted(f.name for f in fields(kind) if f.name not in OF_THE_CALL)
    for option in options or {}:
        if option not in known:
            hint = did_you_mean(option, known)
            raise SeewhyError(f"dataset {kind_name} has no option {option!r}.{hint} Options: {', '.join(known)}")
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
    chosen = checked(kind, kind_name, from_text(kind, options or {}))
    return cast(Dataset, kind(**{**{key: given[key] for key in kind.takes}, **chosen}))
