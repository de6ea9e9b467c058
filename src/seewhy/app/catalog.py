"""What the registries hold, for the command line and the documentation."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from seewhy.classifier.sources import MODELS, SHAPES
from seewhy.data import DATASETS
from seewhy.data.named import OF_THE_CALL
from seewhy.describe import as_json, first_sentence
from seewhy.explainers import EXPLAINERS
from seewhy.metrics import METRICS
from seewhy.options import described
from seewhy.registry import Registry
from seewhy.text import printable
from seewhy.training.presets import preset, preset_names

if TYPE_CHECKING:
    from rich.table import Table

CatalogEntry = dict[str, Any]
REGISTRIES: dict[str, Registry[Any]] = {
    "explainers": EXPLAINERS,
    "metrics": METRICS,
    "models": MODELS,
    "datasets": DATASETS,
}


def entries(kind: str) -> list[CatalogEntry]:
    """One entry for each name of "explainers", "metrics", "models", "datasets" or "presets"."""
    if kind == "presets":
        return [{"name": p.name, "method": p.method, "summary": p.about} for p in map(preset, preset_names())]
    about = {"explainers": _explainer, "metrics": _metric, "models": _model, "datasets": _dataset}[kind]
    return [{"name": name, **about(name, entry)} for name, entry in REGISTRIES[kind].items()]


def _explainer(_: str, method: Any) -> CatalogEntry:
    return {
        "family": method.family,
        "class_specific": method.class_specific,
        # an optimized method searches for each class, even if its start is computed once for all
        "all_classes_at_once": hasattr(method, "explain_classes") and method.family != "optimized",
        "trained_first": method.family == "learned",
        "paper": method.paper,
        "summary": first_sentence(method),
        "options": _options(method),
    }


def _metric(_: str, kind: Any) -> CatalogEntry:
    summary = first_sentence(kind)
    summary = summary.partition(": ")[2] or summary
    return {
        "family": kind.family,
        "better": {True: "higher", False: "lower", None: "neither"}[kind.higher_is_better],
        "range": [bound if abs(bound) < float("inf") else str(bound) for bound in kind.range],
        "needs": list(kind.needs),
        "reads": _reads(kind),
        "explains": kind.target,
        "paper": kind.paper,
        "summary": summary[:1].upper() + summary[1:],
        "options": _options(kind),
    }


def _reads(kind: Any) -> str:
    try:
        return str(kind().reads)
    except Exception:  # another package's metric may need options, or fail in any way; a list names it all the same
        return ""


def _model(name: str, source: object) -> CatalogEntry:
    import timm

    built_in = {
        "timm": f"NAME: {len(timm.list_models())} architectures of timm {timm.__version__}",
        "torchvision": "torchvision/NAME: the classifiers of torchvision",
        "hf": "hf/ID: image classifiers of Hugging Face, from the hub or a folder (needs seewhy[hf])",
        "factory": "package.module:factory, a function that returns a module or a Classifier",
        "shapes": ", ".join(["shapes", *(f"shapes/{name}" for name in SHAPES)]) + ": built in",
    }
    return {"summary": built_in.get(name) or f"{name}/NAME: {first_sentence(source)}"}


def _dataset(_: str, kind: Any) -> CatalogEntry:
    options = {name: option for name, option in _options(kind).items() if name not in OF_THE_CALL}
    return {"summary": first_sentence(kind), "options": options}


COLUMNS = {
    "explainers": ["name", "family", "all_classes_at_once", "summary"],
    "presets": ["name", "method", "summary"],
    "metrics": ["name", "family", "better", "range", "needs", "explains", "paper", "summary"],
}


LEARNED_IN_WORDS = (
    "learned: to be trained; seewhy fit METHOD trains it for a network, and --explainer FOLDER takes what it wrote"
)
"""Below the list, where it has a learned method."""


def terminal_table(kind: str, rows: Sequence[CatalogEntry]) -> "Table":
    """The entries for a terminal."""
    from rich.table import Table
    from rich.text import Text

    shown = Table(title=kind, title_justify="left", box=None, padding=(0, 2, 0, 0), header_style="bold")
    columns = COLUMNS.get(kind, ["name", "summary"])
    headings = {"all_classes_at_once": "all classes"}
    for column in columns:
        shown.add_column(headings.get(column, column), overflow="fold", no_wrap=column == "name")
    for row in rows:
        # as Text, since "[hf]" is no markup
        shown.add_row(*(Text(printable(_cell(row[c]))) for c in columns))
    if any(row.get("trained_first") for row in rows):
        shown.caption, shown.caption_justify = Text(LEARNED_IN_WORDS), "left"
    return shown


def _cell(value: object) -> str:
    if isinstance(value, list):
        ends = all(isinstance(v, int | float) or v in ("inf", "-inf") for v in value)
        return " to ".join(f"{float(v):g}" for v in value) if value and ends else ", ".join(map(str, value))
    return "yes" if value is True else "" if value is False else str(value)


def _options(kind: type[Any]) -> dict[str, object]:
    """The options by name: what each takes, its default, its description, and its words if it takes only these."""
    return {
        option.name: {key: as_json(value) for key, value in option._asdict().items() if key != "name"}
        for option in described(kind)
    }
