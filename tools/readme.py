"""Writes the method table into README.md, from the registry; with --check only says whether it is current."""

import re
import sys

from bibliography import ROOT, Entry, read

from seewhy import EXPLAINERS, catalog

README = ROOT / "README.md"
BEGIN, END = "<!-- methods: begin (tools/readme.py) -->", "<!-- methods: end -->"
FAMILIES = ("gradient", "cam", "perturbation", "attention", "optimized", "learned", "reference")


def is_signed(name: str) -> bool:
    """Do negative values of the map speak against the class? A method says so: "Signed." in its docstring."""
    described = (EXPLAINERS[name].__doc__ or "").partition("Args:")[0]
    return re.search(r"\bSigned[.;]", described) is not None


def table(rows: list[catalog.Entry], papers: dict[str, Entry], link: str = "") -> str:
    """One line a method, by family and name; ``link`` is where a name leads, with braces for the name."""
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


def updated(text: str) -> str:
    """The README with the table of now."""
    before, after = text.partition(BEGIN)[0], text.partition(END)[2]
    return f"{before}{BEGIN}\n{table(catalog.entries('explainers'), read())}\n{END}{after}"


def main() -> int:
    text = README.read_text(encoding="utf-8")
    if updated(text) == text:
        return 0
    if "--check" in sys.argv[1:]:
        print("README.md: the method table is stale; run python tools/readme.py", file=sys.stderr)
        return 1
    README.write_text(updated(text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
