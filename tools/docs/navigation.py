"""A hook of mkdocs: the page of each explainer and of each metric stands in the navigation, by family.

The pages are those that the two overviews list, so that a new method needs no line in mkdocs.yml.
"""

import re
from pathlib import Path
from typing import Any

OVERVIEWS = ("reference/explainers/index.md", "reference/metrics/index.md")


def families(overview: Path) -> list[dict[str, list[dict[str, str]]]]:
    """For each family of an overview, its pages."""
    found = []
    for part in re.split(r"^## ", overview.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        names = re.findall(r"^\| \[`(\w+)`\]\((\w+\.md)\)", part, flags=re.MULTILINE)
        folder = f"{overview.parent.parent.name}/{overview.parent.name}"
        if names:
            found.append({part.partition("\n")[0]: [{name: f"{folder}/{file}"} for name, file in names]})
    return found


def expanded(entries: list[Any], docs: Path) -> list[Any]:
    """The navigation in which an overview is a section."""
    made: list[Any] = []
    for entry in entries:
        ((title, value),) = entry.items() if isinstance(entry, dict) else [("", entry)]
        if value in OVERVIEWS:
            made.append({title: [value, *families(docs / value)]})
        elif isinstance(value, list):
            made.append({title: expanded(value, docs)})
        else:
            made.append(entry)
    return made


def on_config(config: Any) -> Any:
    config["nav"] = expanded(config["nav"], Path(config["docs_dir"]))
    return config
