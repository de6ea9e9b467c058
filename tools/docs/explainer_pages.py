"""The reference of the explainers: an overview, a page for each, and the gallery, from the registry and two files.

docs/formulas.toml has the formulas; tools/docs/explainer_pictures.py draws the pictures and counts the costs.
"""

import csv
import tomllib
from collections.abc import Callable

from bibliography import ROOT, read
from option_table import option_table
from readme import FAMILIES, is_signed, table

from seewhy import EXPLAINERS
from seewhy.app import catalog

ABOUT = {
    "gradient": "Derivatives of the target's logit by the pixels.",
    "cam": "Features of one layer, weighted and summed; as coarse as the layer's grid.",
    "perturbation": "What happens to the score when parts of the picture are removed.",
    "attention": "Read off a transformer's attention.",
    "optimized": "Found by optimization, image by image.",
    "learned": "One forward pass of a network that was trained to explain.",
    "reference": "What a method must beat. These maps explain nothing.",
}
NOTATION = {
    "attention": "explanation/transformers.md#methods-that-read-attention",
    "learned": "explanation/learned.md",
}
"""Pages that say what the letters of a formula mean; else the page of the methods."""
IMAGES = ROOT / "docs" / "images" / "explainers"
TRAINED_HERE = ("rtis", "t_tame")
"""Learned methods that do not come trained with the package."""


def formulas() -> dict[str, str]:
    return tomllib.loads((ROOT / "docs" / "formulas.toml").read_text(encoding="utf-8"))


def pictured() -> dict[str, dict[str, str]]:
    """Network, class and forward-equivalents of each picture, by method."""
    with (ROOT / "docs" / "reference" / "explainers.csv").open(encoding="utf-8", newline="") as opened:
        return {row["explainer"]: row for row in csv.DictReader(opened)}


def families() -> dict[str, list[str]]:
    found = {family: [name for name in EXPLAINERS if EXPLAINERS[name].family == family] for family in FAMILIES}
    return {family: sorted(names) for family, names in found.items() if names}


def index() -> str:
    """Every registered method, by family; a new one appears by itself."""
    papers, listed = read(), catalog.entries("explainers")
    lines = [
        "# Explainers",
        "",
        "A page for each: formula, picture, cost, command and options. [All of them on one picture]",
    ]
    lines[-1] += "(gallery.md). When to trust which: [the methods, side by side](../../explanation/methods.md)."
    for family, names in families().items():
        rows = [entry for entry in listed if entry["name"] in names]
        lines += ["", f"## {family}", "", ABOUT[family], "", table(rows, papers, "{}.md")]
    return "\n".join([*lines, ""])


def command(name: str) -> str:
    """A command that explains a picture by the method, with a built-in network."""
    network = pictured()[name]["network"]
    which = f"runs/{name}" if name in TRAINED_HERE else name
    return f"seewhy explain photo.jpg --model {network} --explainer {which}"


def passes(cost: str) -> str:
    if cost == "0":
        return "No pass of the network"
    return "1 forward pass" if cost == "1" else f"{cost} forward passes"


def page(name: str) -> str:
    method, row, papers = EXPLAINERS[name], pictured()[name], read()
    entry = next(e for e in catalog.entries("explainers") if e["name"] == name)
    facts = [
        f"[{method.family}](index.md#{method.family})",
        "signed" if is_signed(name) else "not signed",
        "all classes in one pass" if entry["all_classes_at_once"] else "",
        "" if method.class_specific else "the same for every class",
        f"[{papers[method.paper].short}](../bibliography.md#{method.paper})" if method.paper else "",
    ]
    lines = [f"# {name}", "", " · ".join(filter(None, facts)), ""]
    lines += [f"::: {method.__module__}.{method.__name__}", "    options:", "      show_root_heading: false"]
    lines += ["      show_root_toc_entry: false", "      members: false"]
    lines += ["      show_bases: false", "      show_docstring_parameters: false", ""]
    means = "what the method looks for" if method.family in ("optimized", "learned") else "the map"
    notation = NOTATION.get(method.family, "explanation/methods.md")
    lines += ["## Formula", "", f"$${formulas()[name]}$$", ""]
    lines += [f"This is {means}. The letters are those of [this page](../../{notation}).", ""]
    lines += [
        "## On a picture",
        "",
        '<div class="pair" markdown>',
        "![The picture: a heart](../../images/explainers/picture.webp)",
    ]
    lines += [f"![The map of {name} over the picture](../../images/explainers/{name}.webp)", "</div>", ""]
    options = "after a training of a minute" if name in TRAINED_HERE else "with the default options"
    lines += [f"*A built-in picture, and the map of the class {row['class']} of the network `{row['network']}`, {options}.*"]
    signs = "Red speaks for the class and blue against it, where the map has negative values. Else purple is weak and"
    signs += " yellow strong."
    lines += [f"*{signs} [All methods on this picture](gallery.md).*", ""]
    lines += [
        "## Cost",
        "",
        f"{passes(row['forward_equivalents'])} for this map: floating-point operations of one map, divided by",
    ]
    lines += ["those of one forward pass ([`forward_equivalents`](../metrics/forward_equivalents.md)).", ""]
    if method.family == "learned":
        lines[-2] += " The training comes before and is not counted."
    lines += ["## Command", "", "```sh"]
    if name in TRAINED_HERE:
        lines += [f"seewhy fit {name} --model shapes --data shapes --out runs/{name}"]
    lines += [command(name), "```", "", "## Options", "", *option_table(method)]
    return "\n".join(lines)


def gallery() -> str:
    """All methods on one picture."""
    lines = [
        "# Gallery",
        "",
        "One picture of the built-in data under every explainer, with the default options. The object is the heart:",
    ]
    lines += [
        "its outline alone tells the class. Each map is stretched to its own range for the eye: strong colors are no strong"
    ]
    lines += ["map. One picture cannot say which method is better: [measure](../../tutorial/measure.md).", ""]
    lines += [
        '<div class="gallery" markdown>',
        "<figure markdown>![A heart on a string, on a blurred ground](../../images/explainers/picture.webp)",
    ]
    lines += ["<figcaption>the picture</figcaption></figure>", "</div>", ""]
    costs = pictured()
    for family, names in families().items():
        networks = {costs[name]["network"] for name in names}
        where = f" On `{networks.pop()}`." if len(networks) == 1 else ""
        lines += [f"## {family}", "", f"{ABOUT[family]}{where}", "", '<div class="gallery" markdown>']
        for name in names:
            lines += [f"<figure markdown>[![{name}](../../images/explainers/{name}.webp)]({name}.md)"]
            lines += [
                f"<figcaption markdown>[`{name}`]({name}.md)<br>{short(costs[name], bool(where))}</figcaption></figure>"
            ]
        lines += ["</div>", ""]
    lines += [
        "Below each name is the cost in forward passes. `python tools/docs/explainer_pictures.py` draws the pictures.",
        "",
    ]
    return "\n".join(lines)


def short(row: dict[str, str], same: bool) -> str:
    cost = row["forward_equivalents"]
    return f"{cost} {'pass' if cost == '1' else 'passes'}" + ("" if same else f", {row['network']}")


def pages() -> dict[str, Callable[[], str]]:
    made: dict[str, Callable[[], str]] = {"reference/explainers/index.md": index, "reference/explainers/gallery.md": gallery}
    for name in EXPLAINERS:
        made[f"reference/explainers/{name}.md"] = lambda name=name: page(name)  # type: ignore[misc]
    return made
