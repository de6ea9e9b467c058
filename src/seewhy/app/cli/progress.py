"""How far long work has come, and the tables of the command line. Rich is imported when one of them is made.

On a terminal a bar shows it. Where stderr is a file or a pipe, a plain line says it: after some seconds, and then each
minute.
"""

import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from seewhy.app.cli.terminal import say
from seewhy.process import PASSES

if TYPE_CHECKING:
    from rich.progress import ProgressColumn, TaskID
    from rich.table import Table

T = TypeVar("T")
Number = int | float
FIRST_SECONDS = 10
"""After so long the first plain line comes. Work that is done by then is silent."""
MORE_SECONDS = 60
"""Between two plain lines."""

LONG_SECONDS, SHORT_SECONDS = 3600, 600
"""An evaluation that takes longer than the one is told how many images take about the other."""


def print_table(table: "Table") -> None:
    """Print a table as wide as the terminal; in a file or a pipe every column has its place."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 400).print(table)


@runtime_checkable
class Bar(Protocol):
    """What the commands need of a progress bar of Rich, or of plain lines."""

    def __enter__(self) -> "Bar": ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def track(self, sequence: Iterable[T], *, description: str) -> Iterable[T]: ...
    def add_task(self, description: str, *, total: Number | None = None, completed: int = 0) -> "TaskID": ...
    def update(
        self,
        task_id: "TaskID",
        *,
        completed: Number | None = None,
        total: Number | None = None,
        description: str | None = None,
    ) -> None: ...
    def advance(self, task_id: "TaskID", advance: Number = 1) -> None: ...
    def remove_task(self, task_id: "TaskID") -> None: ...


class EvaluationBar:
    """Shows the progress of an evaluation. The time left is estimated from the work of this call alone.

    Where the rest takes longer than an hour, a line says so once, and how many images take some minutes.
    """

    def __init__(self, bar: Bar, quiet: bool = True) -> None:
        self.bar, self.quiet = bar, quiet
        self.task: TaskID | None = None
        self.before, self.start = 0.0, monotonic()

    def __call__(self, done: float, total: int, failed: int) -> None:
        if self.task is None:
            self.task = self.bar.add_task("evaluating", total=total, completed=int(done))
            self.before, self.start = done, monotonic()
        spent, by_now = monotonic() - self.start, done - self.before
        if not self.quiet and by_now > 0 and spent > FIRST_SECONDS:
            self.quiet = True
            if (left := (total - done) * spent / by_now) > LONG_SECONDS:
                few = max(4, int(SHORT_SECONDS * by_now / spent))
                soon = f"--limit {few} takes about {_in_words(few * spent / by_now)}, spread evenly over them"
                say(f"{total} images take about {_in_words(left)}; {soon}, and a larger limit goes on from there", err=True)
        self.bar.update(self.task, completed=done, description=f"evaluating ({failed} failed)" if failed else "evaluating")


class TrainingBar:
    """Shows the progress of a training, with each term of the loss."""

    def __init__(self, bar: Bar) -> None:
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


def progress_bar(quiet: bool) -> Bar:
    """A bar on stderr with the time left; plain lines where stderr is no terminal; nothing with ``quiet``.

    Both show how many images networks have seen, so that long work on one picture shows that it goes on.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal and not quiet:
        return Lines()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        _passes_column(),
        console=console,
        speed_estimate_period=600,
        transient=True,
        disable=quiet,
    )


def _passes_column() -> "ProgressColumn":
    """The passes through networks; the bar asks for it ten times a second, whatever the command is doing."""
    from rich.progress import ProgressColumn, Task
    from rich.text import Text

    class Column(ProgressColumn):
        start = PASSES.images

        def render(self, task: Task) -> Text:
            return Text(_passes(PASSES.images - self.start))

    return Column()


def _passes(number: int) -> str:
    return f"{number:,} passes" if number else ""


@dataclass
class Stage:
    """What is being done: how much of it is done, of how much, and how much was done before this command."""

    description: str
    total: Number | None
    done: Number
    before: Number
    start: Number


class Lines:
    """Plain lines on stderr, which a thread writes: they also come while one picture takes an hour."""

    def __init__(self, first: Number = FIRST_SECONDS, more: Number = MORE_SECONDS) -> None:
        self._first, self._more = first, more
        self._stages: dict[int, Stage] = {}
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._speak, daemon=True, name="progress lines")
        self._passes = PASSES.images

    def __enter__(self) -> "Lines":
        self._passes = PASSES.images
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._ends.set()
        self._thread.join()

    def track(self, sequence: Iterable[T], *, description: str) -> Iterator[T]:
        """The items; each counts when the next one is asked for."""
        items = list(sequence)
        task = self.add_task(description, total=len(items))
        for item in items:
            yield item
            self.advance(task)

    def add_task(self, description: str, *, total: Number | None = None, completed: int = 0) -> "TaskID":
        from rich.progress import TaskID

        task = TaskID(len(self._stages))
        self._stages[task] = Stage(description, total, completed, completed, monotonic())
        return task

    def update(
        self,
        task_id: "TaskID",
        *,
        completed: Number | None = None,
        total: Number | None = None,
        description: str | None = None,
    ) -> None:
        stage = self._stages[task_id]
        stage.done = stage.done if completed is None else completed
        stage.total = stage.total if total is None else total
        stage.description = description or stage.description

    def advance(self, task_id: "TaskID", advance: Number = 1) -> None:
        self._stages[task_id].done += advance

    def remove_task(self, task_id: "TaskID") -> None:
        """Nothing more is said of it."""
        self._stages[task_id].total = 0

    def _speak(self) -> None:
        wait = self._first
        while not self._ends.wait(wait):
            running = [stage for stage in list(self._stages.values()) if stage.total != 0]
            if running:
                passes = PASSES.images - self._passes
                say(", ".join(filter(None, (how_far(running[-1], monotonic()), _passes(passes)))), err=True)
                wait = self._more


def how_far(stage: Stage, now: Number) -> str:
    """As in "evaluating: 12 of 200, 6 %, about 3 min left". The time left is known when something is done."""
    if stage.total is None:
        return f"{stage.description}: {_in_words(now - stage.start)} so far"
    said = f"{stage.description}: {stage.done:.4g} of {stage.total:g}, {100 * stage.done / stage.total:.0f} %"
    if (by_now := stage.done - stage.before) <= 0:
        return f"{said}, {_in_words(now - stage.start)} so far"
    return f"{said}, about {_in_words((stage.total - stage.done) * (now - stage.start) / by_now)} left"


def _in_words(seconds: Number) -> str:
    """A time as people say it: "40 s", "3 min", "2.5 h", "3 days"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
