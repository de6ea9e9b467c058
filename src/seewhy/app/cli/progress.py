"""The progress bar and the tables of the command line. Rich is imported when one of them is made."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID
    from rich.table import Table


def print_table(table: "Table") -> None:
    """Print a table as wide as the terminal; in a file or a pipe every column has its place."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 400).print(table)


class EvaluationBar:
    """Shows the progress of an evaluation. The time left is estimated from the work of this call alone."""

    def __init__(self, bar: "Progress") -> None:
        self.bar = bar
        self.task: TaskID | None = None

    def __call__(self, done: float, total: int, failed: int) -> None:
        if self.task is None:
            self.task = self.bar.add_task("evaluating", total=total, completed=int(done))
        self.bar.update(self.task, completed=done, description=f"evaluating ({failed} failed)" if failed else "evaluating")


class TrainingBar:
    """Shows the progress of a training, with each term of the loss."""

    def __init__(self, bar: "Progress") -> None:
        self.bar = bar
        self.task: TaskID | None = None
        self.said = ""

    def __call__(self, said: str, done: int, total: int, terms: Mapping[str, float]) -> None:
        if said != self.said:
            if self.task is not None:
                self.bar.remove_task(self.task)
            self.task, self.said = self.bar.add_task(said, total=total, completed=done), said
        assert self.task is not None
        loss = f"  loss {sum(terms.values()):.4g} = {in_terms(terms)}" if terms else ""
        self.bar.update(self.task, completed=done, description=said + loss)


def in_terms(terms: Mapping[str, float]) -> str:
    """The terms of a loss as a sum: "class 0.31 + area 0.2"."""
    return " + ".join(f"{name} {value:.4g}" for name, value in terms.items())


def progress_bar(quiet: bool) -> "Progress":
    """A bar on stderr with the time left. It shows nothing where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

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
