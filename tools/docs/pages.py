"""Writes the documentation as plain Markdown and pictures into build/docs, for any generator of pages.

What is not written by hand is made from the registries, the command line, and files beside the README.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import torch
import typer
from bibliography import ROOT, read
from explainer_pages import pages as explainer_pages
from llms import llms
from metric_pages import pages as metric_pages
from metric_pictures import picture

from seewhy.app.cli import main
from seewhy.metrics import METRICS

BUILT = ROOT / "build" / "docs"
FRAGMENTS = ROOT / "changelog.d"


def command_line() -> str:
    """Every command, its arguments and options."""
    group = typer.main.get_command(main.app)
    page = ["# Command line", "", f"{group.help}", ""]
    page += ["A mistake of the user's is one line on stderr and exit status 2; results go to stdout or to files.", ""]
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        given = " ".join(f"{p.name.upper()}..." if p.nargs == -1 else f"[{p.name.upper()}]" for p in _arguments(command))
        page += [f"## seewhy {name}", "", "```", f"seewhy {name} {given} [OPTIONS]".replace("  ", " "), "```", ""]
        page += [command.help or "", "", "| | what it is | default |", "|---|---|---|"]
        for p in command.params:
            shown = p.name.upper() if p.param_type_name == "argument" else ", ".join(p.opts)
            more = " Required." if p.required else ""
            default = f"`{p.default}`" if p.default not in (None, False) else ""
            page.append(f"| `{shown}` | {p.help or ''}{more} | {default} |")
        page.append("")
    return "\n".join(page)


def _arguments(command: typer.core.TyperCommand) -> list[typer.core.TyperArgument]:
    return [p for p in command.params if isinstance(p, typer.core.TyperArgument)]


def bibliography() -> str:
    """Every paper, under the key that the code uses."""
    lines = ["# Bibliography", "", "The keys are those that an explainer or a metric names as its `paper`.", ""]
    for entry in sorted(read().values(), key=lambda e: e.short):
        lines += [f'<a id="{entry.key}"></a>`{entry.key}`  ', f"{entry.full}", ""]
    return "\n".join(lines)


def of_the_root(name: str) -> str:
    """A file beside the README as a page; its links into docs/ are shortened."""
    return (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](")


def changelog() -> str:
    """The history. Above it stand the fragments, which hold what changed since."""
    news = [" ".join(file.read_text(encoding="utf-8").split()) for file in sorted(FRAGMENTS.glob("*.md"))]
    listed = "\n".join(["## Since then", "", *(f"- {text}" for text in news)]) if news else ""
    return of_the_root("CHANGELOG.md").replace("<!-- the entries of changelog.d come here -->", listed)


PAGES: dict[str, Callable[[], str]] = {
    **explainer_pages(),
    "reference/command-line.md": command_line,
    "reference/bibliography.md": bibliography,
    **metric_pages(),
    "contributing.md": lambda: of_the_root("CONTRIBUTING.md"),
    "changelog.md": changelog,
}


def write(folder: Path = BUILT) -> None:
    """Write all pages and pictures into an empty folder. The same tree gives the same files."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(ROOT / "docs", folder, ignore=shutil.ignore_patterns("*.bib", "*.toml"))
    for path, page in PAGES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(page(), encoding="utf-8")
    (folder / "llms.txt").write_text(llms(folder), encoding="utf-8")
    torch.set_num_threads(1)  # threads of small networks wait for each other on a busy machine
    for name in METRICS:
        (folder / "reference" / "metrics" / f"{name}.webp").write_bytes(picture(name))


if __name__ == "__main__":
    write()
