"""What a command shows while it works, and its tables."""

import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

if TYPE_CHECKING:
    pass


def print_table(table: Table) -> None:
    """As wide as the terminal; a file or a pipe is wide enough for every column."""
    Console(width=None if sys.stdout.isatty() else 400).print(table)


class EvaluationBar:
    """Shows how far an evaluation is; what was done before it began does not count for the time left."""

    def __init__(self, bar: Progress) -> None:
        self.bar = bar
        self.task: TaskID | None = None

    def __call__(self, done: float, total: int, failed: int) -> None:
        if self.task is None:
            self.task = self.bar.add_task("evaluating", total=total, completed=int(done))
        self.bar.update(self.task, completed=done, description=f"evaluating ({failed} failed)" if failed else "evaluating")


def progress_bar(quiet: bool) -> Progress:
    """A bar on stderr with the time left; nothing where stderr is no terminal."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        speed_estimate_period=600,
        transient=True,
        disable=quiet or not console.is_terminal,
    )
