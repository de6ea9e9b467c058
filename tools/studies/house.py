"""How large the house is: lines of code, declarations beside code, descriptions of options, the graph of imports.

    python tools/studies/house.py [SRC]

Reads the source as text, so that any commit can be measured: SRC is its folder src/seewhy. Lines of code are lines that
are not blank, comment or docstring. The graph of imports has a room for each module or package directly below seewhy;
its floors are the longest chain of imports.
"""

import ast
import io
import re
import sys
import tokenize
from collections import Counter
from pathlib import Path

IGNORED = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def docstring_lines(tree: ast.AST) -> set[int]:
    """Lines of all strings that stand alone: docstrings of modules, classes, functions and constants."""
    alone = (n for n in ast.walk(tree) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))
    return {line for n in alone if isinstance(n.value.value, str) for line in range(n.lineno, n.end_lineno + 1)}


def code_lines(text: str) -> set[int]:
    """Lines with a token that is no comment and no docstring."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in IGNORED:
            lines.update(range(token.start[0], token.end[0] + 1))
    return lines - docstring_lines(ast.parse(text))


def registered(node: ast.ClassDef) -> bool:
    """Does the class head, or a decorator, give the class a name in a registry?"""
    by_decorator = any(
        isinstance(d, ast.Call) and ast.unparse(d).startswith(("EXPLAINERS", "METRICS")) for d in node.decorator_list
    )
    return by_decorator or any(keyword.arg == "name" for keyword in node.keywords)


def parts_of(node: ast.ClassDef, lines: list[str]) -> Counter[str]:
    """Non-blank lines of a class: docstring, declarations (head, decorators, class variables), fields, methods."""

    def size(first: int, last: int) -> int:
        return sum(1 for line in lines[first - 1 : last] if line.strip())

    found: Counter[str] = Counter()
    head = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    found["declarations"] += size(head, node.body[0].lineno - 1)
    for child in node.body:
        if isinstance(child, ast.Expr):
            kind = "docstring"
        elif isinstance(child, ast.AnnAssign) and "ClassVar" not in ast.unparse(child.annotation):
            kind = "fields"
        elif isinstance(child, ast.AnnAssign | ast.Assign):
            kind = "declarations"
        else:
            kind = "methods"
        first = min([child.lineno, *(d.lineno for d in getattr(child, "decorator_list", []))])
        found[kind] += size(first, child.end_lineno or first)
    return found


def described_options(node: ast.ClassDef) -> int:
    block = re.search(r"^Args:\n(.*?)(?=^\S|\Z)", ast.get_docstring(node) or "", re.MULTILINE | re.DOTALL)
    return len(re.findall(r"^    \w[\w, ]*:", block[1], re.MULTILINE)) if block else 0


def graph(source: Path) -> dict[str, set[str]]:
    """Which rooms each room imports."""
    rooms: dict[str, set[str]] = {}
    for file in source.rglob("*.py"):
        room = file.relative_to(source).parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        wanted = rooms.setdefault(room, set())
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "seewhy":
                inner = (node.module or "").split(".")[1:]
                wanted.update([inner[0]] if inner else [name.name for name in node.names])
    return {room: {w for w in wanted if w in rooms and w != room} for room, wanted in rooms.items()}


def floors(rooms: dict[str, set[str]]) -> int:
    """The longest chain of imports; a circle counts once."""
    heights: dict[str, int] = {}

    def height(room: str, below: frozenset[str]) -> int:
        if room not in heights:
            inside = below | {room}
            heights[room] = 1 + max((height(other, inside) for other in rooms[room] - inside), default=0)
        return heights[room]

    return max(height(room, frozenset()) for room in rooms)


def main() -> None:
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[2] / "src" / "seewhy"
    total, classes, options = 0, {"explainers": Counter[str](), "metrics": Counter[str]()}, 0
    longest: list[tuple[int, str]] = []
    for file in sorted(source.rglob("*.py")):
        text = file.read_text(encoding="utf-8")
        total += len(code_lines(text))
        longest.append((text.count("\n"), str(file.relative_to(source))))
        package = file.relative_to(source).parts[0]
        if package in classes:
            nodes = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.ClassDef) and registered(n)]
            for node in nodes:
                classes[package] += parts_of(node, text.splitlines())
                classes[package]["classes"] += 1
                options += described_options(node)
    rooms = graph(source)
    print(f"lines of code              {total}")
    for package, counted in classes.items():
        parts = ", ".join(f"{counted[k]} {k}" for k in ("docstring", "declarations", "fields", "methods"))
        print(f"{package:26} {counted['classes']} classes: {parts}")
    print(f"descriptions of options    {options}")
    print(f"rooms, floors, arrows      {len(rooms)}, {floors(rooms)}, {sum(map(len, rooms.values()))}")
    print(f"longest files              {', '.join(f'{name} {n}' for n, name in sorted(longest, reverse=True)[:5])}")


if __name__ == "__main__":
    main()
