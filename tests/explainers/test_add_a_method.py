"""The page "Add a method", followed to the letter in a copy of the package."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "how-to" / "add-a-method.md"


def blocks() -> dict[str, str]:
    """The code of each file that the page shows."""
    text = PAGE.read_text(encoding="utf-8")
    return dict(re.findall(r'^```\w+ title="([^"]+)"\n(.*?)^```$', text, flags=re.MULTILINE | re.DOTALL))


def called(folder: Path, *arguments: str) -> str:
    """What a fresh Python writes in ``folder``, where the package and the tests are those of the copy."""
    paths = os.pathsep.join(str(folder / part) for part in ("src", "tests", "tools/docs"))
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PYTHONPATH": paths}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_gives_a_working_method(tmp_path: Path) -> None:
    for part in ("src/seewhy", "tests/support", "tests/contracts", "tools", "docs", "changelog.d"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("__pycache__"))
    beside = (
        "README.md",
        "SKILL.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "pyproject.toml",
        "tests/conftest.py",
        "tests/house/test_docs.py",
    )
    (tmp_path / "tests" / "house").mkdir()
    for part in beside:
        shutil.copy(ROOT / part, tmp_path / part)
    for name, code in blocks().items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as opened:  # an import line is added to a file that is there
            opened.write(code)
    called(tmp_path, "tools/docs/explainer_pictures.py")
    called(tmp_path, "tools/docs/readme.py")
    tests = ["tests/explainers", "tests/contracts/test_explainers.py", "tests/house/test_docs.py"]
    chosen = "dimmed_saliency or test_the_method_table_is_current or test_every_change_is_a_fragment_of_a_kind"
    passed = called(tmp_path, "-m", "pytest", "-p", "no:cacheprovider", *tests, "-k", chosen)
    assert re.search(r"\b\d{2,} passed", passed), passed
    listed = called(tmp_path, "-c", "from seewhy.app.cli.main import main; main()", "list", "explainers", "--json")
    (own,) = [entry for entry in json.loads(listed)["explainers"] if entry["name"] == "dimmed_saliency"]
    assert list(own["options"]) == ["levels", "libra", "batch_size"]
    assert own["all_classes_at_once"]


def test_the_page_is_shorter_than_the_method_is_worth() -> None:
    """A method of one equation needs a file of at most 25 lines."""
    (method,) = [code for name, code in blocks().items() if name.startswith("src") and "class " in code]
    assert len(method.splitlines()) <= 25
