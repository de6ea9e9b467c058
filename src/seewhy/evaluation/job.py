"""An evaluation as one process sees it: it measures its share, and the first process writes the tables."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import isfinite
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, cast

from seewhy.classifier.identity import about_classifier
from seewhy.describe import environment, fields_as_json
from seewhy.devices import ShareError, exchange
from seewhy.errors import SeewhyError
from seewhy.evaluation.companions import CANDIDATES
from seewhy.evaluation.manifest import SCHEMA, AboutExplainer, AboutMetric, Manifest, read_manifest
from seewhy.evaluation.measure import Measuring, Progress
from seewhy.evaluation.pictures import Pictures
from seewhy.evaluation.plan import Plan, PlannedBatch, growing_order
from seewhy.evaluation.question import Question, names_digest
from seewhy.evaluation.run import open_run
from seewhy.evaluation.store import Store, UnitFiles, begin, finish, forget
from seewhy.evaluation.tables import Tables
from seewhy.explainers import Explainer
from seewhy.explainers.describe import about_explainers, layer_of
from seewhy.explanation.map_store import MapStore
from seewhy.files import check_writable, remove_leftovers
from seewhy.metrics import METRICS, HasCurve, Metric

if TYPE_CHECKING:
    from lightning.fabric import Fabric


@dataclass(frozen=True)
class Job:
    """An evaluation whose options have been checked, as one process sees it."""

    question: Question
    metrics: Mapping[str, Metric]
    plan: Plan
    pictures: int
    keep_maps: bool
    threads: int
    progress: Progress | None
    fabric: "Fabric | None"
    shard: tuple[int, int] | None

    @property
    def rank(self) -> int:
        return self.fabric.global_rank if self.fabric else 0

    @property
    def world(self) -> int:
        return self.fabric.world_size if self.fabric else 1

    @property
    def share(self) -> list[PlannedBatch]:
        """The batches of this process: its part of the shard, or of all batches."""
        i, n = self.shard or (1, 1)
        return self.plan.share((i - 1) * self.world + self.rank, n * self.world)

    def in_memory(self) -> Tables:
        store = Store({})
        Measuring(self.question, self.metrics, self.plan, store).run(self.share, self.threads, self.progress)
        return self.plan.tables(store, self.plan.pair_limits, self.plan.batches)

    def in_folder(self, folder: Path, join: bool, details: Mapping[str, object]) -> Tables:
        """Every process measures its share; the first writes the tables after the others."""
        start = time()
        manifest = self._opened(folder, details)
        store = self._joined(folder) if join else self._measure(folder, manifest)
        if self.shard:
            return self.plan.tables(store, self.plan.pair_limits, self.share)
        self._wait()
        if self.world > 1:
            measured = Store(UnitFiles(folder)).has_units  # by any process
            if measured:
                store.flush()  # what a share says of its images, also one in which nothing could be measured
            self._wait()
            store = Store(UnitFiles(folder)) if measured else store
        if not store.has_units:  # nothing could be measured, and nothing is left
            found = self.plan.tables(store, self.plan.pair_limits, self.plan.batches)
            if self.rank == 0:
                forget(folder)
            return found
        if self.rank == 0:
            now = replace(manifest, wall_seconds=time() - start)
            found = finish(folder, now, lambda whole: self._tables(store, whole), self._first)
        self._wait()
        return found if self.rank == 0 else self._tables(store, open_run(folder).manifest)

    def _tables(self, store: Store, whole: Manifest) -> Tables:
        """The tables of a folder with this manifest."""
        return self.plan.tables(store, whole.limits, self.plan.batches, whole.grown)

    def _first(self, n: int) -> str:
        """What ``Identity.images`` is of the ``n`` images that a limit takes."""
        images = self.plan.images if self.plan.ordered else growing_order(self.question.dataset)
        return names_digest(self.question.dataset, images[:n])

    def _wait(self) -> None:
        """Until all processes are here."""
        if self.fabric:
            with exchange():
                self.fabric.barrier()

    def _opened(self, folder: Path, details: Mapping[str, object]) -> Manifest:
        """The manifest of this command. The first process compares it with the folder's; if it must stop, all stop."""
        manifest, error = self._manifest(details), ""
        if self.rank == 0:
            try:
                check_writable(folder)
                check_companions(folder, manifest.joined(folder, self._first))
                remove_leftovers(folder, below=True)
            except SeewhyError as mistake:
                error = str(mistake)
        if self.fabric:
            with exchange():
                error = self.fabric.broadcast(error)
        if error:
            raise SeewhyError(error)
        return manifest

    def _measure(self, folder: Path, manifest: Manifest) -> Store:
        """Measure the share of this process."""
        store = Store(UnitFiles(folder), partial(begin, folder, manifest, self._first))
        network = [manifest.asked.classifier, manifest.asked.weights]
        shown = {index for index, rank in self.plan.ranks.items() if rank < self.pictures}
        maps = None
        if self.keep_maps or (folder / "maps").is_dir():
            maps = MapStore(folder / "maps", lambda: network, about_explainers(self.question.methods))
        pictures = Pictures(folder, shown)
        measuring = Measuring(self.question, self.metrics, self.plan, store, pictures, maps, self.keep_maps, folder)
        try:
            measuring.run(self.share, self.threads, self.progress)
        except SeewhyError as error:
            if self.rank:
                raise ShareError(f"process {self.rank}: {error}") from None
            raise
        if store.has_units or self.shard:
            store.flush()
        return store

    def _joined(self, folder: Path) -> Store:
        """What the shards have measured; SeewhyError where units are missing: how many, and of which shards."""
        store, manifest = Store(UnitFiles(folder)), read_manifest(folder)
        shards = manifest.shards if manifest else 1
        lacking = {i + 1: self.plan.lacking(self.plan.share(i, shards), store) for i in range(shards)}
        if n := sum(lacking.values()):
            which = ", ".join(f"{i}/{shards}" for i, missing in lacking.items() if missing)
            raise SeewhyError(f"{folder} lacks {n} units, of shard {which}: run that, or give the command without join")
        return store

    def _manifest(self, details: Mapping[str, object]) -> Manifest:
        around, classifier, methods = environment(), self.question.classifier, self.question.methods
        return Manifest(
            schema=SCHEMA,
            complete=False,
            asked=self.question.identity(self.plan.images, self.threads),
            explainers=describe_explainers(self.question.methods, self.plan.limits),
            metrics={name: describe_metric(m, self.plan.limits.get(name)) for name, m in self.metrics.items()},
            limits=self.plan.pair_limits,
            images=len(self.plan.images),
            classes=list(self.question.classifier.classes),
            shards=self.shard[1] if self.shard else 1,
            processes=self.world,
            details={"classifier": about_classifier(classifier, layer_of(classifier, methods)), **details},
            versions=cast(dict[str, str], around["versions"]),
            hardware=str(around["hardware"]),
        )


def check_companions(folder: Path, now: Manifest) -> None:
    """SeewhyError where more images would change the companions, beside which images of the folder were already put."""
    before = read_manifest(folder)
    if before is None or len(now.grown) == len(before.grown) or now.grown[-1] >= CANDIDATES:
        return
    kinds = {name: METRICS[about.metric] for name, about in before.metrics.items() if about.metric in METRICS}
    if need := [name for name, kind in kinds.items() if "companions" in kind.needs]:
        raise SeewhyError(
            f"{folder} has {now.grown[-1]} images, and {need[0]} puts images of a run beside each other: more images "
            f"would change its numbers: give another folder, or begin with {CANDIDATES} images or more"
        )


def describe_explainers(methods: Mapping[str, Explainer], limits: Mapping[str, int]) -> dict[str, AboutExplainer]:
    """What the manifest says of explainers."""
    found = {}
    for name, about in about_explainers(methods).items():
        own = {key.partition("/")[2]: n for key, n in limits.items() if key.startswith(f"{name}/")}
        found[name] = AboutExplainer(**about, limit=limits.get(name), limits=own)  # type: ignore[arg-type]
    return found


def describe_metric(metric: Metric, limit: int | None) -> AboutMetric:
    """What the manifest says of a metric."""
    return AboutMetric(
        metric=METRICS.name_of(type(metric)),
        family=metric.family,
        higher_is_better=metric.higher_is_better,
        options=fields_as_json(metric, ()),
        range=[float(end) if isfinite(end) else None for end in metric.range],
        reads=metric.reads,
        explains=metric.target,
        paper=metric.paper,
        axes=list(metric.axes) if isinstance(metric, HasCurve) else None,
        limit=limit,
    )
