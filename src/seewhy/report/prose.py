"""What was measured and how, in words for a reader who sees a run for the first time."""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from seewhy.describe import first_sentence
from seewhy.evaluation.manifest import AboutExplainer, AboutMetric, Manifest
from seewhy.evaluation.run import Run
from seewhy.explainers import EXPLAINERS
from seewhy.metrics import METRICS
from seewhy.registry import PlugInError, Registry
from seewhy.report.digits import seconds
from seewhy.report.pictures import Sample

EXPLAINED = {
    "label": "the true class; each, where an image has several",
    "predicted": "the class that the classifier predicts",
    "second": "the second likeliest class",
    "least": "the least likely class",
    "present": "all classes that are present, their maps merged by the maximum",
}
SCORED = {
    **EXPLAINED,
    "label": "the true class; the likeliest, where an image has several",
    "explained": "the class that is explained",
}
QUESTIONS = {
    "masking": "What becomes of the answer when the image is shown through the map?",
    "ordering": "Does the answer change when the pixels are removed in the order of the map?",
    "localization": "Does the map lie on the object?",
    "specificity": "Do the maps of different classes differ?",
    "complexity": "How few pixels does the map need?",
    "robustness": "Does the map stay when the image hardly changes?",
    "randomization": "Does the map depend on what the network has learned?",
    "cost": "What do the maps cost?",
}


def facts(run: Run) -> dict[str, str]:
    """What was measured and how. A line is left out if the manifest does not say it."""
    m, asked = run.manifest, run.manifest.asked
    dataset, kind, model = dict(asked.dataset), asked.classifier.get("module"), m.details.get("model")
    named = " ".join(str(part) for part in (model, f"({kind})" if kind and model else kind) if part)
    size = asked.classifier.get("input_size")
    pixels = f"images of {' × '.join(map(str, size))} pixels" if isinstance(size, list) else ""
    network = [named, f"{len(m.classes)} classes" if m.classes else "", pixels]
    name = dataset.pop("name", None) or m.details.get("data")
    found = {
        "Classifier": ", ".join(part for part in network if part),
        "Weights": f"fingerprint {asked.weights}" if asked.weights else "",
        "Dataset": ", ".join(part for part in (str(name or ""), options(dataset)) if part),
        "Images": _images(run),
        "Class explained": _class(asked.target, EXPLAINED),
        "Class scored": _class(asked.scored, SCORED),
        "Value of partly removed images": _value(asked.surrogate),
        "Rows": f"{len(run.scores):,} numbers, in scores.parquet and in the csv beside this page",
        "Random seed": "" if asked.seed is None else str(asked.seed),
        "Batch size": str(asked.batch_size or ""),
        "Time": _time(m),
        "Machine": ", ".join(str(part) for part in (m.hardware, m.details.get("device")) if part),
        "Software": ", ".join(f"{package} {version}" for package, version in m.versions.items()),
    }
    return {what: value for what, value in found.items() if value}


def in_one_line(run: Run, network: bool = True) -> str:
    """The images, the network and the class explained, and how much was measured."""
    m, n = run.manifest, run.scores["index"].n_unique()
    name, model = (
        m.asked.dataset.get("name") or m.details.get("data"),
        m.details.get("model") or m.asked.classifier.get("module"),
    )
    said = [f"{n:,} {'image' if n == 1 else 'images'}{f' of {name}' if name else ''}"]
    said += [f"network {model}"] if network and model else []
    said += [f"class explained: {_class(m.asked.target, EXPLAINED).partition(';')[0]}"] if m.asked.target else []
    if network:
        said.append(f"{_count(len(m.explainers), 'explainer')}, {_count(len(m.metrics), 'metric')}")
    return " · ".join(said)


def sample(found: Sample, seed: int) -> str:
    """Which images are shown, and how they were chosen."""
    n, k = len(found.images), found.shown_classes
    of = f"{_count(n, 'image')}, drawn at random (seed {seed}), not for {'its' if n == 1 else 'their'} looks"
    each = (
        f"one of each of {k} {'classes' if k > 1 else 'class'}"
        if n == k and k > 1
        else f"of {k} {'classes' if k > 1 else 'class'}"
    )
    each += f" ({found.classes} have a picture)" if found.classes > k else ""
    if found.correct is None:
        return f"{of}: {each.replace('class', 'predicted class', 1)}; the labels are not known."
    if found.correct == n:
        return f"{of}: {each}, {'which is' if n == 1 else 'all'} classified correctly."
    return f"{of}: {each}; {found.correct or 'none'} {'is' if found.correct < 2 else 'are'} classified correctly."


def _count(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _value(surrogate: Mapping[str, Any]) -> str:
    """What metrics that remove players have asked; nothing where they have asked the classifier itself."""
    if not surrogate:
        return ""
    given = {key: value for key, value in surrogate.items() if key not in ("kind", "weights")}
    named = f"a {str(surrogate.get('kind', 'value function')).lower()}"
    return ", ".join(part for part in (named, options(given), f"fingerprint {surrogate.get('weights', 'unknown')}") if part)


def summary(name: str, about: AboutExplainer | AboutMetric) -> str:
    """What an explainer or a metric is; nothing if it is not registered here.

    The registered name comes first where ``name`` is another one, such as a name with options.
    """
    registry: Registry[Any]
    known, registry = (about.metric, METRICS) if isinstance(about, AboutMetric) else (about.method, EXPLAINERS)
    try:
        said = first_sentence(registry[known]) if known in registry else ""
    except PlugInError:  # a package that was there when the run was made, and is broken now
        said = ""
    return said if known == name or not said else f"{known}: {said}"


def options(given: Mapping[str, Any]) -> str:
    """The options that have a value; a switch that is off is left out."""
    said = [(key, value) for key, value in given.items() if value is not None and value is not False]
    return ", ".join(key if value is True else f"{key} {_short(value)}" for key, value in said)


def failures(run: Run) -> list[tuple[str, str, list[str]]]:
    """The failures by kind, the most frequent first: what failed, why, and on which images."""
    found: dict[tuple[str, str], list[str]] = {}
    for failure in run.manifest.failures:
        explainer, metric = failure.explainer, failure.metric
        what = f"{metric} of {explainer}" if metric and explainer else explainer or metric or "reading the image"
        found.setdefault((what, failure.error), []).append(failure.image_id)
    return sorted(((*kind, images) for kind, images in found.items()), key=lambda kind: -len(kind[2]))


def class_name(run: Run, index: int) -> str:
    """The name of a class, or its number if the name is not known; values are outputs, not classes."""
    names = run.manifest.classes
    what = "output" if run.manifest.asked.classifier.get("outputs") in ("values", "embedding") else "class"
    return str(names[index]) if 0 <= index < len(names) else f"{what} {index}"


def and_list(names: Sequence[str], most: int = 6) -> str:
    """A, B and C; of many names, the first ones and how many more there are."""
    shown = [*names[:most], f"{len(names) - most} more"] if len(names) > most + 1 else list(names)
    return " and ".join(part for part in (", ".join(shown[:-1]), *shown[-1:]) if part)


def _images(run: Run) -> str:
    """How many images, and how many the classifier gets right."""
    n, total = run.scores["index"].n_unique(), run.manifest.images
    words = {"correct": "only those classified correctly", "wrong": "only those classified wrong"}
    only = words.get(run.manifest.asked.only)
    said = [f"{n:,}" + (f" of {total:,}" if total not in (None, n) else ""), only or ""]
    known = run.images.filter(pl.col("correct").is_not_null())["correct"]
    if len(known) and not only:
        said.append(f"the classifier is right on {int(known.sum()):,} of {len(known):,} ({100 * float(known.mean()):.0f} %)")  # type: ignore[arg-type]
    return "; ".join(part for part in said if part)


def _class(asked: str, known: Mapping[str, str]) -> str:
    return known.get(asked, f"always {asked}") if asked else ""


def _time(manifest: Manifest) -> str:
    """The wall time, and the sums over maps and metrics. They differ if a run was resumed or shared between processes."""
    spent = {kind: sum(times.values()) for kind, times in vars(manifest.seconds).items() if times}
    processes, wall = manifest.processes, manifest.wall_seconds
    several = f", {processes} processes" if processes > 1 else ""
    resumed = " since it was resumed" if wall and sum(spent.values()) > 1.05 * wall * processes else ""
    said = [f"{seconds(float(wall))} on the clock{resumed}{several}"] if wall else []
    said += [f"{seconds(float(t))} for {'maps' if kind == 'explainers' else kind}" for kind, t in spent.items()]
    return "; ".join(said)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
