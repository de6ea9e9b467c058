"""What the registries hold, for the command line and the docs."""

from collections.abc import Iterable, Mapping, Sequence
from inspect import getdoc
from typing import Any

import timm
from rich.table import Table
from rich.text import Text

from seewhy.data import DATASETS
from seewhy.errors import SeewhyError, UnsuitedError
from seewhy.explainers import EXPLAINERS, Explainer, explainer
from seewhy.explainers.base import options_of
from seewhy.metrics import METRICS, Metric, metric
from seewhy.metrics.base import NEEDS, Need, metric_options
from seewhy.model import Classifier
from seewhy.options import from_text, pairs
from seewhy.registry import did_you_mean
from seewhy.sources import MODELS, SHAPES

Entry = dict[str, Any]


def entries(kind: str) -> list[Entry]:
    """One entry for each name of "explainers", "metrics", "models" or "datasets"."""
    return {"explainers": _explainers, "metrics": _metrics, "models": _models, "datasets": _datasets}[kind]()


def _explainers() -> list[Entry]:
    return [
        {
            "name": name,
            "family": method.family,
            "class_specific": method.class_specific,
            # an optimized method has a search for each class, even if what it starts from is computed once
            "all_classes_at_once": hasattr(method, "explain_classes") and method.family != "optimized",
            "paper": method.paper,
            "summary": _summary(method),
            "options": _plain(options_of(method)),
        }
        for name, method in ((n, EXPLAINERS[n]) for n in EXPLAINERS)
    ]


def _metrics() -> list[Entry]:
    return [
        {
            "name": name,
            "family": kind.family,
            "better": {True: "higher", False: "lower", None: "neither"}[kind.higher_is_better],
            "range": [bound if abs(bound) < float("inf") else str(bound) for bound in kind.range],
            "needs": list(kind.needs),
            "reads": metric(name).reads,
            "explains": kind.target,
            "paper": kind.paper,
            "summary": _sentence(_summary(kind).partition(": ")[2] or _summary(kind)),
            "options": _plain(metric_options(kind)),
        }
        for name, kind in ((n, METRICS[n]) for n in METRICS)
    ]


def _models() -> list[Entry]:
    told = {
        "timm": f"NAME: {len(timm.list_models())} architectures of timm {timm.__version__}",
        "torchvision": "torchvision/NAME: the classifiers of torchvision",
        "hf": "hf/ID: image classifiers of Hugging Face, from the hub or a folder (needs seewhy[hf])",
        "factory": "package.module:factory, a function that returns a module or a Classifier",
        "shapes": ", ".join(["shapes", *(f"shapes/{name}" for name in SHAPES)]) + ": built in",
    }
    return [{"name": name, "summary": told[name]} for name in MODELS]


def _datasets() -> list[Entry]:
    return [{"name": name, "summary": _summary(DATASETS[name])} for name in DATASETS]


COLUMNS = {
    "explainers": ["name", "family", "all_classes_at_once", "summary"],
    "metrics": ["name", "family", "better", "range", "needs", "explains", "paper", "summary"],
}


def table(kind: str, rows: Sequence[Entry]) -> Table:
    """The entries for a terminal."""
    shown = Table(title=kind, title_justify="left", box=None, padding=(0, 2, 0, 0), header_style="bold")
    columns = COLUMNS.get(kind, ["name", "summary"])
    headings = {"all_classes_at_once": "all classes"}
    for column in columns:
        shown.add_column(headings.get(column, column), overflow="fold", no_wrap=column == "name")
    for row in rows:
        # as Text, since "[hf]" is no markup
        shown.add_row(*(Text(_cell(row[c])) for c in columns))
    return shown


def _cell(value: object) -> str:
    if isinstance(value, list):
        ends = all(isinstance(v, int | float) or v in ("inf", "-inf") for v in value)
        return " to ".join(f"{float(v):g}" for v in value) if value and ends else ", ".join(map(str, value))
    return "yes" if value is True else "" if value is False else str(value)


def choose(
    names: Sequence[str], classifier: Classifier, options: Mapping[str, str]
) -> tuple[dict[str, Explainer], list[str]]:
    """The named explainers, each with those of the ``options``, as text, that it has; and why others were left out.

    A name may have options of its own, "opti_cam:steps=50,learning_rate=0.3", and keeps them as its name. "all" stands for
    every one that is defined for the network. Raises SeewhyError for an unknown name, for an option that none of them has,
    and for a value that one cannot take.
    """
    split = {text: text.partition(":") for text in names if text != "all"}
    wanted = {label: (name, pairs(_parts(own))) for label, (name, _, own) in split.items()}
    every: dict[str, tuple[str, dict[str, str]]] = {name: (name, {}) for name in EXPLAINERS} if "all" in names else {}
    for name, _ in wanted.values():
        if name not in EXPLAINERS and "," in name:
            raise SeewhyError(f"{name!r} is no explainer: give --explainer again for each of several")
    known = {name: set(options_of(EXPLAINERS[name])) for name, _ in {**every, **wanted}.values()}
    _every_option_is_known(options, known)
    chosen: dict[str, Explainer] = {}
    left_out = []
    for label, (name, own) in {**every, **wanted}.items():
        shared = {key: text for key, text in options.items() if key in known[name]}
        try:
            chosen[label] = explainer(name, classifier, **from_text(EXPLAINERS[name], {**shared, **own}))
        except UnsuitedError as error:
            if label in wanted:
                raise
            left_out.append(str(error))
    return chosen, left_out


def choose_metrics(
    names: Sequence[str], options: Mapping[str, str], given: Iterable[Need], classifier: Classifier | None = None
) -> tuple[dict[str, Metric], list[str]]:
    """The named metrics, each with those of the ``options``, as text, that it has; and why others were left out.

    A name may have options of its own, "aopc:regions=20,size=8", and keeps them as its name. "all" stands for every metric
    that needs no more than what is ``given`` and suits the classifier. Raises SeewhyError for an unknown name, option or
    value.
    """
    wanted: dict[str, tuple[str, dict[str, str]]] = {}
    left_out = []
    for text in names:
        name, _, own = text.partition(":")
        if name != "all":
            wanted[text] = (name, pairs(_parts(own)))
            continue
        for one in METRICS:
            missing = [NEEDS[need] for need in METRICS[one].needs if need not in given]
            if missing:
                left_out.append(f"{one} needs {' and '.join(missing)}")
            else:
                wanted[one] = (one, {})
    known = {name: set(metric_options(METRICS[name])) for name, _ in wanted.values()}
    _every_option_is_known(options, known)
    chosen = {}
    for label, (name, own_options) in wanted.items():
        shared = {key: text for key, text in options.items() if key in known[name]}
        chosen[label] = metric(name, **from_text(METRICS[name], {**shared, **own_options}))
        suits = getattr(chosen[label], "suits", None)
        try:
            if suits is not None and classifier is not None:
                suits(classifier)
        except SeewhyError as error:
            if label in names:
                raise
            del chosen[label]
            left_out.append(f"{label}: {error}")
    return chosen, left_out


def _parts(text: str) -> list[str]:
    """Options as they are written, "a=1,b=[2,3]": a comma that no option follows belongs to the value before it."""
    parts: list[str] = []
    for part in text.split(",") if text else []:
        if "=" in part or not parts:
            parts.append(part)
        else:
            parts[-1] += "," + part
    return parts


def _every_option_is_known(options: Mapping[str, str], known: Mapping[str, set[str]]) -> None:
    every = sorted(set().union(*known.values()))
    for option in options:
        if option not in every:
            listed = ", ".join(every) or "none"
            raise SeewhyError(f"no option {option!r} in {', '.join(known)}.{did_you_mean(option, every)} Options: {listed}")


def _plain(options: Mapping[str, object]) -> dict[str, object]:
    """For JSON."""
    return {key: v if isinstance(v, int | float | str | bool | None) else str(v) for key, v in options.items()}


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _summary(item: object) -> str:
    """First sentence of the docstring."""
    text = " ".join((getdoc(item) or "").partition("\n\n")[0].split())
    return text.partition(". ")[0].rstrip(".")
