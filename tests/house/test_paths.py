"""Every module and every file that the documentation or a docstring names exists."""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path

import pages
import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "seewhy"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SKILL.md", *sorted((ROOT / "docs").rglob("*.md"))]
CODE = sorted(file for folder in ("src", "tools", "benchmarks", "tests") for file in (ROOT / folder).rglob("*.py"))
DESIGN = (ROOT / "docs" / "explanation" / "design.md").read_text(encoding="utf-8")

GROUPS = {"seewhy.explainers", "seewhy.metrics", "seewhy.datasets", "seewhy.models"}
"""Groups of entry points: they look like modules."""
EXAMPLES = re.compile(r"(test_)?(my_\w+|dimmed_saliency|bright_share|pets)(\.py)?")
"""Files and modules that a reader of a recipe makes."""


def dotted(text: str) -> set[str]:
    """Dotted names that begin with the package, without those in a file name or an address."""
    found = re.findall(r"(?<![\w/.-])seewhy(?:\.[A-Za-z_]\w*)+(?![\w/-])", text)
    names = {name for name in found if not name.endswith((".py", ".html"))}
    return {name for name in names if not any(EXAMPLES.fullmatch(part) for part in name.split("."))}


def files(text: str) -> set[str]:
    """Paths below the four folders of code, up to a placeholder or a pattern."""
    found = re.findall(r"(?<![\w/.-])(?:src|tools|benchmarks|tests)/[\w./-]*[\w/](?![\w*<{])", text)
    return {path for path in found if not EXAMPLES.fullmatch(Path(path).name)}


def docstrings(file: Path) -> Iterator[str]:
    """Docstrings of the module, its classes and functions, and of the constants that have one."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.value.value


def resolves(name: str) -> bool:
    """Is ``name`` a module, or reached from one by attributes? Names that are imported on demand count."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            if not hasattr(found, part):
                return part in getattr(found, "__dataclass_fields__", {}) | getattr(found, "__annotations__", {})
            found = getattr(found, part)
        return True
    return False


def assert_named(text: str) -> None:
    assert not {name for name in dotted(text) - GROUPS if not resolves(name)}
    assert not {path for path in files(text) if not (ROOT / path).exists()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_names_modules_and_files_that_exist(page: Path) -> None:
    assert_named(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", CODE, ids=lambda file: str(file.relative_to(ROOT)))
def test_docstrings_name_modules_and_files_that_exist(file: Path) -> None:
    assert_named("\n".join(docstrings(file)))


def test_a_wrong_path_is_noticed() -> None:
    with pytest.raises(AssertionError):
        assert_named("see `seewhy.modell.Classifier`")
    with pytest.raises(AssertionError):
        assert_named("see `seewhy.classifier.classifier.Classifer`")
    with pytest.raises(AssertionError):
        assert_named("run `python tools/redme.py`")
    assert_named("`seewhy.explain`, seewhy.Classifier.logits, `src/seewhy/errors.py`, https://x.org/tests/none.py")


def missing_tests(text: str) -> set[str]:
    """Tests that a page names as "FILE::NAME" and that the file does not define."""
    named = set(re.findall(r"(tests/[\w/]+\.py)::(\w+)", text))
    return {f"{file}::{test}" for file, test in named if f"def {test}(" not in (ROOT / file).read_text(encoding="utf-8")}


def test_a_page_names_tests_that_exist() -> None:
    for page in PAGES:
        assert not missing_tests(page.read_text(encoding="utf-8")), page.name
    assert missing_tests("tests/house/test_paths.py::test_nothing") == {"tests/house/test_paths.py::test_nothing"}


def test_the_pages_that_are_made_name_modules_that_exist() -> None:
    for page in ("reference/explainers/index.md", "reference/explainers/grad_cam.md", "reference/metrics/index.md"):
        assert_named(pages.PAGES[page]())


# -- the design page ----------------------------------------------------------------------------------------------------


def test_the_design_says_where_to_change_what() -> None:
    (table,) = re.findall(r"^\| I want to change .*?\n\n", DESIGN, flags=re.MULTILINE | re.DOTALL)
    assert len(re.findall(r"`\w+/[\w/]+\.py`", table)) >= 12
    sent = set(re.findall(r"`(\w+/[\w/]+\.py)`", DESIGN))
    missing = {path for path in sent if not any((root / path).exists() for root in (SOURCE, SOURCE.parent, ROOT))}
    assert not missing, f"the design page sends a reader to {missing}"


GROWING = {"data", "metrics"}
"""Packages with one file for each dataset or kind of metric: a new file needs no line on the page."""


@pytest.mark.parametrize("package", sorted({p.parent.name for p in SOURCE.glob("*/__init__.py")} - GROWING))
def test_the_design_names_every_file_of_a_package(package: str) -> None:
    (entry,) = re.findall(rf"^  {package}/ .*?(?=^  \w+[/.]|^\w|\Z)", DESIGN, flags=re.MULTILINE | re.DOTALL)
    inside = {p.stem for p in (SOURCE / package).glob("*.py")}
    inside |= {p.parent.name for p in (SOURCE / package).glob("*/__init__.py")}
    missing = inside - {"__init__"} - set(re.findall(r"\w+", entry))
    assert not missing, f"the tree of docs/explanation/design.md lacks files of {package}/"


def test_the_design_lists_the_layers_of_pyproject() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (block,) = re.findall(r"^layers = \[\n(.*?)^\]", project, flags=re.MULTILINE | re.DOTALL)
    layers = [re.findall(r"seewhy\.(\w+)", line) for line in block.splitlines()]
    listed = [re.findall(r"`(\w+)`", line) for line in re.findall(r"^\d+\. (`\w+`.*)$", DESIGN, flags=re.MULTILINE)]
    assert [sorted(layer) for layer in layers] == [sorted(line) for line in listed]
