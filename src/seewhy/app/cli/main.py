"""The command line: options in, the library's own functions called, files and one line a result out.

The files of the commands import torch and the like inside their functions, so that ``seewhy --help`` is there at once.
"""

import sys
from typing import Annotated

import typer

from seewhy.app.cli.demo import demo
from seewhy.app.cli.evaluate import evaluate
from seewhy.app.cli.explain import explain
from seewhy.app.cli.list import list_
from seewhy.app.cli.memory import keep_freed
from seewhy.app.cli.report import report
from seewhy.app.cli.terminal import own_lines_alone, say
from seewhy.errors import SeewhyError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Why did the classifier decide so? Explain any image classifier, and see whether the explanation can be believed.",
)
for command in (explain, evaluate, report, demo):
    app.command()(command)
app.command("list")(list_)


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if show:
        from seewhy import __version__

        say(f"seewhy {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command; a mistake of the user's is one line on stderr and status 2."""
    keep_freed()
    try:
        with own_lines_alone():
            app(prog_name="seewhy")
    except SeewhyError as error:
        say(f"seewhy: {' '.join(str(error).split())}", err=True)
        sys.exit(2)
