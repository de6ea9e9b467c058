"""What the registries hold, for the command line and the documentation."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from seewhy.classifier.sources import MODELS, SHAPES
from seewhy.data import DATASETS
from seewhy.data.named import OF_THE_CALL
from seewhy.describe import as_json, first_sentence
from seewhy.explainers import EXPLAINERS
from seewhy.metrics import METRICS
from seewhy.options import described
from seewhy.registry import Registry, did_you_mean
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


def found(kind: str, words: Sequence[str]) -> list[CatalogEntry]:
    """The entries of ``kind`` that have each of the words in their name, their family or, if no name has, their summary.

    Of models these are networks, by the names that ``seewhy.load`` takes: those of timm, of torchvision and the built-in
    ones. Capitals and signs between words do not count.
    """
    every = _networks() if kind == "models" else entries(kind)
    wanted = [_letters(word) for word in words]

    def has(text: str) -> bool:
        return all(word in _letters(text) for word in wanted)

    by_name = [entry for entry in every if has(f"{entry['name']} {entry.get('family', '')}")]
    return by_name or [entry for entry in every if has(str(entry["summary"]))]


def near(kind: str, words: Sequence[str]) -> str:
    """``" Did you mean 'vit_tiny'?"`` for words that no entry of ``kind`` has; empty where no name is similar."""
    return did_you_mean(" ".join(words), [entry["name"] for entry in (_networks() if kind == "models" else entries(kind))])


def _letters(text: str) -> str:
    return re.sub(r"[\W_]", "", text).lower()


def _networks() -> list[CatalogEntry]:
    """The networks that have names: of the hub and of a user's code they are without number."""
    import timm
    import torchvision

    tags: dict[str, list[str]] = {}
    for name in timm.list_pretrained():
        tags.setdefault(name.partition(".")[0], []).append(name.partition(".")[2])
    of_timm = [
        (name, f"timm; weights {', '.join(filter(None, tags.get(name, []))) or 'none'}") for name in timm.list_models()
    ]
    models = torchvision.models
    of_torchvision = [
        (f"torchvision/{name}", f"torchvision; weights {', '.join(models.get_model_weights(name).__members__)}")
        for name in models.list_models(module=models)
    ]
    built_in = [("shapes" if name == "cnn" else f"shapes/{name}", "built in") for name in SHAPES]
    return [{"name": name, "summary": summary} for name, summary in (*built_in, *of_timm, *of_torchvision)]


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
