"""Explainers x metrics x images -> rows: each map is made once and read by every metric."""

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import polars as pl
import torch
from torch import Tensor

from seewhy.classifier.classifier import Classifier, must_be_classifier
from seewhy.data import Dataset
from seewhy.describe import environment
from seewhy.errors import SeewhyError
from seewhy.evaluation.identity import about_metrics, about_question, files_but_for
from seewhy.evaluation.plan import Progress, Work
from seewhy.evaluation.question import Failure, Question
from seewhy.evaluation.run import open_run
from seewhy.evaluation.store import RunFolder
from seewhy.evaluation.tables import Record, Tables, tables, told
from seewhy.explainers import Explainer
from seewhy.explainers import explainer as build_explainer
from seewhy.explainers.describe import about_explainers
from seewhy.metrics import Metric
from seewhy.metrics.base import metric, reduced
from seewhy.registry import did_you_mean

if TYPE_CHECKING:
    from lightning.fabric import Fabric

T = TypeVar("T")


class Row(NamedTuple):
    """One number. A metric with several for an image has a row for each, called ``metric[0]``, ``metric[1]``, ..."""

    image_id: str
    explainer: str
    explained: int
    scored: int
    metric: str
    value: float


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What an evaluation found.

    metrics    by the name of their rows
    frame      a line for each number: index, image_id, explainer, explained, scored, metric, value
    curves     of the metrics that have one: index, image_id, explainer, explained, metric, values
    images     index, image_id, predicted, probability, labels, correct
    failures   images, or single numbers, that could not be had
    """

    metrics: Mapping[str, Metric]
    frame: pl.DataFrame
    curves: pl.DataFrame
    images: pl.DataFrame
    failures: list[Failure]

    @property
    def rows(self) -> list[Row]:
        """All numbers."""
        return [Row(*row) for row in self.frame.select(*Row._fields).iter_rows()]

    def of(self, explainer: str, name: str) -> pl.DataFrame:
        """index, image_id, explained, scored and the list of values of one explainer and metric, in the order of images."""
        return self._by_name.get((explainer, name), self._no_lines)

    @cached_property
    def _by_name(self) -> dict[tuple[str, str], pl.DataFrame]:
        """The lines of each explainer and metric; a metric with several numbers for an image has them in a list."""
        whole = {text: text if text in self.metrics else text.rpartition("[")[0] for text in self.frame["metric"].unique()}
        named = self.frame.with_columns(pl.col("metric").replace_strict(whole, return_dtype=pl.String))
        parts = named.partition_by("explainer", "metric", as_dict=True, maintain_order=True)
        who = ["index", "image_id", "explained", "scored"]
        return {
            (str(explainer), str(name)): part.group_by(who, maintain_order=True).agg(pl.col("value"))
            for (explainer, name), part in parts.items()
        }

    @property
    def _no_lines(self) -> pl.DataFrame:
        return self.frame.clear().select(
            "index", "image_id", "explained", "scored", pl.col("value").cast(pl.List(pl.Float64))
        )

    def scores(self, explainer: str, name: str) -> Tensor:
        """(n,) or (n, m) numbers of one explainer and metric, in the order of the images."""
        found = torch.tensor(self.of(explainer, name)["value"].to_list(), dtype=torch.float64)
        several = name not in self._names and found.ndim > 1
        return found if several else found.reshape(-1)

    @cached_property
    def _names(self) -> set[str]:
        return {*self.frame["metric"].unique()}

    def image_ids(self, explainer: str, name: str) -> list[str]:
        """Whose each row of ``scores`` is; with several labels an image has several."""
        return self.of(explainer, name)["image_id"].to_list()

    def table(self) -> dict[str, dict[str, float]]:
        """The figure of each explainer and metric: the mean over images, or what the metric itself says."""
        there = self.frame.select("explainer").unique(maintain_order=True)["explainer"]
        figures: dict[str, dict[str, float]] = {explainer: {} for explainer in there}
        for explainer, row in figures.items():
            for name, measure in self.metrics.items():
                scores = self.scores(explainer, name)
                if len(scores):
                    row[name] = reduced(measure, scores)
        return figures

    def csv(self) -> str:
        """All rows as csv, with a header."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(Row._fields)
        writer.writerows(self.rows)
        return text.getvalue()


def evaluate(
    classifier: Classifier,
    explainers: Mapping[str, Explainer] | Sequence[str],
    metrics: Mapping[str, Metric] | Sequence[str],
    dataset: Dataset,
    *,
    out: str | Path | None = None,
    target: str = "predicted",
    scored: str = "explained",
    only: str = "all",
    map_classes: Sequence[int | str] = (),
    limit: int | None = None,
    limits: Mapping[str, int] | None = None,
    batch_size: int = 32,
    seed: int = 0,
    keep_maps: bool = False,
    pictures: int = 200,
    threads: int = 1,
    fabric: "Fabric | None" = None,
    details: Mapping[str, object] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Score every explainer by every metric on a dataset.

    With ``out`` the numbers go to a run folder as they are made. The same call goes on where it was interrupted, and ends
    with the same numbers; a call with more explainers or metrics adds them. Numbers depend neither on the interruption nor
    on the number of processes; another ``batch_size`` or number of ``threads`` changes them by rounding.

    An image that cannot be read, explained or scored is left out there, and said in ``failures``.

    Args:
        classifier: what decides.
        explainers: by name, or a mapping from the name that the rows get.
        metrics: by name, or a mapping from the name that the rows get.
        dataset: ``seewhy.DATASETS`` has those that are built in; any object like ``data.Dataset`` will do.
        out: folder for manifest.json, scores.parquet, curves.parquet, images.parquet and pictures; see ``seewhy.Run``.
        target: the class that is explained: "label" (each that is present, of a multi-label dataset), "predicted",
            "second" or "least" likely, "present" (all that are present: their maps, each min-max, merged by the maximum),
            or a class by index or name.
        scored: the class whose score the metrics read: "explained", or one of the above; of several labels the likeliest.
        only: "all" images, or those that are classified "correct" or "wrong".
        map_classes: for metrics that compare the maps of several classes: which; every one of up to 20 by default.
        limit: so many images, spread evenly over the dataset.
        limits: for slow metrics or explainers, by name, or both, "rise/max_sensitivity": only so many of these images,
            spread evenly too. A smaller limit takes some of the images of a larger one.
        batch_size: images, and forward passes, at a time.
        seed: of every random draw of the metrics.
        keep_maps: write the maps to the run folder, where another evaluation reads them instead of making them again.
        pictures: of so many images the run folder gets the picture and small maps, for the report.
        threads: of PyTorch on the CPU. More are faster and round otherwise, which changes numbers where pixels are close to
            tied; several processes are faster still, and change nothing.
        fabric: Lightning Fabric, launched: the batches are shared out over its processes.
        details: more for the manifest, such as the command.
        progress: is called with images done, images in all, failures.

    Raises:
        SeewhyError: a metric needs what the dataset does not have; labels that the classifier does not know; every image
            fails; ``out`` belongs to another question, version or process, or cannot be written; no image is left.
    """
    must_be_classifier(classifier)
    if not isinstance(dataset, Dataset):
        what = repr(dataset) if isinstance(dataset, str | Path) else type(dataset).__name__
        raise SeewhyError(f'{what} is no dataset: give seewhy.dataset("folder", classifier), or an object like data.Dataset')
    methods = _by_name("explainer", explainers, lambda name: build_explainer(name, classifier))
    measures = _by_name("metric", metrics, metric)
    if not methods or not measures:
        raise SeewhyError("give at least one explainer and one metric")
    if only not in ("all", "correct", "wrong"):
        raise SeewhyError(f"only is all, correct or wrong; not {only!r}")
    for what, number in {"limit": limit, "batch_size": batch_size, "threads": threads, **(limits or {})}.items():
        if number is not None and number < (0 if "/" in what else 1):
            raise SeewhyError(f"{'limit of ' if what in (limits or {}) else ''}{what} is {number}; give at least 1")
    for name in methods:  # each has a folder of its own
        if name in ("", ".", "..") or any(letter in "/\\" or not letter.isprintable() for letter in name):
            raise SeewhyError(f"an explainer cannot be called {name!r}: its maps could not be written")
    for name in measures:
        if name.endswith("]") and name.rpartition("[")[0] in measures:
            raise SeewhyError(f"a metric cannot be called {name!r} beside one with numbers")
    for name in limits or {}:
        if name not in {*methods, *measures, *(f"{e}/{m}" for e in methods for m in measures)}:
            hint = did_you_mean(name, [*methods, *measures])
            raise SeewhyError(
                f"a limit for {name}, which is no explainer, metric or EXPLAINER/METRIC of this evaluation.{hint}"
            )
    study = tuple(classifier.class_index(c) for c in map_classes) or None
    question = Question(classifier, dataset, methods, target, scored, only, study, batch_size, seed)
    n = len(dataset)
    images = [i * n // limit for i in range(limit)] if limit and limit < n else list(range(n))
    work = Work(question, measures, images, limits or {}, pictures if out else 0, keep_maps, threads, progress)
    rank, world = (fabric.global_rank, fabric.world_size) if fabric else (0, 1)
    if out is None:
        records: list[Record] = []
        work.run(records.append, None, rank, world)
        found = tables(records, list(methods), list(measures), None)
    else:
        found = _into_folder(out, work, fabric, rank, world, details or {})
    if not len(found.scores):
        if found.failures:
            first = found.failures[0]
            told = f"{len(found.failures)} failures, the first of {first.image_id}: {first.error}"
            raise SeewhyError(f"nothing could be evaluated: {told}")
        raise SeewhyError(f"nothing to evaluate: none of {len(images)} images is classified {only}, or none has a label")
    return Evaluation(measures, found.scores, found.curves, found.images, found.failures)


About = tuple[dict[str, object], dict[str, dict[str, object]], dict[str, dict[str, object]]]


class ShareError(SeewhyError):
    """What one process of several met in its own share: the first does not know of it."""


def _by_name(kind: str, given: Mapping[str, T] | Sequence[str], build: Callable[[str], T]) -> Mapping[str, T]:
    if isinstance(given, Mapping):
        return given
    if isinstance(given, str) or not all(isinstance(name, str) for name in given):
        raise SeewhyError(f"{kind}s are a list of names, or a mapping from the names that rows get to {kind}s with options")
    for name in given:
        if ":" in name:
            raise SeewhyError(f"{name!r} has options: give a mapping, from that name to the {kind} that you made with them")
    return {name: build(name) for name in given}


def _opened(out: str | Path, about: About, fabric: "Fabric | None", rank: int, dataset: Dataset) -> RunFolder:
    """The first process opens the folder before the others; if it cannot, all stop with what it says."""
    folder, error, but_for = None, "", partial(files_but_for, dataset)
    try:
        folder = RunFolder(out, *about, files_but_for=but_for) if rank == 0 else None
    except SeewhyError as mistake:
        error = str(mistake)
    if fabric:
        error = fabric.broadcast(error)
    if error:
        raise SeewhyError(error)
    return folder or RunFolder(out, *about, rank=rank, files_but_for=but_for)


def _into_folder(
    out: str | Path, work: Work, fabric: "Fabric | None", rank: int, world: int, details: Mapping[str, object]
) -> Tables:
    """Every process does its share; the first opens the folder before the others and closes it after them."""
    start = time()
    about = (
        about_question(work.question, work.images, work.threads),
        about_explainers(work.question.methods, work.limits),
        about_metrics(work.metrics, work.limits),
    )
    folder = _opened(out, about, fabric, rank, work.question.dataset)
    with folder:
        try:
            work.run(folder.append, folder, rank, world)
        except SeewhyError as error:
            if rank:
                raise ShareError(f"process {rank}: {error}") from None
            raise
        if fabric:
            fabric.barrier()
        if rank == 0:
            known = {
                "classes": list(work.question.classifier.classes),
                "images": len(work.images),
                **details,
                **environment(),
            }
            found = folder.finish({**known, "wall seconds": time() - start, "processes": world})
    if fabric:
        fabric.barrier()
    if rank:
        run = open_run(out)
        found = Tables(run.scores, run.curves, run.images, *told(run.manifest))
    return found
