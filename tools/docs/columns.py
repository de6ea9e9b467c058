"""An extension of griffe: docstrings in the forms that our code uses, as the page's parser wants them."""

import re
from typing import Any

import griffe

FIELD = re.compile(r"^(\w+)( {2,})(\S.*)$")
PAIR = re.compile(r"^( +)(\w+), (\w+): (.*(?:\n\1 +.*)*)", re.MULTILINE)


class Columns(griffe.Extension):
    """Two columns, ``name   what it is``, become a list; an argument ``mean, std: ...`` becomes two."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = as_list(PAIR.sub(r"\1\2: \4\n\1\3: see `\2`.", obj.docstring.value))


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
