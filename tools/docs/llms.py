"""llms.txt for programs that read the documentation: the title, address and first sentence of each page (llmstxt.org)."""

import re
from pathlib import Path
from typing import Any

import yaml
from bibliography import ROOT
from navigation import expanded

ABOUT = """\
# seewhy

> seewhy is a Python library and a command line. It shows where any PyTorch image classifier looked (attribution maps by
> the methods of the literature, also for transformers), trains explainers that learn, and measures whether an explanation
> can be believed.

Start with the tutorials. `SKILL.md` in the repository says in one page when to use what, and what goes wrong.
"""


def navigation() -> list[Any]:
    """The navigation of mkdocs.yml, which has tags of its own elsewhere."""
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    return yaml.safe_load(text[text.index("\nnav:") :])["nav"]


def first_sentence(page: Path) -> str:
    """The first sentence of a page below its title; nothing where a table or code comes first."""
    text = page.read_text(encoding="utf-8").partition("\n# ")[2] or page.read_text(encoding="utf-8").partition("\n")[2]
    paragraph = next((part for part in re.split(r"\n\s*\n", text) if re.match(r"[A-Z*]|`[^`]", part.strip())), "")
    plain = re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", " ".join(paragraph.split()))
    return re.split(r"(?<=[.!?]) ", plain)[0]


def links(entries: list[Any], folder: Path) -> list[str]:
    """A line for each page, and a heading for each section below the first two levels left out."""
    made = []
    for entry in entries:
        ((title, value),) = entry.items() if isinstance(entry, dict) else [("", entry)]
        if isinstance(value, list):
            made += links(value, folder)
        else:
            page = folder / value
            title = title or page.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")
            made.append(f"- [{title}]({value.removesuffix('.md')}.html): {first_sentence(page)}".removesuffix(": "))
    return made


def llms(folder: Path) -> str:
    """The file, from the pages in ``folder``."""
    lines = [ABOUT]
    for entry in expanded(navigation(), folder):
        ((title, value),) = entry.items()
        if isinstance(value, list):
            optional = "Optional" if title in ("Decisions", "Project") else title
            lines += ([] if f"## {optional}" in lines else [f"## {optional}", ""]) + [*links(value, folder)]
            lines += [""] if title != "Decisions" else []
    return "\n".join(lines)
