"""One word means one thing: no public name is defined in two modules with two meanings."""

import ast
from collections import defaultdict
from pathlib import Path

import seewhy

SOURCE = Path(seewhy.__file__).parent

STAYS = {
    "evaluate": "the function of the library, and the command that calls it",
    "explain": "the function of the library, and the command that calls it",
    "fit": "the function of the library, and the command that calls it",
    "CHECKS": "the checks of each contract; a reader imports one of them with its module",
    "Check": "the type of a check of each contract",
    "Family": "each registry has families of its own",
    "BaselineOption": "explainers and metrics say in their own words what the option does",
    "PlayersOption": "explainers and metrics say in their own words what the option does",
    "T": "a type variable",
}
"""Names that may be defined twice, with the reason."""


def names_of(file: Path) -> set[str]:
    """Public names that a module defines at its top level."""
    names: set[str] = set()
    for statement in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            names.add(statement.name)
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            names |= {node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)}
    return {name for name in names if not name.startswith("_")}


def defined_twice() -> dict[str, list[str]]:
    where: dict[str, list[str]] = defaultdict(list)
    for file in sorted(SOURCE.rglob("*.py")):
        if file.name != "__init__.py":
            for name in names_of(file):
                where[name].append(str(file.relative_to(SOURCE)))
    return {name: files for name, files in where.items() if len(files) > 1}


def test_no_name_has_two_meanings() -> None:
    twice = defined_twice()
    new = {name: files for name, files in twice.items() if name not in STAYS}
    assert not new, f"find another name for one of the two, or say in STAYS why both stay: {new}"
    assert set(STAYS) <= set(twice), f"defined once now, so take them off the list: {set(STAYS) - set(twice)}"


def test_no_module_is_called_utils() -> None:
    assert not [file for file in SOURCE.rglob("*.py") if file.stem in ("util", "utils", "helpers", "misc", "common")]
