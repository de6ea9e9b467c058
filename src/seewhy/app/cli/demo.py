"""``seewhy demo``: everything on the built-in data."""

from pathlib import Path
from typing import Annotated

import typer

from seewhy.app.cli.arguments import Quiet
from seewhy.app.cli.progress import progress_bar
from seewhy.app.cli.terminal import say


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the picture and the pages.")] = Path("out/demo"),
    quiet: Quiet = False,
) -> None:
    """Everything on the built-in data, without a download: one picture, one page, and a report; no network is needed."""
    from seewhy.app.demo import page

    with progress_bar(quiet) as progress:
        files = [*page.write_page(out, progress), *page.write_measurements(out, progress)]
    if not quiet:
        for path in files:
            say(path)
