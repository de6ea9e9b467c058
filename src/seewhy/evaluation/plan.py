"""Which units an evaluation wants, and which of them are missing: resuming, sharing out and adding are one thing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import polars as pl

from seewhy.describe import digest_of
from seewhy.evaluation.failures import Failure
from seewhy.evaluation.store import Store
from seewhy.evaluation.tables import Tables, joined_facts, joined_units, tables


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
    """

    dataset: Any
    images: list[int]
    batch_size: int
    explainers: Sequence[str]
    metrics: Sequence[str]
    limits: Mapping[str, int]

    @cached_property
    def ranks(self) -> dict[int, int]:
        """The rank of each image: a limit of n takes the images whose rank is below n."""
        return dict(zip(self.images, spread_order(len(self.images)), strict=True))

    @cached_property
    def batches(self) -> list[PlannedBatch]:
        size = self.batch_size
        cut = [self.images[start : start + size] for start in range(0, len(self.images), size)]
        return [PlannedBatch(i, batch_key(self.dataset, images), images) for i, images in enumerate(cut)]

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

    def unit_name(self, batch: PlannedBatch, explainer: str, metrics: Sequence[str], facts: str) -> str | None:
        """A name for the answer to these metrics on a batch with these facts; None if no image is wanted."""
        limits = {m: self.pair_limits[explainer][m] for m in metrics}
        ranks, everything = self.ranks, len(self.images)
        counts = {
            most: len(batch.images) if most >= everything else sum(ranks[i] < most for i in batch.images)
            for most in {*limits.values()}
        }
        wanted = sorted((m, counts[most]) for m, most in limits.items() if counts[most])
        return f"{explainer}.{digest_of(json.dumps([explainer, facts, wanted]).encode())}" if wanted else None

    def missing(self, batch: PlannedBatch, facts: pl.DataFrame, store: Store) -> dict[str, list[str]]:
        """For each explainer the metrics of which a wanted row is not there: an image and a class that is explained."""
        rows = facts.select("index", "explained").explode("explained").drop_nulls().rows()
        units, found = store.units(batch.key, self.explainers), {}
        for e in self.explainers:
            there = {row for unit in units[e] for row in unit.select("index", "explained", "metric").iter_rows()}
            found[e] = [m for m in self.metrics if any((*r, m) not in there for r in rows if self.wants(e, m, r[0]))]
        return found

    def is_done(self, batch: PlannedBatch, store: Store, unread_too: bool = False) -> bool:
        """Is all there that can be there? Images that could not be read are tried again, unless ``unread_too``."""
        if store.has(batch.key, "facts"):
            names = [self.unit_name(batch, e, self.metrics, "facts") for e in self.explainers]
            if all(name is None or store.has(batch.key, name) for name in names):
                return True
        facts = store.facts(batch.key)
        if facts is None or (facts["error"].is_not_null().any() and not unread_too):
            return False
        return not any(self.missing(batch, facts, store).values())

    def lacking(self, batches: Sequence[PlannedBatch], store: Store) -> int:
        """The number of units that are missing."""
        n = 0
        for batch in batches:
            if not self.is_done(batch, store, unread_too=True):
                facts = store.facts(batch.key)
                n += len(self.explainers) if facts is None else sum(map(bool, self.missing(batch, facts, store).values()))
        return n

    def tables(self, store: Store, limits: Mapping[str, Mapping[str, int]], batches: Sequence[PlannedBatch]) -> Tables:
        """The tables of some batches, of the explainers and metrics that ``limits`` names."""
        facts = [(batch, found) for batch in batches if (found := store.facts(batch.key)) is not None]
        units = joined_units(of for batch in batches for of in store.units(batch.key, limits).values())
        unread = [failure for batch, found in facts for failure in self._unread(batch, found, store, limits)]
        return tables(units, joined_facts(found for _, found in facts), unread, limits, self.ranks)

    def _unread(
        self, batch: PlannedBatch, facts: pl.DataFrame, store: Store, limits: Mapping[str, Mapping[str, int]]
    ) -> list[Failure]:
        """Images of a batch that failed; a mended one as long as the folder has numbers that lack it."""
        failed = store.failed_facts(batch.key)
        if not len(failed):
            return []
        known = dict(facts.filter(pl.col("error").is_null()).select("index", "explained").rows())
        units = {e: [u.select("index", "metric") for u in of] for e, of in store.units(batch.key, limits).items()}
        rows = {(e, *row) for e, of in units.items() for unit in of for row in unit.iter_rows()}
        found = []
        for index, image_id, error in failed.select("index", "image_id", "error").unique(maintain_order=True).rows():
            wanted = {(e, m) for e, of in limits.items() for m, most in of.items() if self.ranks[index] < most}
            lacking = known.get(index) and any((e, index, m) not in rows for e, m in wanted)
            if index not in known or lacking:
                found.append(Failure(index, image_id, "", "", error))
        return found


def batch_key(dataset: Any, images: Sequence[int]) -> str:
    """A digest of images: of their names, file sizes and labels where the dataset has a ``digest``, else of their names."""
    digest = getattr(dataset, "digest", None)
    content = digest(images) if callable(digest) else [dataset.ids[i] for i in images]
    return digest_of(json.dumps([list(images), content]).encode())


def spread_order(n: int) -> list[int]:
    """The rank of each of n places: the first few ranks are spread evenly, for any few (van der Corput's sequence)."""
    bits = max(1, (n - 1).bit_length())
    order = sorted(range(n), key=lambda i: int(f"{i:0{bits}b}"[::-1], 2))
    ranks = [0] * n
    for rank, i in enumerate(order):
        ranks[i] = rank
    return ranks
