"""What the registries hold, for the command line and the docs."""

from collections.abc import Mapping, Sequence
from inspect import getdoc
from typing import Any

import timm
from rich.table import Table
from rich.text import Text

from seewhy.classifier.sources import MODELS, SHAPES
from seewhy.data import DATASETS
from seewhy.explainers import EXPLAINERS
from seewhy.explainers.base import options_of
from seewhy.metrics import METRICS, metric
from seewhy.metrics.base import metric_options

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


def _plain(options: Mapping[str, object]) -> dict[str, object]:
    """For JSON."""
    return {key: v if isinstance(v, int | float | str | bool | None) else str(v) for key, v in options.items()}


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _summary(item: object) -> str:
    """First sentence of the docstring."""
    text = " ".join((getdoc(item) or "").partition("\n\n")[0].split())
    return text.partition(". ")[0].rstrip(".")
