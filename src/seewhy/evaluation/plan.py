"""Which units an evaluation wants, and which of them are missing: resuming, sharing out and adding are one thing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl

from seewhy.describe import digest_of
from seewhy.errors import SeewhyError
from seewhy.evaluation.columns import FACTS_SCHEMA
from seewhy.evaluation.store import Store
from seewhy.evaluation.tables import Tables, joined, tables


@dataclass(frozen=True)
class PlannedBatch:
    """Images that are measured together, whoever does it. ``key``: a digest of the images; ``images``: their places."""

    number: int
    key: str
    images: list[int]


@dataclass(frozen=True)
class Plan:
    """The images, explainers, metrics and limits of an evaluation, cut into batches that are always the same.

    dataset     has the images
    images      places in the dataset
    explainers, metrics  their names
    limits      images of an explainer, of a metric, or of "EXPLAINER/METRIC"
    ordered     are the images in the order in which limits take them? Then the batches of fewer images are those of more
                images, but for the last one
    """

    dataset: Any
    images: list[int]
    batch_size: int
    explainers: Sequence[str]
    metrics: Sequence[str]
    limits: Mapping[str, int]
    ordered: bool = False

    @cached_property
    def ranks(self) -> dict[int, int]:
        """The rank of each image: a limit of n takes the images whose rank is below n."""
        ranks = range(len(self.images)) if self.ordered else spread_order(len(self.images))
        return dict(zip(self.images, ranks, strict=True))

    @cached_property
    def batches(self) -> list[PlannedBatch]:
        return [
            self._batch(start // self.batch_size, len(self.images)) for start in range(0, len(self.images), self.batch_size)
        ]

    def _batch(self, number: int, n: int) -> PlannedBatch:
        """The batch with this number of an evaluation of the first ``n`` images."""
        start = number * self.batch_size
        images = sorted(self.images[start : min(start + self.batch_size, n)])
        return PlannedBatch(number, batch_key(self.dataset, images), images)

    def share(self, i: int, n: int) -> list[PlannedBatch]:
        """The batches of share i, from 0, of n: in one piece, so that limits are spread evenly."""
        return self.batches[i * len(self.batches) // n : (i + 1) * len(self.batches) // n]

    @cached_property
    def pair_limits(self) -> dict[str, dict[str, int]]:
        """For each explainer and metric the number of images that are wanted."""
        n, limits = len(self.images), self.limits
        return {
            e: {m: min(limits.get(key, n) for key in (e, m, f"{e}/{m}", "")) for m in self.metrics} for e in self.explainers
        }

    def wants(self, explainer: str, metric: str, index: int) -> bool:
        """Is the image within the limits?"""
        return self.ranks[index] < self.pair_limits[explainer][metric]

    def unit_name(self, batch: PlannedBatch, explainer: str, metrics: Sequence[str], unread: Sequence[int]) -> str | None:
        """A name for the answer to these metrics on a batch, some of whose images are unread; None if none is wanted."""
        ranks, most = [self.ranks[i] for i in batch.images], self.pair_limits[explainer]
        counts = {m: sum(rank < most[m] for rank in ranks) for m in sorted(metrics)}
        asked = [explainer, list(unread), [(m, n) for m, n in counts.items() if n]]
        return f"{explainer}.{digest_of(json.dumps(asked).encode())}" if any(counts.values()) else None

    def facts(self, batch: PlannedBatch, store: Store) -> pl.DataFrame | None:
        """What is known of the images of a batch; SeewhyError if it is of other images."""
        facts = store.facts(batch.key)
        if facts is not None and not set(facts["index"]) <= set(batch.images):
            raise SeewhyError(f"units/{batch.key}/facts.parquet is of other images: delete it, its work is done again")
        return facts

    def missing(self, batch: PlannedBatch, facts: pl.DataFrame | None, store: Store) -> dict[str, list[str]]:
        """For each explainer the metrics of which a wanted row is not there: an image and a class that is explained."""
        if facts is None:
            return {e: list(self.metrics) for e in self.explainers}
        rows = facts.select("index", "explained").explode("explained").drop_nulls().rows()
        found = {}
        for e in self.explainers:
            units = store.units(batch.key, [e])
            there = {row for unit in units for row in unit.select("index", "explained", "metric").iter_rows()}
            found[e] = [m for m in self.metrics if any((*r, m) not in there for r in rows if self.wants(e, m, r[0]))]
        return found

    def is_done(self, batch: PlannedBatch, store: Store) -> bool:
        """Is all there that can be there? Images that could not be read are tried again."""
        names = (self.unit_name(batch, e, self.metrics, []) for e in self.explainers)
        wanted = [name for name in names if name is not None]
        if wanted and all(store.has(batch.key, name) for name in ("facts", *wanted)):
            return True  # known by name, no file is read: these units had no image that could not be read
        facts = self.facts(batch, store)
        return facts is not None and facts["error"].is_null().all() and not any(self.missing(batch, facts, store).values())

    def lacking(self, batches: Sequence[PlannedBatch], store: Store) -> int:
        """The number of units that are missing."""
        return sum(bool(of) for b in batches for of in self.missing(b, self.facts(b, store), store).values())

    def tables(
        self,
        store: Store,
        limits: Mapping[str, Mapping[str, int]],
        batches: Sequence[PlannedBatch],
        grown: Sequence[int] = (),
    ) -> Tables:
        """The tables of some batches, of the explainers and metrics that ``limits`` names.

        ``grown`` are earlier numbers of images. The last batch of each had fewer images than it has now, and what was
        measured of it counts where nothing was measured of the whole batch: of explainers that were not asked for again.
        """
        shorter: dict[int, list[PlannedBatch]] = {}
        for n in grown:
            if n % self.batch_size:
                shorter.setdefault(n // self.batch_size, []).append(self._batch(n // self.batch_size, n))
        facts = [found for batch in batches if (found := self.facts(batch, store)) is not None]
        units = []
        for batch in batches:
            before = [unit for part in shorter.get(batch.number, ()) for unit in store.units(part.key, limits)]
            units.append(joined([*before, *store.units(batch.key, limits)], len(before)))
        empty = pl.DataFrame(schema=FACTS_SCHEMA)  # a share may have no batch
        return tables(pl.concat([joined([]), *units]), pl.concat([empty, *facts]), limits, self.ranks)


def batch_key(dataset: Any, images: Sequence[int]) -> str:
    """A digest of images: of their names, file sizes and labels where the dataset has a ``digest``, else of their names."""
    digest = getattr(dataset, "digest", None)
    content = digest(images) if callable(digest) else [dataset.ids[i] for i in images]
    return digest_of(json.dumps([list(images), content]).encode())


def growing_order(dataset: Any) -> list[int]:
    """Places in the dataset, in the order in which a limit takes them: a larger limit adds to a smaller one.

    They are spread evenly. A dataset that says ``nested``, since a smaller one has the first images of a larger one, is
    taken from its beginning.
    """
    n = len(dataset)
    return list(range(n)) if getattr(dataset, "nested", False) else sorted(range(n), key=spread_order(n).__getitem__)


def spread_order(n: int) -> list[int]:
    """The rank of each of n places: the first few ranks are spread evenly, for any few (van der Corput's sequence)."""
    bits = max(1, (n - 1).bit_length())
    order = sorted(range(n), key=lambda i: int(f"{i:0{bits}b}"[::-1], 2))
    ranks = [0] * n
    for rank, i in enumerate(order):
        ranks[i] = rank
    return ranks
