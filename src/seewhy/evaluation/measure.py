"""The loop of an evaluation: batch after batch, what is missing is measured and stored."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor

from seewhy.classifier.threads import threads as on_threads
from seewhy.evaluation.batch import ImageFacts, Rows
from seewhy.evaluation.failures import Failure, Successes, together_or_alone
from seewhy.evaluation.pictures import Pictures
from seewhy.evaluation.plan import Plan, PlannedBatch
from seewhy.evaluation.question import Question
from seewhy.evaluation.store import Store, safely
from seewhy.evaluation.unit import Unit, measure_unit
from seewhy.explanation.map_store import MapStore, map_keys
from seewhy.metrics import Metric

Progress = Callable[[float, int, int], None]
"""Called with the number of images done, the number of all images, and the number of failures."""


@dataclass(frozen=True)
class Measuring:
    """What the loop needs.

    pictures    of so many images the run folder gets pictures and small maps
    keep_maps   write the maps to the run folder
    """

    question: Question
    metrics: Mapping[str, Metric]
    plan: Plan
    store: Store
    pictures: Pictures | None = None
    n_pictures: int = 0
    maps: MapStore | None = None
    keep_maps: bool = False
    successes: Successes = field(default_factory=Successes)

    def run(self, share: Sequence[PlannedBatch], threads: int, progress: Progress | None) -> None:
        """Measure what is missing of some batches."""
        tell: Progress = progress or (lambda *_: None)
        left = [batch for batch in share if not self.plan.is_done(batch, self.store)]
        total, failed = sum(len(batch.images) for batch in share), 0
        before = float(total - sum(len(batch.images) for batch in left))
        tell(before, total, failed)
        with on_threads(threads):
            for batch in left:
                for part, failures in self._measure(batch):
                    failed += len(failures)
                    tell(before + len(batch.images) * part, total, failed)
                before += len(batch.images)
                tell(before, total, failed)

    def _measure(self, batch: PlannedBatch) -> Iterator[tuple[float, list[Failure]]]:
        """What a batch lacks. Yields the part of it that was done before each step, and the failures of the step."""
        facts, rows = read_batch(self.question, batch.images)
        frame = facts.frame()
        if not self.store.has(batch.key, facts.name):
            self.store.hold(batch.key, facts.name, frame)
            yield 0, facts.failures
            self.successes.count({("", ""): len(facts.index)}, facts.failures)
        missing = self.plan.missing(batch, frame, self.store)
        for i, (explainer, names) in enumerate(missing.items()):
            if rows is not None and names:
                unit = self._unit(batch, explainer, names, facts, rows)
                yield i / len(missing), unit.failed()
                self.successes.count(unit.worked(), unit.failed())

    def _unit(self, batch: PlannedBatch, explainer: str, names: list[str], facts: ImageFacts, rows: Rows) -> Unit:
        """Measure one unit, and store it with its maps and pictures."""

        def wanted(metric: str, index: int) -> bool:
            return self.plan.wants(explainer, metric, index)

        most = self.plan.limits.get(explainer, len(self.plan.images)) if self.keep_maps else 0
        mine = [i for i, x in enumerate(rows.index) if self.plan.ranks[x] < most or any(wanted(m, x) for m in names)]
        rows = rows if len(mine) == len(rows.index) else rows.select(mine)
        kept, keys = None, []
        if self.maps is not None and (self.keep_maps or self.maps.has(explainer, batch.key)):
            keys = keys_of(rows)
            kept = self.maps.find(explainer, batch.key, keys)
        unit, maps = measure_unit(self.question, rows, explainer, {m: self.metrics[m] for m in names}, wanted, kept)
        name = str(self.plan.unit_name(batch, explainer, names, facts.name))
        if not unit.has_numbers and not self.store.has_units:
            self.store.hold(batch.key, name, unit.frame())
            return unit
        self.store.begin()
        if maps is not None:
            self._show(batch, explainer, rows, maps)
            if self.keep_maps and kept is None:
                self._keep(batch, explainer, rows, maps, keys)
        self.store.write(batch.key, name, unit.frame())
        return unit

    def _show(self, batch: PlannedBatch, explainer: str, rows: Rows, maps: Tensor) -> None:
        """Pictures and small maps, for the report."""
        shown = [i for i, index in enumerate(rows.index) if self.plan.ranks[index] < self.n_pictures]
        if shown and self.pictures is not None:
            self.pictures.add(batch.number, explainer, rows.select(shown), maps[shown])

    def _keep(self, batch: PlannedBatch, explainer: str, rows: Rows, maps: Tensor, keys: list[str]) -> None:
        if self.maps is not None:
            who: dict[str, list[Any]] = {"index": rows.index, "image_id": rows.ids, "explained": rows.explained.tolist()}
            with safely(self.maps.folder.parent):
                self.maps.keep(explainer, batch.key, keys, maps, who)


def keys_of(rows: Rows) -> list[str]:
    """The key of each row's map: its image, the name of the image, and the class or the classes that are explained."""
    present = rows.present
    what = rows.explained.tolist() if present is None else [["present", *classes.tolist()] for classes in present]
    return map_keys(rows.images, list(zip(rows.ids, what, strict=True)))


def read_batch(question: Question, images: Sequence[int]) -> tuple[ImageFacts, Rows | None]:
    """Read and classify a batch; where it cannot be read as a whole, all images that can be read alone."""
    dataset, unread = question.dataset, list[Failure]()

    def failed(index: int, error: str) -> None:
        unread.append(Failure(index, dataset.ids[index], "", "", error))

    parts = list(together_or_alone(images, dataset.batch, failed, stops=lambda _: False))
    images = [index for part, _ in parts for index in part]
    if not images:
        return ImageFacts([], [], [], [], [], [], [], unread), None
    facts, rows = question.rows_of(parts[0][1] if len(parts) == 1 else dataset.batch(images), images)
    return replace(facts, failures=[*unread, *facts.failures]), rows
