"""What makes the numbers of two evaluations comparable."""

from collections.abc import Collection, Mapping, Sequence
from math import isfinite
from pathlib import Path

from seewhy.classifier.identity import classifier_identity
from seewhy.data import Dataset
from seewhy.describe import digest_of, fields_as_json, weights_digest
from seewhy.evaluation.question import Question
from seewhy.metrics import METRICS, HasCurve, Metric


def about_question(q: Question, images: Sequence[int], threads: int) -> dict[str, object]:
    """What makes the numbers of two evaluations comparable, for the manifest."""
    ids = [q.dataset.ids[i] for i in images]
    return {
        "classifier": classifier_identity(q.classifier),
        "weights": weights_digest(q.classifier.module),
        "dataset": {"name": type(q.dataset).__name__.lower(), **fields_as_json(q.dataset, ("path", "classes", "view"))},
        "images": f"{len(ids)} with the names {digest_of(chr(10).join(ids).encode())}",
        "files": q.dataset.digest(range(len(q.dataset))),
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
    return digest_of("\n".join(lines).encode())


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
            "options": fields_as_json(measure, ()),
        }
        for name, measure in metrics.items()
    }
