"""The loop of an evaluation: batch after batch, what is missing is measured and stored."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from seewhy.classifier.threads import threads as on_threads
from seewhy.evaluation.batch import Rows
from seewhy.evaluation.columns import FACTS_SCHEMA
from seewhy.evaluation.failures import Failure, Successes, together_or_alone
from seewhy.evaluation.pictures import Pictures
from seewhy.evaluation.pieces import Piece, PieceFiles, places_of_pieces, whole
from seewhy.evaluation.plan import Plan, PlannedBatch
from seewhy.evaluation.question import Question
from seewhy.evaluation.store import Store
from seewhy.evaluation.tables import failures_of
from seewhy.evaluation.unit import measure_unit
from seewhy.explanation.map_store import MapStore, map_keys
from seewhy.files import safely
from seewhy.metrics import Metric

Progress = Callable[[float, int, int], None]
"""Called with the number of images done, the number of all images, and the number of failures."""


@dataclass(frozen=True)
class Measuring:
    """What the loop needs.

    folder     of the run; None for an evaluation in memory
    pictures   gets pictures and small maps for the report
    maps       maps that were made before
    keep_maps  write maps that are made to ``maps``
    """

    question: Question
    metrics: Mapping[str, Metric]
    plan: Plan
    store: Store
    pictures: Pictures | None = None
    maps: MapStore | None = None
    keep_maps: bool = False
    folder: Path | None = None
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
        before = self.plan.facts(batch, self.store)
        known = facts if before is None else joined_facts(before, facts)
        if before is None or not known.equals(before):
            self.store.hold(batch.key, "facts", known)
            failures = failures_of(facts)
            yield 0, failures
            self.successes.count([("", "")] if len(facts) > len(failures) else [], failures)
        missing = self.plan.missing(batch, facts, self.store)
        for i, (explainer, names) in enumerate(missing.items()):
            if rows is not None and names:
                for share, lines in self._unit(batch, explainer, names, facts, rows):
                    unit = lines
                    yield (i + share) / len(missing), []
                failures = failures_of(unit)
                yield (i + 1) / len(missing), failures
                worked = unit.filter(pl.col("value").is_not_null()).select("explainer", "metric").unique().rows()
                self.successes.count(worked, failures)

    def _unit(
        self, batch: PlannedBatch, explainer: str, names: list[str], facts: pl.DataFrame, rows: Rows
    ) -> Iterator[tuple[float, pl.DataFrame]]:
        """Measure one unit, and store it with its maps and pictures. Yields the share that is done and lines, at last all.

        A unit of a slow method is measured in pieces. Each piece is written when it is done, and found again by the next
        call if this one is killed.
        """

        def wanted(metric: str, index: int) -> bool:
            return self.plan.wants(explainer, metric, index)

        most = self.plan.limits.get(explainer, len(self.plan.images)) if self.keep_maps else 0
        mine = [i for i, x in enumerate(rows.index) if self.plan.ranks[x] < most or any(wanted(m, x) for m in names)]
        rows = rows if len(mine) == len(rows.index) else rows.select(mine)
        keys = keys_of(rows) if self.maps else []
        kept = self.maps.find(explainer, batch.key, keys, rows.images.shape[2:]) if self.maps else None
        writes_maps = self.maps is not None and self.keep_maps and kept is None
        broken = facts.filter(pl.col("error").is_not_null())
        name = str(self.plan.unit_name(batch, explainer, names, broken["index"].to_list()))
        places = places_of_pieces(
            getattr(self.question.methods[explainer], "family", ""), len(rows.index), rows.images.device
        )
        files = PieceFiles(self.folder, batch.key, name) if self.folder is not None and len(places) > 1 else None
        pieces: list[Piece] = []
        for number, some in enumerate(places):
            piece = files.find(number, writes_maps) if files else None
            if piece is None:
                part = rows if len(places) == 1 else rows.select(some)
                maps = kept if kept is None or len(places) == 1 else kept[some]
                measured = {m: self.metrics[m] for m in names}
                piece = Piece(*measure_unit(self.question, part, explainer, measured, wanted, maps))
                if self.store.begins(piece.lines):
                    if piece.maps is not None and self.pictures is not None:
                        self.pictures.add(batch.number, explainer, part, piece.maps)
                    if files and (piece.maps is not None or not writes_maps):
                        files.keep(number, piece if writes_maps else Piece(piece.lines, None))
            pieces.append(piece)
            yield len(pieces) / len(places), piece.lines
        unit, made = whole(pieces)
        if self.store.begins(unit) and made is not None and writes_maps and self.maps is not None:
            with safely(self.maps.folder.parent):
                who = {"index": rows.index, "explained": rows.explained.tolist()}
                self.maps.keep(explainer, batch.key, keys, made, image_id=rows.ids, **who)
        lacking = broken.select("index", "image_id", "error", explainer=pl.lit(explainer), metric=pl.lit(names))
        self.store.hold(batch.key, name, pl.concat([unit, lacking.explode("metric")], how="diagonal"))
        if self.store.has_units:
            self.store.flush()
            if files:
                files.forget()
        yield 1.0, unit


def keys_of(rows: Rows) -> list[str]:
    """The key of each row's map: its image, the name of the image, and the class or the classes that are explained."""
    present = rows.present
    what = rows.explained.tolist() if present is None else [["present", *classes.tolist()] for classes in present]
    return map_keys(rows.images, list(zip(rows.ids, what, strict=True)))


def read_batch(question: Question, images: Sequence[int]) -> tuple[pl.DataFrame, Rows | None]:
    """Read and classify a batch; where it cannot be read as a whole, all images that can be read alone."""
    dataset, unread = question.dataset, list[tuple[int, str, str]]()

    def failed(index: int, error: str) -> None:
        unread.append((index, dataset.ids[index], error))

    parts = list(together_or_alone(images, dataset.batch, failed, stops=lambda _: False))
    facts, rows = pl.DataFrame(schema=FACTS_SCHEMA), None
    if there := [index for part, _ in parts for index in part]:
        facts, rows = question.rows_of(parts[0][1] if len(parts) == 1 else dataset.batch(there), there)
    broken = pl.DataFrame(unread, {name: FACTS_SCHEMA[name] for name in ("index", "image_id", "error")}, orient="row")
    return pl.concat([facts, broken], how="diagonal").sort("index"), rows


def joined_facts(before: pl.DataFrame, now: pl.DataFrame) -> pl.DataFrame:
    """What is known of each image of a batch. An image that could be read once is no failure, even if it cannot be now."""
    both = pl.concat([before, now]).sort(pl.col("error").is_not_null(), maintain_order=True)
    return both.unique("index", keep="first", maintain_order=True).sort("index")
