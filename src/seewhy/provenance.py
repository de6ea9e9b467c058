"""Where numbers come from: what the manifest says of the question, the explainers and the metrics."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, is_dataclass
from hashlib import sha256
from math import isfinite
from pathlib import Path

import numpy as np
import torch

from seewhy.cases import Question
from seewhy.data import Dataset
from seewhy.explainers import EXPLAINERS, Explainer
from seewhy.metrics import METRICS, HasCurve, Metric
from seewhy.model import Classifier


def about_question(q: Question, images: Sequence[int], threads: int) -> dict[str, object]:
    """What makes the numbers of two evaluations comparable, for the manifest."""
    ids = [q.dataset.ids[i] for i in images]
    return {
        "classifier": described_classifier(q.classifier),
        "weights": fingerprint(q.classifier.module),
        "dataset": {"name": type(q.dataset).__name__.lower(), **_options(q.dataset, ("path", "classes", "view"))},
        "images": f"{len(ids)} with the names {_digest(chr(10).join(ids).encode())}",
        "files": getattr(q.dataset, "digest", None),
        "device": str(next((p.device.type for p in q.classifier.module.parameters()), "cpu")),
        "target": q.target,
        "scored": q.scored,
        "only": q.only,
        "map_classes": q.map_classes,
        "batch_size": q.batch_size,
        "threads": threads,
        "seed": q.seed,
    }


def files_but_for(dataset: Dataset, some: Collection[int]) -> str | None:
    """A digest of the files of all images but some, and of what is said of them; None where the dataset names no files.

    If it is the same, and that of all files is another, then only those some have changed.
    """
    entries = getattr(dataset, "entries", ())
    if not entries or not all(isinstance(getattr(entry, "file", None), Path) for entry in entries):
        return None
    lines = []
    for i, (name, entry) in enumerate(zip(dataset.ids, entries, strict=True)):
        if i not in some:  # paths, and places in files of labels, may have moved
            said = [value for value in entry if not isinstance(value, Path | str)]
            lines.append(f"{name} {said} {entry.file.stat().st_size}")
    return _digest("\n".join(lines).encode())


def about_explainers(
    methods: Mapping[str, Explainer], limits: Mapping[str, int] | None = None
) -> dict[str, dict[str, object]]:
    """For the manifest; ``limits`` are those of an evaluation."""

    def limited(name: str) -> dict[str, object]:
        if limits is None:
            return {}
        own = {key.partition("/")[2]: n for key, n in limits.items() if key.startswith(f"{name}/")}
        return {"limit": limits.get(name), "limits": own}

    return {
        name: {
            "method": EXPLAINERS.name_of(type(method)),
            "family": method.family,
            "class_specific": method.class_specific,
            "paper": method.paper,
            **limited(name),
            "options": _options(method, ("classifier",)),
        }
        for name, method in methods.items()
    }


def about_metrics(metrics: Mapping[str, Metric], limits: Mapping[str, int]) -> dict[str, dict[str, object]]:
    """For the manifest."""
    return {
        name: {
            "metric": METRICS.name_of(type(measure)),
            "family": measure.family,
            "higher_is_better": measure.higher_is_better,
            "range": [end if isfinite(end) else None for end in measure.range],
            "reads": measure.reads,
            "class in the paper": measure.target,
            "paper": measure.paper,
            "axes": measure.axes if isinstance(measure, HasCurve) else None,
            "limit": limits.get(name),
            "options": _options(measure, ()),
        }
        for name, measure in metrics.items()
    }


def described_classifier(classifier: Classifier) -> dict[str, object]:
    """What a classifier does to an image, but for its weights."""
    return {
        "module": type(classifier.module).__name__,
        "input_size": list(classifier.input_size),
        "mean": list(classifier.mean),
        "std": list(classifier.std),
        "crop": classifier.crop,
        "classes": f"{classifier.n_classes} with the names {_digest(chr(10).join(classifier.classes).encode())}",
        "multilabel": classifier.multilabel,
    }


def fingerprint(module: torch.nn.Module) -> str:
    """A digest of the weights and buffers."""
    digest = sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(bytes_of(tensor))
    return digest.hexdigest()[:16]


def _options(item: object, without: Sequence[str]) -> dict[str, object]:
    if not is_dataclass(item):
        return {}
    values = {f.name: getattr(item, f.name) for f in fields(item) if f.name not in without}
    return {key: _plain(value) for key, value in values.items()}


def _plain(value: object) -> object:
    """For JSON: readable where it is short, a digest where it is long; other values are other text."""
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, np.ndarray):
        return f"array {value.shape} {value.dtype} {_digest(value.tobytes())}"
    if isinstance(value, torch.Tensor):
        kind = str(value.dtype).removeprefix("torch.")
        return f"tensor {tuple(value.shape)} {kind} {_digest(bytes_of(value))}"
    if isinstance(value, torch.nn.Module):
        return f"{type(value).__name__} {fingerprint(value)}"
    if is_dataclass(value) and not isinstance(value, type):
        return {"kind": type(value).__name__, **_options(value, ("classifier",))}
    if isinstance(value, int | float | str | bool | None):
        return value
    text = str(value)
    return type(value).__name__ if " at 0x" in text else text  # an address differs from run to run


def bytes_of(tensor: torch.Tensor) -> bytes:
    """Of a tensor of any type, also one that numpy does not have."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()[:16]
