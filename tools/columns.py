"""An extension of griffe: docstrings that list fields in two columns become lists on the page."""

import re
from typing import Any

import griffe

FIELD = re.compile(r"^(\w+)( {2,})(\S.*)$")


class Columns(griffe.Extension):
    """``name   what it is``, with later lines indented to the second column."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = as_list(obj.docstring.value)


def as_list(text: str) -> str:
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        if found := FIELD.match(line):
            lines.append(f"- `{found[1]}`: {found[3]}")
            inside = True
        elif inside and line.startswith("  "):
            lines[-1] += f" {line.strip()}"
        else:
            inside = False
            lines.append(line)
    return "\n".join(lines)
