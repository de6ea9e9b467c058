"""Where numbers come from: what the manifest says of the question, the explainers and the metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from hashlib import sha256
from math import isfinite

import torch

from seewhy.cases import Question
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


def about_explainers(methods: Mapping[str, Explainer], limits: Mapping[str, int]) -> dict[str, dict[str, object]]:
    """For the manifest."""
    kinds = {EXPLAINERS[name]: name for name in EXPLAINERS}
    return {
        name: {
            "method": kinds.get(type(method), type(method).__name__),
            "family": method.family,
            "class_specific": method.class_specific,
            "paper": method.paper,
            "limit": limits.get(name),
            "limits": {key.partition("/")[2]: n for key, n in limits.items() if key.startswith(f"{name}/")},
            "options": _options(method, ("classifier",)),
        }
        for name, method in methods.items()
    }


def about_metrics(metrics: Mapping[str, Metric], limits: Mapping[str, int]) -> dict[str, dict[str, object]]:
    """For the manifest."""
    kinds = {METRICS[name]: name for name in METRICS}
    return {
        name: {
            "metric": kinds.get(type(measure), type(measure).__name__),
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
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _options(item: object, without: Sequence[str]) -> dict[str, object]:
    if not is_dataclass(item):
        return {}
    values = {f.name: getattr(item, f.name) for f in fields(item) if f.name not in without}
    return {key: _plain(value) for key, value in values.items()}


def _plain(value: object) -> object:
    """For JSON."""
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    if isinstance(value, torch.Tensor):
        return f"tensor {tuple(value.shape)} {_digest(value.detach().cpu().contiguous().numpy().tobytes())}"
    if isinstance(value, int | float | str | bool | None):
        return value
    text = str(value)
    return type(value).__name__ if " at 0x" in text else text  # an address differs from run to run


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()[:16]
