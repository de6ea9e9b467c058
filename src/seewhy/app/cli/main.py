"""The command line: options in, the library's own functions called, files and one line a result out."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from seewhy import __version__
from seewhy.app import catalog
from seewhy.app.choose import choose, choose_metrics
from seewhy.app.cli.memory import keep_freed
from seewhy.errors import SeewhyError
from seewhy.options import pairs

if TYPE_CHECKING:
    from lightning.fabric import Fabric

    from seewhy.explainers import Explainer
    from seewhy.explanation.explain import Explanation

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    help="Why did the classifier decide so? Explain any image classifier, and see whether the explanation can be believed.",
)


class Kind(StrEnum):
    """What ``seewhy list`` lists."""

    explainers = "explainers"
    metrics = "metrics"
    models = "models"
    datasets = "datasets"


ModelName = Annotated[
    str, typer.Option("--model", help="timm name, torchvision/NAME, hf/ID, shapes, package.module:factory.")
]
Weights = Annotated[Path | None, typer.Option(help="File of weights: safetensors, or a pickle of tensors.")]
ClassNames = Annotated[str | None, typer.Option("--classes", help='"imagenet", or a text or csv file of class names.')]
ModelOptions = Annotated[
    list[str] | None,
    typer.Option("--model-option", help="key=value: mean, std, size, ..., or one of the architecture."),
]
Device = Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, mps.")]
Explainers = Annotated[
    list[str] | None, typer.Option(help="NAME or NAME:key=value,...; may be repeated; all for every one.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar and no lines; errors still show.")]


@app.command()
def explain(
    images: Annotated[list[Path], typer.Argument(help="Pictures, or folders of pictures.")],
    model: ModelName,
    weights: Weights = None,
    classes: ClassNames = None,
    model_option: ModelOptions = None,
    explainer: Explainers = None,
    option: Annotated[list[str] | None, typer.Option(help="key=value: an option of the methods that have it.")] = None,
    target: Annotated[
        str, typer.Option(help="Class: index, name, several with commas, top:K, all, predicted.")
    ] = "predicted",
    out: Annotated[Path, typer.Option(help="Folder for the pictures, maps and manifest.")] = Path("explanations"),
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Explain pictures: writes NAME.EXPLAINER.CLASS.png and .npy, a sheet of several, and manifest.json."""
    from seewhy.classifier.load import load, on_device, parse_options
    from seewhy.explainers.describe import about_explainers
    from seewhy.explanation.files import explain_file, find_pictures, write
    from seewhy.explanation.resume import resumable

    pictures = find_pictures(images)
    classifier = on_device(load(model, weights=weights, classes=classes, options=parse_options(model_option or [])), device)
    methods, left_out = choose(explainer or ["grad_cam"], classifier, pairs(option or []))
    for reason in left_out:
        typer.echo(f"left out: {reason}", err=True)
    details = {
        **{"command": sys.argv[1:], "model": model, "weights": str(weights) if weights else None, "target": target},
        "explainers": about_explainers(methods),
    }

    def explained(kept: "Mapping[str, Explainer]") -> "Iterator[Sequence[Explanation]]":
        with _progress(quiet) as progress:
            for path in progress.track(pictures, description="explaining"):
                done = explain_file(path, classifier, kept, target)
                if not quiet:
                    for e in done:
                        typer.echo(f"{path}: {e.caption}, {e.explainer}")
                yield done

    try:
        with resumable(out, classifier, methods) as kept:
            files = write(out, explained(kept), details)
    except KeyboardInterrupt:
        typer.echo(f"seewhy: stopped; the same command goes on in {out}", err=True)
        raise typer.Exit(130) from None
    if not quiet:
        typer.echo(f"{len(files)} files in {out}")


@app.command()
def evaluate(
    model: ModelName,
    data: Annotated[str, typer.Option(help="shapes, folder:PATH or voc:PATH, or the path of a folder or csv file.")],
    metric: Annotated[
        list[str], typer.Option(help="NAME or NAME:key=value,...; may be repeated; all for every one that the data allows.")
    ],
    weights: Weights = None,
    classes: ClassNames = None,
    model_option: ModelOptions = None,
    explainer: Explainers = None,
    option: Annotated[list[str] | None, typer.Option(help="key=value: an option of the methods that have it.")] = None,
    metric_option: Annotated[
        list[str] | None, typer.Option("--metric-option", help="key=value: an option of the metrics that have it.")
    ] = None,
    data_option: Annotated[
        list[str] | None, typer.Option("--data-option", help="key=value: an option of the dataset, such as seed=1.")
    ] = None,
    target: Annotated[
        str, typer.Option(help="Class explained: label, predicted, second, least, present, or a class.")
    ] = "predicted",
    scored: Annotated[
        str, typer.Option(help="Class whose score is read: explained, label, predicted, second, least, or a class.")
    ] = "explained",
    only: Annotated[str, typer.Option(help="Images: all, or those that are classified correct or wrong.")] = "all",
    map_class: Annotated[
        list[str] | None, typer.Option("--map-class", help="Class whose maps class_masks compares; may be repeated.")
    ] = None,
    limit: Annotated[
        list[str] | None, typer.Option(help="N images; NAME=N or EXPLAINER/METRIC=N: for slow ones only so many of them.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of every random draw of the metrics.")] = 0,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Images and forward passes at a time.")] = 32,
    out: Annotated[Path | None, typer.Option(help="Run folder; the same command goes on in it, or adds to it.")] = None,
    keep_maps: Annotated[
        bool, typer.Option("--keep-maps", help="Keep all maps in the run folder, for other metrics.")
    ] = False,
    pictures: Annotated[int, typer.Option(min=0, help="Images whose pictures the run folder gets, for the report.")] = 200,
    devices: Annotated[int, typer.Option(min=1, help="Processes, each with a device of its own; the results are one.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Of each process on a CPU; more change numbers by rounding.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Machines; start the command on each, as Lightning Fabric says.")] = 1,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Measure explainers on a dataset: prints a table, and with --out writes a run folder for seewhy report."""
    from seewhy.classifier.load import load, on_device, parse_options
    from seewhy.data.named import dataset as named_dataset
    from seewhy.evaluation import scoreboard
    from seewhy.evaluation.devices import processes
    from seewhy.evaluation.evaluate import evaluate as run
    from seewhy.evaluation.offers import offers

    images, limits = _limits(limit or [])
    fabric = processes(devices, nodes, device, out)
    first = fabric is None or fabric.global_rank == 0
    with _one_voice(fabric, out):
        classifier = on_device(
            load(model, weights=weights, classes=classes, options=parse_options(model_option or [])),
            str(fabric.device) if fabric else device,
        )
        dataset = named_dataset(data, classifier, images, pairs(data_option or []))
        methods, left_out = choose(explainer or ["grad_cam"], classifier, pairs(option or []))
        given = offers(dataset, classifier, bool(map_class), target)
        metrics, more = choose_metrics(metric, pairs(metric_option or []), given, classifier)
        for reason in (*left_out, *more) if first else ():
            typer.echo(f"left out: {reason}", err=True)
        if first and devices * nodes > -(-len(dataset) // batch_size):
            typer.echo(
                f"{devices * nodes} processes, but {len(dataset)} images are few batches: lower --batch-size", err=True
            )
        details = {
            **{"command": sys.argv[1:], "model": model, "weights file": str(weights) if weights else None, "data": data},
            **{"device": device, "left out": [*left_out, *more]},
        }
        with _progress(quiet or not first) as bar:
            result = run(
                classifier,
                methods,
                metrics,
                dataset,
                out=out,
                target=target,
                scored=scored,
                only=only,
                map_classes=map_class or (),
                limit=images,
                limits=limits,
                batch_size=batch_size,
                seed=seed,
                keep_maps=keep_maps,
                pictures=pictures,
                threads=threads,
                fabric=fabric,
                details=details,
                progress=_Bar(bar),
            )
    if not first:
        return
    _print(scoreboard.table(result))
    for line in scoreboard.failed(result):
        typer.echo(line, err=True)
    if out and not quiet:
        typer.echo(f"{len(result.frame)} numbers in {out}; seewhy report {out} makes a page of them")


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders of seewhy evaluate --out.")],
    out: Annotated[
        Path | None, typer.Option(help="The page, FILE.html; report.html in the first run folder by default.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Make a page of runs, and its tables as Markdown, LaTeX and csv."""
    from seewhy.report import write_report

    for file in write_report(runs, out):
        if not quiet:
            typer.echo(file)


@app.command("list")
def list_(
    kind: Annotated[Kind | None, typer.Argument(help="What to list; everything by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List explainers, metrics, models and datasets."""
    entries = {k.value: catalog.entries(k.value) for k in ([kind] if kind else Kind)}
    if as_json:
        typer.echo(json.dumps(entries, indent=2))
        return
    for name, rows in entries.items():
        _print(catalog.table(name, rows))


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for the picture and the pages.")] = Path("out/demo"),
    quiet: Quiet = False,
) -> None:
    """Everything on the built-in data, without a download: one picture, one page, and a report; no network is needed."""
    from seewhy.app.demo import page

    with _progress(quiet) as progress:
        files = [*page.run(out, progress), *page.measure(out, progress)]
    if not quiet:
        for path in files:
            typer.echo(path)


@app.callback(invoke_without_command=True)
def version(
    show: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if show:
        typer.echo(f"seewhy {__version__}")
        raise typer.Exit


def _print(table: Table) -> None:
    """As wide as the terminal; a file or a pipe is wide enough for every column."""
    Console(width=None if sys.stdout.isatty() else 400).print(table)


@contextmanager
def _one_voice(fabric: "Fabric | None", out: Path | None) -> Iterator[None]:
    """Of several processes that stop for the same reason one says it, the first of each machine."""
    from seewhy.evaluation.devices import leave_group
    from seewhy.evaluation.evaluate import ShareError

    first = fabric is None or fabric.local_rank == 0
    try:
        yield
    except KeyboardInterrupt:
        if first:
            typer.echo(f"seewhy: stopped{f'; the same command goes on in {out}' if out else ''}", err=True)
        raise typer.Exit(130) from None
    except RuntimeError as error:
        if fabric is None or ("gloo" not in str(error).lower() and "connection" not in str(error).lower()):
            raise
        raise SeewhyError(f"another process of this evaluation ended; the same command goes on in {out}") from None
    except SeewhyError as error:
        leave_group()
        if first or isinstance(error, ShareError):
            raise
        raise typer.Exit(2) from None
    leave_group()


def _limits(texts: Sequence[str]) -> tuple[int | None, dict[str, int]]:
    """``["200", "r_srg=5"]``: how many images, and how many for the slow ones."""
    numbers = {name: number for name, _, number in (text.rpartition("=") for text in texts)}
    for name, number in numbers.items():
        if not number.isdecimal() or int(number) < (0 if "/" in name else 1):
            raise SeewhyError(f"--limit takes a number from 1 on, or NAME=NUMBER; not {name}{'=' * bool(name)}{number}")
    images = numbers.pop("", None)
    return None if images is None else int(images), {name: int(number) for name, number in numbers.items()}


class _Bar:
    """Shows how far an evaluation is; what was done before it began does not count for the time left."""

    def __init__(self, bar: Progress) -> None:
        self.bar = bar
        self.task: TaskID | None = None

    def __call__(self, done: float, total: int, failed: int) -> None:
        if self.task is None:
            self.task = self.bar.add_task("evaluating", total=total, completed=int(done))
        self.bar.update(self.task, completed=done, description=f"evaluating ({failed} failed)" if failed else "evaluating")


def _progress(quiet: bool) -> Progress:
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


def main() -> None:
    """Run the command; a mistake of the user's is one line on stderr and status 2."""
    keep_freed()
    try:
        app(prog_name="seewhy")
    except SeewhyError as error:
        typer.echo(f"seewhy: {' '.join(str(error).split())}", err=True)
        sys.exit(2)
