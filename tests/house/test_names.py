"""One word means one thing: no public name is defined in two modules with two meanings."""

import ast
from collections import defaultdict
from pathlib import Path

import seewhy

SOURCE = Path(seewhy.__file__).parent

STAYS = {
    "evaluate": "the function of the library, and the command that calls it",
    "explain": "the function of the library, and the command that calls it",
    "CHECKS": "the checks of each contract; a reader imports one of them with its module",
    "Check": "the type of a check of each contract",
    "Family": "each registry has families of its own",
    "Curves": "the curves of an image, and their picture in the report",
    "BaselineOption": "an option of explainers and one of metrics, each with its own words",
    "PlayersOption": "an option of explainers and one of metrics, each with its own words",
    "check_repeats": "the same promise in two contracts",
    "check_values": "the same promise in two contracts",
    "T": "a type variable",
}
"""Names that may be defined twice, with the reason."""

TO_MEND = {
    *(
        "ARROW",
        "BOTTOM",
        "Box",
        "CELLS",
        "Entry",
        "Images",
        "LEFT",
        "LETTER",
        "Layer",
        "Mask",
        "Masks",
        "Measure",
        "NUMBERS",
    ),
    *("Point", "Reading", "Scores", "TOP", "WIDTH", "column", "normalized", "pearson", "spread"),
}
"""Names that are defined twice today and should not be. This list only gets shorter."""


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


def test_no_new_name_has_two_meanings() -> None:
    new = {name: files for name, files in defined_twice().items() if name not in {*STAYS, *TO_MEND}}
    assert not new, f"find another name for one of the two, or say in STAYS why both stay: {new}"


def test_the_lists_have_no_name_twice() -> None:
    assert not TO_MEND & set(STAYS)


def test_no_module_is_called_utils() -> None:
    assert not [file for file in SOURCE.rglob("*.py") if file.stem in ("util", "utils", "helpers", "misc", "common")]
