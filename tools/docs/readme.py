"""Writes the tables of methods and metrics into README.md; with --check only says whether they are current."""

import csv
import re
import sys

from bibliography import ROOT, Entry, read

from seewhy import EXPLAINERS
from seewhy.app import catalog

README = ROOT / "README.md"
BEGIN, END = "<!-- methods: begin (tools/docs/readme.py) -->", "<!-- methods: end -->"
BOARD_BEGIN, BOARD_END = "<!-- leaderboard: begin (tools/docs/readme.py) -->", "<!-- leaderboard: end -->"
BOARD = ROOT / "docs" / "reports" / "shapes.csv"
"""The numbers of a report of the built-in network."""
BOARD_METRICS = ("srg", "insertion", "deletion", "relevance_mass", "average_gain")
BOARD_EXPLAINERS = ("smooth_grad", "cam", "hires_cam", "grad_cam", "integrated_gradients", "saliency", "center", "random")
SIGNS = {"best": " ★", "level": " ≈", "": ""}
METRICS_BEGIN, METRICS_END = "<!-- metrics: begin (tools/docs/readme.py) -->", "<!-- metrics: end -->"
ASKS = {
    "masking": "What does the classifier say of the image that the map masks?",
    "ordering": "What happens when pixels go, or come, in the order of the map?",
    "localization": "Does the map lie on the object?",
    "specificity": "Does the map of a class serve that class alone?",
    "complexity": "How simple is the map?",
    "robustness": "Does the map stay when the image trembles?",
    "randomization": "Does the map change when the network forgets what it learned?",
    "cost": "What does the map cost?",
}
"""Families of metrics in the order of the page, and the question that each answers."""
FAMILIES = ("gradient", "cam", "perturbation", "attention", "optimized", "learned", "reference")


def is_signed(name: str) -> bool:
    """Do negative values of the map speak against the class? The docstring of such a method says "Signed."."""
    described = (EXPLAINERS[name].__doc__ or "").partition("Args:")[0]
    return re.search(r"\bSigned[.;]", described) is not None


def table(rows: list[catalog.CatalogEntry], papers: dict[str, Entry], link: str = "") -> str:
    """A line for each method, by family and name. ``link`` is the target of a name, with braces in place of the name."""
    lines = ["| name | what it shows | family | all classes in one pass | signed | paper |", "|---|---|---|---|---|---|"]
    for row in sorted(rows, key=lambda r: (FAMILIES.index(r["family"]), r["name"])):
        paper = papers[row["paper"]] if row["paper"] else None
        cells = [
            f"[`{row['name']}`]({link.format(row['name'])})" if link else f"`{row['name']}`",
            row["summary"],
            row["family"],
            "yes" if row["all_classes_at_once"] else "" if row["class_specific"] else "the same for all",
            "yes" if is_signed(row["name"]) else "",
            f"[{paper.short}]({paper.url})" if paper else "",
        ]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def metric_table(rows: list[catalog.CatalogEntry]) -> str:
    """A line for each family of metrics. An arrow says whether higher or lower is better."""
    arrow = {"higher": " ↑", "lower": " ↓", "neither": ""}
    lines = ["| question | family | metrics |", "|---|---|---|"]
    for family, question in ASKS.items():
        names = [f"`{row['name']}`{arrow[row['better']]}" for row in rows if row["family"] == family]
        lines.append(f"| {question} | {family} | {', '.join(names)} |")
    return "\n".join(lines)


def leaderboard() -> str:
    """Some explainers and metrics of a report: mean, half of the interval, and ★ or ≈ as in the report."""
    with BOARD.open(encoding="utf-8", newline="") as opened:
        rows = {(row["explainer"], row["metric"]): row for row in csv.DictReader(opened)}
    arrows = {m: {"higher": " ↑", "lower": " ↓"}[rows[BOARD_EXPLAINERS[0], m]["better"]] for m in BOARD_METRICS}
    lines = ["| | " + " | ".join(f"`{m}`{arrows[m]}" for m in BOARD_METRICS) + " |", "|---" * (len(BOARD_METRICS) + 1) + "|"]
    for name in BOARD_EXPLAINERS:
        cells = [rows[name, m] for m in BOARD_METRICS]
        halves = [(float(cell["high"]) - float(cell["low"])) / 2 for cell in cells]
        shown = [f"{float(c['figure']):.3f} ± {h:.3f}{SIGNS[c['standing']]}" for c, h in zip(cells, halves, strict=True)]
        lines.append("| " + " | ".join([f"`{name}`", *shown]) + " |")
    return "\n".join(lines)


def updated(text: str) -> str:
    """The README with tables that are made from the registries."""
    for begin, end, made in [
        (BEGIN, END, table(catalog.entries("explainers"), read())),
        (BOARD_BEGIN, BOARD_END, leaderboard()),
        (METRICS_BEGIN, METRICS_END, metric_table(catalog.entries("metrics"))),
    ]:
        before, after = text.partition(begin)[0], text.partition(end)[2]
        text = f"{before}{begin}\n{made}\n{end}{after}"
    return text


def main() -> int:
    text = README.read_text(encoding="utf-8")
    if updated(text) == text:
        return 0
    if "--check" in sys.argv[1:]:
        print("README.md: the tables are stale; run python tools/docs/readme.py", file=sys.stderr)
        return 1
    README.write_text(updated(text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
