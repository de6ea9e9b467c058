"""Explainers x metrics x images -> rows: each map is made once and read by every metric."""

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from hashlib import sha256
from math import isfinite
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, NamedTuple

import polars as pl
import torch
from torch import Tensor

from seewhy.cases import Asked, Facts, Failure, Question
from seewhy.data import Dataset
from seewhy.errors import SeewhyError
from seewhy.explainers import EXPLAINERS, Explainer
from seewhy.explainers import explainer as build_explainer
from seewhy.journal import Record, RunFolder, Tables, tables
from seewhy.measurement import Unit, measured, said
from seewhy.metrics import METRICS, HasCurve, Metric
from seewhy.metrics.base import metric, reduced
from seewhy.model import Classifier
from seewhy.results import environment, open_run

if TYPE_CHECKING:
    from lightning.fabric import Fabric

MANY = 16
"""So many failures of one method, without a success, are no longer the fault of images."""
Progress = Callable[[float, int, int], None]
"""Is told how many images are done, of how many, and how many failed."""


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
        """The lines of one explainer and metric, in the order of the images; with several numbers a line has a list."""
        parts = self.frame.filter((pl.col("explainer") == explainer) & pl.col("metric").is_in(self._parts(name)))
        who = ["index", "image_id", "explained", "scored"]
        return parts.group_by(who, maintain_order=True).agg(pl.col("value"))

    def scores(self, explainer: str, name: str) -> Tensor:
        """(n,) or (n, m) numbers of one explainer and metric, in the order of the images."""
        found = torch.tensor(self.of(explainer, name)["value"].to_list(), dtype=torch.float64)
        return found if self._several(name) else found.reshape(-1)

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

    def _parts(self, name: str) -> list[str]:
        return [
            m for m in self.frame["metric"].unique() if m == name or (m.startswith(f"{name}[") and m not in self.metrics)
        ]

    def _several(self, name: str) -> bool:
        return any(part != name for part in self._parts(name))


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
    methods = explainers if isinstance(explainers, Mapping) else {n: build_explainer(n, classifier) for n in explainers}
    measures = metrics if isinstance(metrics, Mapping) else {n: metric(n) for n in metrics}
    if not methods or not measures:
        raise SeewhyError("give at least one explainer and one metric")
    if only not in ("all", "correct", "wrong"):
        raise SeewhyError(f"only is all, correct or wrong; not {only!r}")
    for what, number in {"limit": limit, "batch_size": batch_size, "threads": threads, **(limits or {})}.items():
        if number is not None and number < (0 if "/" in what else 1):
            raise SeewhyError(f"{'limit of ' if what in (limits or {}) else ''}{what} is {number}; give at least 1")
    for name in limits or {}:
        if name not in {*methods, *measures, *(f"{e}/{m}" for e in methods for m in measures)}:
            raise SeewhyError(f"a limit for {name}, which is no explainer, metric or EXPLAINER/METRIC of this evaluation")
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


def _into_folder(
    out: str | Path, work: "Work", fabric: "Fabric | None", rank: int, world: int, details: Mapping[str, object]
) -> Tables:
    """Every process does its share; the first opens the folder before the others and closes it after them."""
    start = time()
    about = work.asked(), work.about_explainers(), work.about_metrics()
    folder = RunFolder(out, *about) if rank == 0 else None
    if fabric:
        fabric.barrier()
    folder = folder or RunFolder(out, *about, rank=rank)
    with folder:
        work.run(folder.append, folder, rank, world)
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
        found = Tables(run.scores, run.curves, run.images, [Failure(**failure) for failure in run.manifest["failures"]])
    return found


@dataclass(frozen=True)
class Work:
    """All that is to be done, in batches of images that are always the same: see ``evaluate``.

    images   places in the dataset
    """

    question: Question
    metrics: Mapping[str, Metric]
    images: list[int]
    limits: Mapping[str, int]
    pictures: int
    keep_maps: bool
    threads: int
    progress: Progress | None

    def run(self, append: Callable[[Record], None], folder: RunFolder | None, rank: int, world: int) -> None:
        """Do the share of one process: of the batches that are not done yet."""
        size, order = self.question.batch_size, spread_order(len(self.images))
        place = {index: order[i] for i, index in enumerate(self.images)}
        n_batches = -(-len(self.images) // size)
        numbers = range(rank * n_batches // world, (rank + 1) * n_batches // world)  # in one piece: limits are spread evenly
        share = {number: self.images[number * size : (number + 1) * size] for number in numbers}
        missing = {number: self._missing(number, folder) for number in share}
        left = [number for number in share if any(missing[number].values()) or not (folder and folder.knows(number))]
        total, failed = sum(map(len, share.values())), 0
        before = float(total - sum(len(share[number]) for number in left))
        luck: dict[bool, Counter[tuple[str, str]]] = {True: Counter(), False: Counter()}
        self._tell(before, total, failed)
        with _threads(self.threads):
            for number in left:
                images = share[number]
                for i, record in enumerate(self._batch(number, images, place, missing[number], folder)):
                    append(record)
                    failed += len(record.content.failures)
                    self._tell(before + len(images) * i / len(self.question.methods), total, failed)
                    _give_up(record.content, luck)
                before += len(images)
                self._tell(before, total, failed)

    def _missing(self, number: int, folder: RunFolder | None) -> dict[str, dict[str, Metric]]:
        """For each explainer the metrics that a batch does not have yet."""
        has = {name: folder.has(number, name) if folder else set() for name in self.question.methods}
        return {name: {m: measure for m, measure in self.metrics.items() if m not in has[name]} for name in has}

    def _tell(self, done: float, total: int, failed: int) -> None:
        if self.progress:
            self.progress(done, total, failed)

    def _batch(
        self,
        number: int,
        images: list[int],
        place: Mapping[int, int],
        missing: Mapping[str, dict[str, Metric]],
        folder: RunFolder | None,
    ) -> Iterator[Record]:
        """The records that a batch lacks: what is known of its images, and a unit for each explainer."""
        facts, asked = self._asked_of(images)
        news = [] if folder and folder.knows(number) else [Record(number, facts)]
        for name, metrics in missing.items():
            mine = self._within(asked, name, place) if asked else None
            if not metrics or not mine or not mine.index:
                continue
            kept = folder.kept(number, name, mine) if folder else None
            unit, maps = measured(self.question, mine, name, metrics, self._wanted(place, name), kept)
            if folder and maps is not None:
                shown = [i for i, index in enumerate(mine.index) if place[index] < self.pictures]
                if shown:
                    folder.picture(number, name, mine.rows(shown), maps[shown])
                if self.keep_maps and kept is None:
                    folder.keep(number, name, mine, maps)
            yield from news  # not before something was measured: a mistake in what was asked leaves nothing behind
            news = []
            yield Record(number, unit)
        yield from news

    def _asked_of(self, images: list[int]) -> tuple[Facts, Asked | None]:
        """Read and classify; where the batch cannot be read, each image that can."""
        dataset, unread = self.question.dataset, list[Failure]()
        try:
            found = dataset.batch(images)
        except Exception:
            for index in images:
                try:
                    dataset.batch([index])
                except Exception as error:
                    unread.append(Failure(index, dataset.ids[index], "", "", said(error)))
            bad = {failure.index for failure in unread}
            images = [index for index in images if index not in bad]
            if not images:
                return Facts([], [], [], [], [], [], unread), None
            found = dataset.batch(images)
        facts, asked = self.question.ask(found, images)
        return replace(facts, failures=[*unread, *facts.failures]), asked

    def _within(self, asked: Asked, name: str, place: Mapping[int, int]) -> Asked:
        """The rows that are within the limit of an explainer."""
        limit = self.limits.get(name)
        return asked if limit is None else asked.rows([i for i, index in enumerate(asked.index) if place[index] < limit])

    def _wanted(self, place: Mapping[int, int], explainer: str) -> Callable[[str, int], bool]:
        """Is an image within the limits of a metric?"""
        every = len(place)
        limits = {m: min(self.limits.get(m, every), self.limits.get(f"{explainer}/{m}", every)) for m in self.metrics}
        return lambda name, index: place[index] < limits[name]

    def asked(self) -> dict[str, object]:
        """What makes the numbers of two evaluations comparable, for the manifest."""
        q = self.question
        ids = [q.dataset.ids[i] for i in self.images]
        return {
            "classifier": described_classifier(q.classifier),
            "weights": fingerprint(q.classifier.module),
            "dataset": {"name": type(q.dataset).__name__.lower(), **_options(q.dataset, ("path", "classes", "view"))},
            "images": f"{len(ids)} with the names {sha256(chr(10).join(ids).encode()).hexdigest()[:16]}",
            "target": q.target,
            "scored": q.scored,
            "only": q.only,
            "map_classes": q.map_classes,
            "batch_size": q.batch_size,
            "threads": self.threads,
            "seed": q.seed,
        }

    def about_explainers(self) -> dict[str, dict[str, object]]:
        """For the manifest."""
        kinds = {EXPLAINERS[name]: name for name in EXPLAINERS}
        return {
            name: {
                "method": kinds.get(type(method), type(method).__name__),
                "family": method.family,
                "class_specific": method.class_specific,
                "paper": method.paper,
                "limit": self.limits.get(name),
                "limits": {m: self.limits[f"{name}/{m}"] for m in self.metrics if f"{name}/{m}" in self.limits},
                "options": _options(method, ("classifier",)),
            }
            for name, method in self.question.methods.items()
        }

    def about_metrics(self) -> dict[str, dict[str, object]]:
        """For the manifest."""
        kinds = {METRICS[name]: name for name in METRICS}
        return {
            name: {
                "metric": kinds.get(type(measure), type(measure).__name__),
                "family": measure.family,
                "higher_is_better": measure.higher_is_better,
                "range": [end if isfinite(end) else None for end in measure.range],
                "reads": measure.reads,
                "class in the paper": measure.target,
                "paper": measure.paper,
                "axes": measure.axes if isinstance(measure, HasCurve) else None,
                "limit": self.limits.get(name),
                "options": _options(measure, ()),
            }
            for name, measure in self.metrics.items()
        }


def spread_order(n: int) -> list[int]:
    """The rank of each of n places: the first few ranks are spread evenly, for any few (van der Corput's sequence)."""
    bits = max(1, (n - 1).bit_length())
    order = sorted(range(n), key=lambda i: int(f"{i:0{bits}b}"[::-1], 2))
    ranks = [0] * n
    for rank, i in enumerate(order):
        ranks[i] = rank
    return ranks


@contextmanager
def _threads(n: int) -> Iterator[None]:
    """Sums are rounded by how they are shared out: with as many threads everywhere the numbers are the same everywhere."""
    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _give_up(content: Facts | Unit, luck: Mapping[bool, Counter[tuple[str, str]]]) -> None:
    """Stop where a method has failed on many images, and on no image succeeded."""
    good, bad = luck[True], luck[False]
    if isinstance(content, Unit):
        good.update((content.explainer, name) for name, rows in content.values.items() for row in rows if row is not None)
        good[content.explainer, ""] += sum(
            any(rows[i] for rows in content.values.values()) for i in range(len(content.index))
        )
    else:
        good["", ""] += len(content.index)
    for failure in content.failures:
        key = failure.explainer, failure.metric
        bad[key] += 1
        if bad[key] >= MANY and not good[key]:
            what = " of ".join(part for part in reversed(key) if part) or "reading"
            raise SeewhyError(f"{what} failed on {bad[key]} images and worked on none; {failure.image_id}: {failure.error}")


def described_classifier(classifier: Classifier) -> dict[str, object]:
    """What a classifier does to an image, but for its weights."""
    return {
        "module": type(classifier.module).__name__,
        "input_size": list(classifier.input_size),
        "mean": list(classifier.mean),
        "std": list(classifier.std),
        "crop": classifier.crop,
        "classes": classifier.n_classes,
        "multilabel": classifier.multilabel,
    }


def fingerprint(module: torch.nn.Module) -> str:
    """A digest of the weights and buffers."""
    digest = sha256()
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _options(item: object, without: Sequence[str]) -> dict[str, object]:
    if not is_dataclass(item):
        return {}
    values = {f.name: getattr(item, f.name) for f in fields(item) if f.name not in without}
    return {key: _plain(value) for key, value in values.items()}


def _plain(value: object) -> object:
    """For JSON."""
    if isinstance(value, tuple | list):
        return [_plain(part) for part in value]
    return value if isinstance(value, int | float | str | bool | None) else str(value)
