"""How many lines of the explainers' classes say what, not counting blank ones.

python tests/support/class_lines.py
"""

import ast
import inspect
from pathlib import Path
from typing import NamedTuple


class Lines(NamedTuple):
    """Lines of a class: docstring, declaration (decorators, class head, class variables), fields, methods.

    A class head is one line, however the formatter wraps it.
    """

    docstring: int
    declaration: int
    fields: int
    methods: int


def lines_of(kind: type) -> Lines:
    """Counts in the source of ``kind`` itself."""
    source = Path(inspect.getfile(kind)).read_text(encoding="utf-8")
    (node,) = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ClassDef) and n.name == kind.__name__]
    filled = [bool(line.strip()) for line in source.splitlines()]

    def count(first: int, last: int) -> int:
        return sum(filled[first - 1 : last])

    found = {"docstring": 0, "declaration": len(node.decorator_list) + 1, "fields": 0, "methods": 0}
    for part in node.body:
        first = min([part.lineno, *(d.lineno for d in getattr(part, "decorator_list", []))])
        if isinstance(part, ast.Expr):
            place = "docstring"
        elif isinstance(part, ast.FunctionDef):
            place = "methods"
        else:
            place = "declaration" if "ClassVar" in ast.unparse(part) else "fields"
        found[place] += count(first, part.end_lineno or first)
    return Lines(**found)


def total(kinds: list[type]) -> Lines:
    return Lines(*map(sum, zip(*map(lines_of, kinds), strict=True)))


if __name__ == "__main__":
    from seewhy.explainers import EXPLAINERS

    kinds: list[type] = [EXPLAINERS[name] for name in EXPLAINERS]
    bases = list({b for kind in kinds for b in kind.__mro__[1:] if b.__module__.startswith("seewhy.")})
    for title, some in ((f"{len(kinds)} explainers", kinds), (f"{len(bases)} bases", bases)):
        counted = total(some) if some else Lines(0, 0, 0, 0)
        print(f"{title}: " + ", ".join(f"{name} {n}" for name, n in counted._asdict().items()))
