"""What the registries hold, for the command line and the docs."""

from collections.abc import Mapping, Sequence
from inspect import getdoc
from typing import Any

import timm
from rich.table import Table
from rich.text import Text

from seewhy.data import DATASETS
from seewhy.errors import SeewhyError, UnsuitedError
from seewhy.explainers import EXPLAINERS, Explainer, explainer
from seewhy.explainers.base import options_of
from seewhy.model import Classifier
from seewhy.options import from_text
from seewhy.registry import did_you_mean
from seewhy.sources import MODELS, SHAPES

Entry = dict[str, Any]


def entries(kind: str) -> list[Entry]:
    """One entry for each name of "explainers", "models" or "datasets"."""
    return {"explainers": _explainers, "models": _models, "datasets": _datasets}[kind]()


def _explainers() -> list[Entry]:
    return [
        {
            "name": name,
            "family": method.family,
            "class_specific": method.class_specific,
            "all_classes_at_once": hasattr(method, "explain_classes"),
            "paper": method.paper,
            "summary": _summary(method),
            "options": {
                key: value if isinstance(value, int | float | str | bool | None) else str(value)
                for key, value in options_of(method).items()
            },
        }
        for name, method in ((n, EXPLAINERS[n]) for n in EXPLAINERS)
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


def table(kind: str, rows: Sequence[Entry]) -> Table:
    """The entries for a terminal."""
    shown = Table(title=kind, title_justify="left", box=None, padding=(0, 2, 0, 0), header_style="bold")
    columns = ["name", "family", "all_classes_at_once", "summary"] if kind == "explainers" else ["name", "summary"]
    headings = {"all_classes_at_once": "all classes"}
    for column in columns:
        shown.add_column(headings.get(column, column), overflow="fold")
    for row in rows:
        # as Text, since "[hf]" is no markup
        shown.add_row(*(Text("yes" if row[c] is True else "" if row[c] is False else str(row[c])) for c in columns))
    return shown


def choose(
    names: Sequence[str], classifier: Classifier, options: Mapping[str, str]
) -> tuple[dict[str, Explainer], list[str]]:
    """The named explainers, each with those of the ``options``, as text, that it has; and why others were left out.

    "all" stands for every one that is defined for the network. Raises SeewhyError for an unknown name, for an option that
    none of them has, and for a value that one cannot take.
    """
    wanted = list(EXPLAINERS) if "all" in names else list(dict.fromkeys(names))
    known = {name: set(options_of(EXPLAINERS[name])) for name in wanted}
    every = sorted(set().union(*known.values()))
    for option in options:
        if option not in every:
            listed = ", ".join(every) or "none"
            raise SeewhyError(f"no option {option!r} in {', '.join(wanted)}.{did_you_mean(option, every)} Options: {listed}")
    own = {name: {key: text for key, text in options.items() if key in known[name]} for name in wanted}
    chosen: dict[str, Explainer] = {}
    left_out = []
    for name in wanted:
        try:
            chosen[name] = explainer(name, classifier, **from_text(EXPLAINERS[name], own[name]))
        except UnsuitedError as error:
            if "all" not in names:
                raise
            left_out.append(str(error))
    return chosen, left_out


def _summary(item: object) -> str:
    """First sentence of the docstring."""
    text = " ".join((getdoc(item) or "").partition("\n\n")[0].split())
    return text.partition(". ")[0].rstrip(".")
