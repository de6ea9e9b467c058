"""The command line: options in, the library's own functions called, files and one line a result out.

The files of the commands import torch and the like inside their functions, so that ``seewhy --help`` is there at once.
"""

import sys
from typing import Annotated, Any, NoReturn

import typer

from seewhy.app.cli.demo import demo
from seewhy.app.cli.evaluate import evaluate
from seewhy.app.cli.explain import explain
from seewhy.app.cli.list import list_
from seewhy.app.cli.memory import keep_freed
from seewhy.app.cli.report import report
from seewhy.app.cli.terminal import own_lines_alone, say, speak_plainly
from seewhy.errors import SeewhyError, one_line

USAGE_ERROR: Any = typer.BadParameter.__base__
"""What Typer raises for a command that it cannot read. Some versions of Typer have it from click, others from themselves."""

app = typer.Typer(
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Why did the classifier decide so? Explain any image classifier, and see whether the explanation can be believed.",
)
for command in (explain, evaluate, report, demo):
    app.command()(command)
app.command("list")(list_)


@app.callback(invoke_without_command=True)
def version(
    context: typer.Context,
    show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if show:
        from seewhy import __version__

        say(f"seewhy {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def main() -> None:
    """Run the command; a mistake of the user's is one line on stderr and status 2."""
    keep_freed()
    speak_plainly()
    try:
        with own_lines_alone():
            status = app(prog_name="seewhy", standalone_mode=False)
    except USAGE_ERROR as error:
        command = error.ctx.command_path if error.ctx else "seewhy"
        _refuse(f"{error.format_message().rstrip('.')} ({command} --help says how it is used)")
    except SeewhyError as error:
        _refuse(str(error))
    except OSError as error:  # a file that no reader of ours expects: a name that is too long, a disk that is gone
        _refuse(f"{error.filename or 'the system'}: {error.strerror or error}")
    sys.exit(status or 0)


def _refuse(said: str) -> NoReturn:
    say(f"seewhy: {one_line(said)}", err=True)
    sys.exit(2)
