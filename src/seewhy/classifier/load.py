"""A classifier by name, with the preprocessing and the class names of its own weights."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from seewhy.classifier.checkpoint import load_weights
from seewhy.classifier.classifier import Classifier
from seewhy.classifier.sources import MODELS, Request
from seewhy.errors import SeewhyError
from seewhy.options import checked, from_text, pairs

VIEW = ("mean", "std", "size", "crop", "crop_mode", "interpolation", "multilabel", "feature_layer", "n_prefix_tokens")
"""Options that are the classifier's; all others are the architecture's."""


def load(
    name: str,
    *,
    weights: str | Path | None = None,
    classes: str | Path | Sequence[str] | None = None,
    options: Mapping[str, object] | None = None,
) -> Classifier:
    """The classifier called ``name``, in eval mode on the CPU.

    Args:
        name: a timm model ("resnet50.a1_in1k"), "torchvision/NAME", "hf/ID or folder", "shapes" (built in; also
            "shapes/vit", "shapes/cnn_shortcut"), or "package.module:factory", which returns a module or Classifier.
        weights: a file of weights (see ``checkpoint.load_weights``); without it the source's own are used.
        classes: "imagenet", a text file with a name per line, a csv file with a column "name", or a list of names;
            without it the names that come with the source's own weights.
        options: of the preprocessing (mean, std, size, crop, crop_mode, interpolation, multilabel, feature_layer,
            n_prefix_tokens), and of the architecture (all others, such as pad_type="same" or num_classes=10).

    Raises:
        SeewhyError: an unknown name or option, weights that do not fit or cannot be had, wrong class names.
    """
    chosen = dict(options or {})
    view = {key: chosen.pop(key) for key in VIEW if key in chosen}
    source, short = _source(name)
    classifier = MODELS[source](Request(short, chosen, pretrained=weights is None))
    if weights is not None:
        load_weights(classifier.module, weights)
    if classes is not None:
        classifier = replace(classifier, classes=class_names(classes))
    classifier.module.eval()
    return with_view(classifier, view)


def with_view(classifier: Classifier, view: Mapping[str, Any]) -> Classifier:
    """The classifier with other preprocessing; ``mean``, ``std`` and ``size`` may be one number or one per channel."""
    changes = dict(view)
    for key, n in (("mean", len(classifier.mean)), ("std", len(classifier.mean)), ("size", 2)):
        if key in changes:
            changes[key] = _several(changes[key], n)
            if len(changes[key]) != n:
                raise SeewhyError(f"{key} has {len(changes[key])} numbers; give one, or {n}: {key}={','.join(['1'] * n)}")
    if "size" in changes:
        changes["input_size"] = changes.pop("size")
    return replace(classifier, **checked(Classifier, "the classifier", changes))


def _several(value: object, n: int) -> Sequence[object]:
    """One value for each of n, from one, from a sequence, or from text with commas."""
    if isinstance(value, str) and "," in value:
        return [from_text(Classifier, {"mean": part})["mean"] for part in value.split(",")]
    if isinstance(value, Sequence) and not isinstance(value, str):
        return value if len(value) != 1 else [value[0]] * n
    return [value] * n


def on_device(classifier: Classifier, device: str) -> Classifier:
    """The classifier with its network moved to "cpu", "cuda", "cuda:1", "mps"; SeewhyError if there is none such."""
    try:
        classifier.module.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:
        raise SeewhyError(f"cannot use device {device!r}: {str(error).splitlines()[0]}") from None
    return classifier


def class_names(classes: str | Path | Sequence[str]) -> tuple[str, ...]:
    """Class names from "imagenet", a text file (a name a line), a csv file (a column "name"), or a list."""
    if classes == "imagenet":
        import torchvision

        return tuple(torchvision.models.ResNet18_Weights.DEFAULT.meta["categories"])
    if not isinstance(classes, str | Path):
        return tuple(str(c) for c in classes)
    path = Path(classes)
    if not path.is_file():
        raise SeewhyError(f"class names {str(classes)!r}: no such file; give a text or csv file, or 'imagenet'")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise SeewhyError(f"class names {path}: not a text file in UTF-8") from None
    except OSError as error:
        raise SeewhyError(f"class names {path}: cannot be read ({error.strerror or error})") from None
    if path.suffix == ".csv":
        rows = list(csv.DictReader(text.splitlines()))
        if not rows or "name" not in rows[0]:
            raise SeewhyError(f"class names {path}: a csv file needs a heading with a column 'name'")
        names = [row["name"] for row in _in_order(rows, path)]
    else:
        names = text.splitlines()
    names = [n.strip() for n in names if n and n.strip()]
    if not names:
        raise SeewhyError(f"class names {path}: the file is empty")
    return tuple(names)


def _in_order(rows: list[dict[str, str]], path: Path) -> list[dict[str, str]]:
    """The rows by their column "index", where there is one: every index from 0, each once."""
    if "index" not in rows[0]:
        return rows
    places = {str(row["index"]).strip(): row for row in rows}
    for i in range(len(rows)):
        if str(i) not in places:
            raise SeewhyError(f"class names {path}: the column 'index' must count from 0 to {len(rows) - 1}; {i} is missing")
    return [places[str(i)] for i in range(len(rows))]


def _source(name: str) -> tuple[str, str]:
    prefix, _, rest = name.partition("/")
    if name == "shapes":
        return "shapes", "cnn"
    if prefix in MODELS and rest:
        return prefix, rest
    if ":" in name and not name.startswith(("hf-hub:", "hf_hub:", "local-dir:")):
        return "factory", name
    return "timm", name


def parse_options(texts: Sequence[str]) -> dict[str, object]:
    """``["pad_type=same", "mean=0.5"]`` as a dict; values are read as JSON where they are JSON, else as text."""
    return from_text(Classifier, pairs(texts))
