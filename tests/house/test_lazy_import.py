"""``import seewhy`` and ``seewhy --help`` are there at once: a fresh process loads none of the large packages."""

import ast
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import seewhy

LARGE = (
    *("torch", "torchvision", "timm", "transformers", "huggingface_hub", "safetensors", "lightning"),
    *("numpy", "scipy", "skimage", "PIL", "matplotlib", "polars", "jaxtyping", "jinja2"),
)
"""Packages that may not be loaded before a public name is used or a command runs."""
SECONDS = 0.5
"""Of CPU, for an import or a page of help."""

HELP = """import sys
sys.argv = ["seewhy", {}]
from seewhy.app.cli.main import main
try:
    main()
except SystemExit:
    pass"""
PROGRAMS = {
    "import seewhy": ("import seewhy; dir(seewhy)", (*LARGE, "typer", "rich")),
    "seewhy.SeewhyError": ("import seewhy; seewhy.SeewhyError", (*LARGE, "typer", "rich")),
    "the version": ("import seewhy; seewhy.__version__", (*LARGE, "typer", "rich")),
    "seewhy --version": (HELP.format("'--version'"), LARGE),
    "seewhy --help": (HELP.format("'--help'"), LARGE),
    "seewhy evaluate --help": (HELP.format("'evaluate', '--help'"), LARGE),
    "a wrong option": (HELP.format("'list', '--jsno'"), LARGE),
}


def loaded(program: str, forbidden: Sequence[str]) -> list[str]:
    """Which of the forbidden packages a fresh process has loaded when the program ends."""
    report = f"\nimport sys\nprint('loaded:', *(name for name in {list(forbidden)!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", program + report], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()[1:]


@pytest.mark.parametrize("what", PROGRAMS)
def test_large_packages_are_not_loaded(what: str) -> None:
    assert loaded(*PROGRAMS[what]) == []


@pytest.mark.parametrize("what", ["import seewhy", "seewhy --help"])
def test_it_takes_under_half_a_second_of_cpu(what: str) -> None:
    """The fastest of three, since other work on the machine makes each slower."""
    assert min(cpu_seconds(PROGRAMS[what][0]) for _ in range(3)) < SECONDS


def cpu_seconds(program: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_type_checkers_see_the_names_that_python_finds() -> None:
    """The imports for type checkers and the table of modules hold the same names of the same modules."""
    tree = ast.parse(Path(seewhy.__file__).read_text(encoding="utf-8"))
    typed = {
        alias.name: str(statement.module).removeprefix("seewhy.")
        for block in tree.body
        if isinstance(block, ast.If)
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert typed == seewhy._MODULES


def test_every_public_name_is_there() -> None:
    assert set(seewhy.__all__) <= set(dir(seewhy))
    for name in seewhy.__all__:
        assert getattr(seewhy, name) is not None
    assert seewhy.explainers.EXPLAINERS is seewhy.EXPLAINERS, "a module of the package, without an import of its own"


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(AttributeError, match=r"^seewhy has no 'explian'. Did you mean 'explain'\?$"):
        _ = seewhy.explian
    with pytest.raises(AttributeError, match=r"^seewhy has no 'zzz'.$"):
        _ = seewhy.zzz
    assert not hasattr(seewhy, "__wrapped__")
