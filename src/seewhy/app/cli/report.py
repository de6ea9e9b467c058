"""``seewhy report``: run folders in, one page out."""

from pathlib import Path
from typing import Annotated

import typer

from seewhy.app.cli.arguments import Quiet
from seewhy.app.cli.progress import progress_bar
from seewhy.app.cli.terminal import say


def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders of seewhy evaluate --out.")],
    out: Annotated[
        Path | None, typer.Option(help="The page, FILE.html; report.html in the first run folder by default.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Make a page of runs, and its tables as Markdown, LaTeX and csv."""
    from seewhy.report import write_report

    with progress_bar(quiet) as bar:
        bar.add_task("making the page", total=None)
        files = write_report(runs, out)
    for file in files if not quiet else ():
        say(file)
