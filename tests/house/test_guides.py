"""Every command and every block of Python in the README, the tutorials and the recipes runs as it stands.

A page is read from top to bottom in a folder with the files that it speaks of (``support.guides``). A block that cannot
run on a machine without a net says why in the page itself: ``{.sh needs="a hub"}``.
"""

import shlex
from pathlib import Path

import pytest
from support.command import as_users_run_it, run
from support.guides import Block, blocks, cheaper, forget_modules, furnish, lines, without_a_hub

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
GUIDES = [
    ROOT / "README.md",
    ROOT / "SKILL.md",
    DOCS / "index.md",
    *sorted((DOCS / "tutorial").glob("*.md")),
    *sorted((DOCS / "how-to").glob("*.md")),
]
OTHERS = [page for folder in ("explanation", "reference") for page in sorted((DOCS / folder).glob("*.md"))]
"""Pages whose commands are studies of hours; their Python runs."""
REASONS = {
    "a virtual environment of its own": "make and pip install the package, which the tests of CI have done",
    "a checkout": "scripts of tools/: tests/explainers/test_add_a_method.py runs two, and one draws a run of hours",
    "a scheduler": "SLURM or torchrun starts the processes",
    "four GPUs": "the machine of CI has none",
    "cuda": "the machine of CI has none",
    "a hub": "it uploads weights, with a token",
    "open_clip": "a library that is no dependency of the tests",
    "the page's service, and a port": "it serves until it is stopped; tests/explanation/test_export.py asks such a service",
    "pytest": "a file of tests, which pytest reads",
}
"""Why a block does not run, in the words of the pages, and what that means."""


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def run_block(
    block: Block, folder: Path, namespace: dict[str, object], capfd: pytest.CaptureFixture[str], page: str
) -> None:
    if block.title:  # the block is a file
        (folder / block.title).parent.mkdir(parents=True, exist_ok=True)
        (folder / block.title).write_text(block.code, encoding="utf-8")
    elif block.language == "python":
        with as_users_run_it():
            exec(compile(block.code, page, "exec"), namespace)
    elif block.language == "sh":
        for line in lines(block.code):
            program, *words = shlex.split(line, comments=True)
            assert program == "seewhy", f"{page}: {line!r} is no command of seewhy: a block that cannot run says needs=..."
            done = run(capfd, *cheaper(words))
            assert done.status == 0, f"{page}: {line}\n{done.out}\n{done.err}"


@pytest.mark.parametrize("page", [page for page in [*GUIDES, *OTHERS] if blocks(page)], ids=name)
def test_the_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / page.stem
    folder.mkdir()
    monkeypatch.chdir(folder)
    without_a_hub(monkeypatch)
    furnish(folder, page.read_text(encoding="utf-8"))
    namespace: dict[str, object] = {"__name__": "example"}
    try:
        for block in blocks(page):
            if not block.needs and not (page in OTHERS and block.language == "sh"):
                run_block(block, folder, namespace, capfd, name(page))
    finally:
        forget_modules(folder)


def test_few_blocks_do_not_run_and_each_says_why() -> None:
    left_out = [(name(page), block.needs) for page in GUIDES for block in blocks(page) if block.needs]
    assert {needs for _, needs in left_out} == set(REASONS)
    assert len(left_out) <= 20, left_out


def test_a_command_is_in_a_block_that_runs() -> None:
    """And not in a block without a language, which nobody runs."""
    for page in GUIDES:
        for block in blocks(page):
            assert block.language in ("sh", "python", "toml", "") or block.title, (
                f"{name(page)}: a block in {block.language!r}"
            )
            commands = [line for line in lines(block.code) if line.startswith(("seewhy ", "pip ", "make "))]
            assert block.language or not commands, f"{name(page)}: {commands[0]} is in a block without a language"
