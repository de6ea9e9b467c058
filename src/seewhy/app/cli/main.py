"""The command line: options in, the library's own functions called, files and one line a result out.

The files of the commands import torch and the like inside their functions, so that ``seewhy --help`` is there at once.
"""

import os
import sys
from contextlib import suppress
from errno import EPIPE
from typing import Annotated, Any, NoReturn

import typer

from seewhy.app.cli.demo import demo
from seewhy.app.cli.evaluate import evaluate
from seewhy.app.cli.explain import explain
from seewhy.app.cli.export import export
from seewhy.app.cli.fit import fit
from seewhy.app.cli.list import list_
from seewhy.app.cli.memory import keep_freed
from seewhy.app.cli.report import report
from seewhy.app.cli.stop import Stopped, stoppable
from seewhy.app.cli.terminal import own_lines_alone, say, speak_plainly
from seewhy.app.cli.workers import follow_parent, is_worker
from seewhy.errors import SeewhyError, one_line

USAGE_ERROR: Any = typer.BadParameter.__base__
"""What Typer raises for a command that it cannot read. Some versions of Typer have it from click, others from themselves."""

app = typer.Typer(
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Why did the classifier decide so? Explain any image classifier, and see whether the explanation can be believed.",
)
for command in (explain, evaluate, fit, report, export, demo):
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
    follow_parent()
    try:
        with own_lines_alone(), stoppable():
            status = app(prog_name="seewhy", standalone_mode=False)
        _end(status or 0, "")
    except USAGE_ERROR as error:
        command = error.ctx.command_path if error.ctx else "seewhy"
        _end(2, f"{error.format_message().rstrip('.')} ({command} --help says how it is used)")
    except SeewhyError as error:
        _end(2, str(error))
    except Stopped as stop:
        where = f"; the same command goes on in {stop.folder}" if stop.folder else ""
        _end(stop.status, "" if is_worker() else f"stopped{where}")  # of several processes, the first one says it
    except OSError as error:  # no code of ours has foreseen it: a disk, a pipe or a table of open files is full
        if error.errno is None:
            raise  # no error of the system
        what = f"use {error.filename}" if error.filename else "write to the output"
        _end(2, f"cannot {what}: {error.strerror}")


def _end(status: int, line: str) -> NoReturn:
    """End with a status and a line on stderr. What is printed must arrive: a full disk is a mistake here too."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python tries again when it ends
        if error.errno != EPIPE:  # as of seewhy list | head: whoever reads has read enough
            status, line = 2, f"cannot write to the output: {error.strerror}"
    with suppress(OSError):
        if line:
            say(f"seewhy: {one_line(line)}", err=True)
    sys.exit(status)
