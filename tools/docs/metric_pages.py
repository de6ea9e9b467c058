"""The reference of the metrics: an overview and a page for each, from the registry and the docstrings."""

import inspect
import math
import re
from typing import Any

from bibliography import Entry, read
from metric_pictures import HIGH, SETTINGS, alt
from option_table import option_table

from seewhy.metrics.base import METRICS, NEEDS, metric

FAMILIES = {
    "masking": "Is the class still there when the image is masked by the map?",
    "ordering": "Does the order of the map, or its size, say how much a pixel matters?",
    "localization": "Is the map on the object?",
    "specificity": "Does the map of a class belong to that class?",
    "complexity": "How simple is the map?",
    "robustness": "Does the map stay when the image hardly changes?",
    "randomization": "Does the map depend on what the network has learned?",
    "cost": "What does the map take?",
}
EXPLAINED = {"label": "the true class", "predicted": "the predicted class", "any": "any class"}


def number(value: float) -> str:
    return "∞" if value == math.inf else "-∞" if value == -math.inf else f"{value:.4g}"


def interval(name: str) -> str:
    low, high = METRICS[name].range
    return f"{number(low)} to {number(high)}"


def better(name: str) -> str:
    return {True: "higher", False: "lower", None: "neither"}[METRICS[name].higher_is_better]


def reads(name: str) -> str:
    return metric(name).reads


def prose(name: str) -> dict[str, str]:
    """The paragraphs of the docstring by their heading, as Markdown; what comes before the first heading is ""."""
    text = inspect.cleandoc(METRICS[name].__doc__ or "")
    parts = re.split(r"^(Rewards|Fooled by|Defined|Args|Source):[ \n]", text, flags=re.MULTILINE)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    return {key: linked(value, name) for key, value in {"": parts[0], **found}.items()}


def linked(text: str, page: str) -> str:
    """Names of metrics become links; double backticks single ones."""

    def link(found: re.Match[str]) -> str:
        name = found[1]
        return f"[`{name}`]({name}.md)" if name in METRICS and name != page else f"`{name}`"

    return re.sub(r"``?([^`\n]+)``?", link, text).strip()


def options(name: str) -> list[str]:
    """A table of the options, and what the docstring says below them."""
    rest = inspect.cleandoc(prose(name).get("Args", "").replace("\n\n", "\n\n\n"))
    after = rest.partition("\n\n")[2]
    return [*option_table(METRICS[name], lambda text: linked(text, name)), linked(after, name), ""]


def paper(name: str, papers: dict[str, Entry], up: str) -> str:
    key = METRICS[name].paper
    return f"[{papers[key].short}]({up}bibliography.md#{key})" if key else "this library"


def page(name: str) -> str:
    kind, said, papers = METRICS[name], prose(name), read()
    needs = ", ".join(NEEDS[need] for need in kind.needs) or "nothing but images and maps"
    lines = [
        f"# {name}",
        "",
        "| family | better | range | reads the map | needs | class in the paper | source |",
        "|---|---|---|---|---|---|---|",
        f"| [{kind.family}](index.md#{kind.family}) | {better(name)} | {interval(name)} | {reads(name)} | {needs} "
        f"| {EXPLAINED[kind.target]} | {paper(name, papers, '../')} |",
        "",
        said[""],
        "",
        f"![{alt(name)}]({name}.webp)",
        "",
        f"*{alt(name)}* {HIGH[kind.higher_is_better].capitalize()}. All numbers are computed on the pictured maps"
        + (" with the options named." if name in SETTINGS else " with the default options."),
        "",
    ]
    for heading, key in (
        ("What it rewards", "Rewards"),
        ("How it can be fooled", "Fooled by"),
        ("Where it is defined", "Defined"),
    ):
        text = said.get(key, "")
        lines += [f"## {heading}", "", text[:1].upper() + text[1:], ""]
    lines += ["## Options", "", *options(name)]
    lines += ["## Use", "", "```sh"]
    lines += [
        "seewhy evaluate --model shapes --data shapes \\",
        f"  --explainer grad_cam --explainer fake_cam --metric {name}",
        "```",
        "",
    ]
    lines += ["In Python:", "", "```python", "from seewhy.metrics import metric", "", f'measure = metric("{name}")']
    lines += ["scores = measure.score(case)  # one number, or a row of several, for each image of the case", "```", ""]
    lines += [
        "A `case` is described [here](../../how-to/evaluate.md#one-batch-by-hand).",
        "",
        "## Source",
        "",
        said.get("Source", ""),
    ]
    lines += ["", f"In the bibliography: {paper(name, papers, '../')}." if kind.paper else "", ""]
    lines += [f"Class: `{kind.__module__}.{kind.__name__}`.", ""]
    return "\n".join(lines)


def index() -> str:
    papers = read()
    lines = [
        "# Metrics",
        "",
        "A page for each: formula, picture, what it rewards, how it can be fooled, options, source. Which to",
    ]
    lines += ["take, and which definitions of one name differ: [Measuring explanations](../../explanation/metrics.md).", ""]
    for family, question in FAMILIES.items():
        names = [name for name in METRICS if METRICS[name].family == family]
        if not names:
            continue
        lines += [f"## {family}", "", question, ""]
        lines += ["| name | better | range | reads | needs | class in the paper | source |", "|---|---|---|---|---|---|---|"]
        for name in names:
            kind = METRICS[name]
            needs = ", ".join(need.replace("_", " ") for need in kind.needs)
            cells = [f"[`{name}`]({name}.md)", better(name), interval(name), reads(name), needs, EXPLAINED[kind.target]]
            lines.append("| " + " | ".join([*cells, paper(name, papers, "../")]) + " |")
        lines.append("")
    lines += [
        "*Reads*: raw, its positive part, its absolute value, min-max to 0..1, or only its order. *Class in the paper*: the"
    ]
    lines += ["class that the paper explains and scores; `--target` and `--scored` choose.", ""]
    return "\n".join(lines)


def pages() -> dict[str, Any]:
    made: dict[str, Any] = {"reference/metrics/index.md": index}
    for name in METRICS:
        made[f"reference/metrics/{name}.md"] = lambda name=name: page(name)
    return made
