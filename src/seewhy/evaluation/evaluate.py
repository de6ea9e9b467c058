"""Explainers x metrics x images -> rows: each map is made once and read by every metric."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from os import cpu_count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import polars as pl
import torch
from torch import Tensor

from seewhy.classifier.classifier import Classifier, must_be_classifier
from seewhy.classifier.turns import on_cpu_by_default
from seewhy.data import Dataset
from seewhy.errors import SeewhyError
from seewhy.evaluation.companions import CANDIDATES
from seewhy.evaluation.failures import Failure
from seewhy.evaluation.job import Job
from seewhy.evaluation.manifest import is_folder_name
from seewhy.evaluation.measure import Progress
from seewhy.evaluation.plan import Plan, growing_order
from seewhy.evaluation.question import Question
from seewhy.explainers import Explainer
from seewhy.explainers import explainer as build_explainer
from seewhy.explainers.base import must_be_explainer
from seewhy.explainers.learned.folder import folder_labels, is_folder
from seewhy.masking.surrogate import load_surrogate
from seewhy.masking.values import Value
from seewhy.metrics import Metric
from seewhy.metrics.base import metric, reduced
from seewhy.options import LARGEST, repeated
from seewhy.registry import did_you_mean
from seewhy.text import csv_of

if TYPE_CHECKING:
    from lightning.fabric import Fabric

T = TypeVar("T")
MAX_THREADS = max(64, 4 * (cpu_count() or 1))
"""More take no work from each other, and each takes memory."""


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
        column = pl.col("metric")  # a metric with several numbers for an image has a line for each, in a list here
        mine = self.frame.filter(explainer=explainer).filter((column == name) | column.str.starts_with(f"{name}["))
        return mine.group_by("index", "image_id", "explained", "scored", maintain_order=True).agg("value")

    def scores(self, explainer: str, name: str) -> Tensor:
        """(n,) or (n, m) numbers of one explainer and metric, in the order of the images."""
        found = torch.tensor(self.of(explainer, name)["value"].to_list(), dtype=torch.float64)
        return found if found.ndim > 1 and found.shape[1] > 1 else found.reshape(-1)

    def image_ids(self, explainer: str, name: str) -> list[str]:
        """Whose each row of ``scores`` is; with several labels an image has several."""
        return self.of(explainer, name)["image_id"].to_list()

    def table(self) -> dict[str, dict[str, float]]:
        """The figure of each explainer and metric: the mean over images, or what the metric itself says."""
        return {
            explainer: {
                name: reduced(measure, scores)
                for name, measure in self.metrics.items()
                if len(scores := self.scores(explainer, name))
            }
            for explainer in self.frame["explainer"].unique(maintain_order=True)
        }

    def csv(self) -> str:
        """All rows as csv, with a header; a text that a spreadsheet would compute begins with an apostrophe."""
        return csv_of(self.frame.select(Row._fields))

    def _repr_html_(self) -> str:
        """The table in a notebook: each figure with its 95 % interval, and what failed."""
        from seewhy.evaluation.scoreboard import as_html  # it imports this module

        return as_html(self)


@on_cpu_by_default()
def evaluate(
    classifier: Classifier,
    explainers: Mapping[str, Explainer | str] | Sequence[str],
    metrics: Mapping[str, Metric] | Sequence[str],
    dataset: Dataset,
    *,
    out: str | Path | None = None,
    target: str = "predicted",
    scored: str = "explained",
    only: str = "all",
    map_classes: Sequence[int | str] = (),
    surrogate: Value | str | Path | None = None,
    limit: int | None = None,
    limits: Mapping[str, int] | None = None,
    batch_size: int = 32,
    seed: int = 0,
    keep_maps: bool = False,
    pictures: int = 200,
    threads: int = 1,
    fabric: "Fabric | None" = None,
    shard: tuple[int, int] | None = None,
    join: bool = False,
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
        explainers: by name, or a mapping from the name that the rows get. The name of a learned explainer's folder may be
            given too; its rows get the last part of it.
        metrics: by name, or a mapping from the name that the rows get.
        dataset: ``seewhy.DATASETS`` has those that are built in; any object like ``data.Dataset`` will do.
        out: folder for manifest.json, scores.parquet, curves.parquet, images.parquet and pictures; see ``seewhy.Run``.
        target: the class that is explained: "label" (each that is present, of a multi-label dataset), "predicted",
            "second" or "least" likely, "present" (all that are present: their maps, each min-max, merged by the maximum),
            or a class by index or name.
        scored: the class whose score the metrics read: "explained", or one of the above; of several labels the likeliest.
        only: "all" images, or those that are classified "correct" or "wrong".
        map_classes: for metrics that compare the maps of several classes: which; every one of up to 20 by default.
        surrogate: the value function of every metric that removes players, in the place of the metric's own: the folder of
            ``seewhy fit surrogate``, what else ``seewhy.load_surrogate`` takes, or any value function. The metrics' options
            baseline and removal then have no effect. Players that are pixels become the players of the surrogate.
        limit: so many images, spread evenly over the dataset. The images of a smaller limit are among those of a larger
            one: the same call with a larger limit and the same ``out`` adds images, and ends with the numbers of a fresh
            run. A limit as large as the dataset takes all. A folder does not shrink.
        limits: for slow metrics or explainers, by name, or both, "rise/max_sensitivity": only so many of these images,
            spread evenly too. A smaller limit takes some of the images of a larger one.
        batch_size: images, and forward passes, at a time.
        seed: of every random draw of the metrics.
        keep_maps: write the maps to the run folder, where another evaluation reads them instead of making them again.
        pictures: of so many images the run folder gets the picture and small maps, for the report.
        threads: of PyTorch on the CPU. More are faster and round otherwise, which changes numbers where pixels are close to
            tied; several processes are faster still, and change nothing.
        fabric: Lightning Fabric, launched: the batches are shared out over its processes.
        shard: (i, n), with i from 1: measure the i-th of n shares and write no tables. Shares need no communication; each
            may run on a machine of its own. What is returned has the numbers of the share.
        join: measure nothing, and write the tables of what the shards have measured.
        details: more for the manifest, such as the command.
        progress: is called with images done, images in all, failures.

    Raises:
        SeewhyError: a metric needs what the dataset does not have; labels that the classifier does not know; every image
            fails; ``out`` belongs to another question or version, or cannot be written; no image is left; a
            shard is missing.
    """
    must_be_classifier(classifier)
    if not all(hasattr(dataset, name) for name in ("classes", "ids", "batch", "__len__")):
        what = repr(dataset) if isinstance(dataset, str | Path) else type(dataset).__name__
        raise SeewhyError(f'{what} is no dataset: give seewhy.dataset("folder", classifier), or an object like data.Dataset')
    methods = _by_name("explainer", explainers, lambda name: build_explainer(name, classifier), _labels(explainers))
    measures = _by_name("metric", metrics, metric)
    _check_names(methods, measures, limits or {})
    if only not in ("all", "correct", "wrong"):
        raise SeewhyError(f"only is all, correct or wrong; not {only!r}")
    _check_numbers({"limit": limit, "batch_size": batch_size, "threads": threads, **(limits or {})}, limits or {})
    _check_numbers({"seed": seed, "pictures": pictures}, least=0)
    _check_shards(shard, join, out)
    wanted = [map_classes] if isinstance(map_classes, str) else map_classes
    compared = tuple(classifier.class_index(c) for c in wanted) or None
    ordered = limit is not None or getattr(dataset, "nested", False)
    images = growing_order(dataset)[:limit] if ordered else list(range(len(dataset)))
    value = load_surrogate(surrogate, classifier) if isinstance(surrogate, str | Path) else surrogate
    if value is not None and not isinstance(value, Value):
        raise SeewhyError(f"surrogate takes a folder or a value function, not {type(value).__name__}")
    plan = Plan(dataset, images, batch_size, list(methods), list(measures), limits or {}, ordered)
    candidates = tuple(sorted(i for i, rank in plan.ranks.items() if rank < CANDIDATES))
    question = Question(classifier, dataset, methods, target, scored, only, compared, batch_size, seed, value, candidates)
    job = Job(question, measures, plan, pictures, keep_maps, threads, progress, fabric, shard)
    found = job.in_memory() if out is None else job.in_folder(Path(out), join, details or {})
    if not len(found.scores) and shard is None:
        if found.failures:
            first = found.failures[0]
            failed = f"{len(found.failures)} failures, the first of {first.image_id}: {first.error}"
            raise SeewhyError(f"nothing could be evaluated: {failed}")
        raise SeewhyError(f"nothing to evaluate: none of {len(images)} images is classified {only}, or none has a label")
    return Evaluation(measures, found.scores, found.curves, found.images, found.failures)


def _labels(explainers: Mapping[str, Explainer | str] | Sequence[str]) -> dict[str, str]:
    """A label for each folder of a learned explainer among the names."""
    names = [] if isinstance(explainers, Mapping | str) else [name for name in explainers if isinstance(name, str)]
    folders = [name for name in names if is_folder(name)]
    return folder_labels(folders, [name for name in names if name not in folders])


def _by_name(
    kind: str,
    given: Mapping[str, T | str] | Sequence[str],
    build: Callable[[str], T],
    labels: Mapping[str, str] | None = None,
) -> Mapping[str, T]:
    if isinstance(given, Mapping):
        made = {label: build(method) if isinstance(method, str) else method for label, method in given.items()}
        for method in made.values() if kind == "explainer" else ():
            must_be_explainer(method)
        return made
    if isinstance(given, str) or not all(isinstance(name, str) for name in given):
        raise SeewhyError(f"{kind}s are a list of names, or a mapping from the names that rows get to {kind}s with options")
    for name in given:
        if ":" in name and name not in (labels or {}):
            raise SeewhyError(f"{name!r} has options: give a mapping, from that name to the {kind} that you made with them")
    return {(labels or {}).get(name, name): build(name) for name in given}


def _check_names(methods: Mapping[str, Explainer], metrics: Mapping[str, Metric], limits: Mapping[str, int]) -> None:
    """SeewhyError for a name that cannot stand in a run folder, and for a limit of nothing that is asked for."""
    if not methods or not metrics:
        raise SeewhyError("give at least one explainer and one metric")
    for name in methods:  # it becomes the name of files
        if not is_folder_name(name):
            raise SeewhyError(f"an explainer cannot be called {name!r}: its maps could not be written")
    for name in metrics:
        if name.endswith("]") and name.rpartition("[")[0] in metrics:
            raise SeewhyError(f"a metric cannot be called {name!r} beside one with numbers")
    for name in limits:
        if name not in {*methods, *metrics, *(f"{e}/{m}" for e in methods for m in metrics)}:
            hint = did_you_mean(name, [*methods, *metrics])
            raise SeewhyError(
                f"a limit for {name}, which is no explainer, metric or EXPLAINER/METRIC of this evaluation.{hint}"
            )


def _check_numbers(numbers: Mapping[str, int | None], limits: Collection[str] = (), least: int = 1) -> None:
    """SeewhyError for a number below ``least``, or 0 for a limit of one explainer and metric, and for one beyond reason."""
    for what, number in numbers.items():
        low, high = 0 if "/" in what else least, MAX_THREADS if what == "threads" and what not in limits else LARGEST
        if number is not None and not (isinstance(number, int) and low <= number <= high):
            most = "" if isinstance(number, int) and number < low else f", and at most {high}"
            raise SeewhyError(
                f"{'limit of ' if what in limits else ''}{what} is {repeated(number)}; give at least {low}{most}"
            )


def _check_shards(shard: tuple[int, int] | None, join: bool, out: str | Path | None) -> None:
    if shard is not None and not 1 <= shard[0] <= shard[1]:
        raise SeewhyError(f"shard {shard[0]}/{shard[1]}: give I/N with I from 1 to N")
    if shard is not None and join:
        raise SeewhyError("a shard measures and join writes the tables: give one of them")
    if (shard is not None or join) and out is None:
        raise SeewhyError("shards meet in a run folder: give out")
