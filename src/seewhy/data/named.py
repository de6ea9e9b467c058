"""A dataset by name, in the form that a classifier takes."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from seewhy.data import DATASETS, Dataset
from seewhy.data.pictures import View
from seewhy.errors import SeewhyError
from seewhy.options import checked, from_text
from seewhy.registry import did_you_mean


@runtime_checkable
class SeesPictures(Protocol):
    """What a dataset must know of the network that its pictures are for; a ``Classifier`` has it all."""

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
