"""``seewhy evaluate``: explainers and metrics on a dataset, a table and a run folder out."""

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from seewhy.app.choose import choose, choose_metrics
from seewhy.app.cli.arguments import (
    ClassNames,
    Device,
    Explainers,
    ModelName,
    ModelOptions,
    Quiet,
    RemovalName,
    Templates,
    Texts,
    WeightsFile,
    with_removal,
)
from seewhy.app.cli.network import OF_DATASET, load_network, texts_of_dataset
from seewhy.app.cli.progress import EvaluationBar, print_table, progress_bar
from seewhy.app.cli.stop import going_on_in
from seewhy.app.cli.terminal import say
from seewhy.app.cli.workers import one_voice, shared_out
from seewhy.errors import SeewhyError
from seewhy.options import LARGEST, pairs, whole_number


def evaluate(
    model: ModelName,
    data: Annotated[str, typer.Option(help="shapes, folder:PATH or voc:PATH, or the path of a folder or csv file.")],
    metric: Annotated[
        list[str], typer.Option(help="NAME or NAME:key=value,...; may be repeated; all for every one that the data allows.")
    ],
    weights: WeightsFile = None,
    classes: ClassNames = None,
    model_option: ModelOptions = None,
    texts: Texts = None,
    template: Templates = None,
    explainer: Explainers = None,
    option: Annotated[list[str] | None, typer.Option(help="key=value: an option of the methods that have it.")] = None,
    metric_option: Annotated[
        list[str] | None, typer.Option("--metric-option", help="key=value: an option of the metrics that have it.")
    ] = None,
    removal: RemovalName = None,
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
    surrogate: Annotated[
        str | None,
        typer.Option(
            help="FOLDER of seewhy fit surrogate: what metrics ask when parts are removed, in place of the network."
        ),
    ] = None,
    limit: Annotated[
        list[str] | None, typer.Option(help="N images; NAME=N or EXPLAINER/METRIC=N: for slow ones only so many of them.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST, help="Of every random draw of the metrics.")] = 0,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, max=LARGEST, help="Images and forward passes at a time.")
    ] = 32,
    out: Annotated[Path | None, typer.Option(help="Run folder; the same command goes on in it, or adds to it.")] = None,
    keep_maps: Annotated[
        bool, typer.Option("--keep-maps", help="Keep all maps in the run folder, for other metrics.")
    ] = False,
    pictures: Annotated[
        int, typer.Option(min=0, max=LARGEST, help="Images whose pictures the run folder gets, for the report.")
    ] = 200,
    devices: Annotated[int, typer.Option(min=1, help="Processes, each with a device of its own; the results are one.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Of each process on a CPU; more change numbers by rounding.")] = 1,
    nodes: Annotated[int, typer.Option(min=1, help="Machines; start the command on each, as Lightning Fabric says.")] = 1,
    shard: Annotated[
        str | None,
        typer.Option(help="I/N: measure the I-th of N shares, which need no communication; write no tables."),
    ] = None,
    join: Annotated[bool, typer.Option("--join", help="Measure nothing: write the tables of all shares.")] = False,
    device: Device = "cpu",
    quiet: Quiet = False,
) -> None:
    """Measure explainers on a dataset: prints a table, and with --out writes a run folder for seewhy report."""
    from seewhy.classifier.identity import about_classifier, in_lines
    from seewhy.classifier.outputs import OutputsWarning
    from seewhy.data.named import dataset as named_dataset
    from seewhy.evaluation import scoreboard
    from seewhy.evaluation.evaluate import evaluate as run
    from seewhy.evaluation.question import offers
    from seewhy.explainers.describe import layer_of
    from seewhy.masking.surrogate import load_surrogate

    warnings.simplefilter("ignore", OutputsWarning)  # a line says it
    images, limits = _limits(limit or [])
    share = _shard(shard)
    fabric = shared_out(devices, nodes, device, out)
    first = fabric is None or fabric.global_rank == 0
    with going_on_in(out), one_voice(fabric, out):
        if texts == [OF_DATASET]:
            texts = texts_of_dataset(data, pairs(data_option or []))
        place = str(fabric.device) if fabric else device
        classifier = load_network(model, weights, classes, model_option, place, texts=texts, template=template)
        dataset = named_dataset(data, classifier, None, pairs(data_option or []))
        if getattr(dataset, "nested", False) and images is not None:
            dataset = named_dataset(data, classifier, images, pairs(data_option or []))
        count = min(len(dataset), images or len(dataset))
        methods, left_out = choose(explainer or ["grad_cam"], classifier, pairs(option or []))
        given = offers(dataset, classifier, bool(map_class), target)
        value = None if surrogate is None else load_surrogate(surrogate, classifier)
        metrics, more = choose_metrics(metric, with_removal(pairs(metric_option or []), removal), given, classifier, value)
        for reason in (*left_out, *more) if first else ():
            say(f"left out: {reason}", err=True)
        if first and devices * nodes > -(-count // batch_size):
            say(f"{devices * nodes} processes, but {count} images are few batches: lower --batch-size", err=True)
        details = {
            **{"command": sys.argv[1:], "model": model, "weights file": str(weights) if weights else None, "data": data},
            **({} if surrogate is None else {"surrogate": surrogate}),
            **{"device": device, "left out": [*left_out, *more]},
        }
        with progress_bar(quiet or not first) as bar:
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
                surrogate=value,
                limit=images,
                limits=limits,
                batch_size=batch_size,
                seed=seed,
                keep_maps=keep_maps,
                pictures=pictures,
                threads=threads,
                fabric=fabric,
                shard=share,
                join=join,
                details=details,
                progress=EvaluationBar(bar, quiet or not first),
            )
    if not first:
        return
    if share:
        if not quiet:
            say(f"{len(result.frame)} numbers of shard {shard} in {out}; the command with --join writes the tables")
        return
    print_table(scoreboard.figures_table(result))
    for line in () if quiet else in_lines(about_classifier(classifier, layer_of(classifier, methods))):
        say(line)
    for line in scoreboard.failed(result):
        say(line, err=True)
    if out and not quiet:
        say(f"{len(result.frame)} numbers in {out}; seewhy report {out} makes a page of them")


def _shard(text: str | None) -> tuple[int, int] | None:
    """``"2/8"``: the second of eight shares."""
    if text is None:
        return None
    i, n = map(whole_number, text.partition("/")[::2])
    if i is None or n is None or not 1 <= i <= n:
        raise SeewhyError(f"--shard takes I/N with I from 1 to N, such as 2/8; not {text}")
    return i, n


def _limits(texts: Sequence[str]) -> tuple[int | None, dict[str, int]]:
    """``["200", "r_srg=5"]``: how many images, and how many for the slow ones."""
    numbers: dict[str, int] = {}
    for text in texts:
        name, _, digits = text.rpartition("=")
        number = whole_number(digits)
        if number is None or number < (0 if "/" in name else 1):
            raise SeewhyError(f"--limit takes a number from 1 on, or NAME=NUMBER; not {text}")
        numbers[name] = number
    return numbers.pop("", None), numbers
