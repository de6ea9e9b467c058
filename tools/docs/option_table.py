"""The options of an explainer or a metric as a table, for its page."""

from collections.abc import Callable
from typing import Any

from seewhy.options import described


def option_table(kind: type[Any], as_markdown: Callable[[str], str] = lambda text: text) -> list[str]:
    """Lines of Markdown: what each option is called, what it takes, its default and what it is."""
    options = described(kind)
    if not options:
        return ["No options.", ""]
    lines = ["| option | takes | default | what it is |", "|---|---|---|---|"]
    for option in options:
        takes = ", ".join(f"`{choice!r}`" for choice in option.choices) or option.takes
        cells = [f"`{option.name}`", takes, f"`{option.default!r}`", as_markdown(_sentence(option.text))]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return [*lines, ""]


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
