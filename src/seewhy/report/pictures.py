"""Pictures of a run with maps over them, as data URIs; and which images are shown."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch

from seewhy.data.pictures import to_tensor
from seewhy.errors import SeewhyError
from seewhy.evaluation.run import Run
from seewhy.explanation import overlay
from seewhy.report.map_similarity import Maps
from seewhy.report.run_numbers import Key, MetricValues

TILE_SIDE = 160
"""Shorter side of a picture, in pixels."""
QUALITY = 66
"""Of the WebP pictures, from 0 to 100."""
MAX_CLASSES = 8
"""The sample shows at most so many classes."""
MAX_EXTREMES = 3
"""At most so many best rows, and so many worst rows."""


class SampleImage(NamedTuple):
    """An image of the sample: the class it stands for, all its classes, and the row whose maps are shown.

    A network that returns values has no ``probability``.
    """

    key: Key
    image_id: str
    label: int
    labels: list[int]
    predicted: int
    probability: float | None


class Sample(NamedTuple):
    """Images of different classes.

    correct  whether all images are classified correctly; None where labels are not known
    classes  how many classes have a picture
    """

    images: list[SampleImage]
    correct: bool | None
    classes: int


class Extreme(NamedTuple):
    """A row and its score."""

    key: Key
    score: float


class Gallery:
    """The pictures and small maps that a run has kept."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @cached_property
    def maps(self) -> dict[str, Maps]:
        """The maps of each explainer, of the images that were classified."""
        known, read = set(self.run.images["index"]), {name: self.run.maps(name) for name in self.run.manifest.explainers}
        found: dict[str, Maps] = {e: {key: m for key, m in maps.items() if key[0] in known} for e, maps in read.items()}
        if len({values.shape for maps in found.values() for values in maps.values()}) > 1:
            raise SeewhyError(f"{self.run.folder / 'pictures'} has maps of several sizes: delete it, and evaluate again")
        return found

    @cached_property
    def keys(self) -> list[Key]:
        """The rows that have a picture and the map of an explainer."""
        found = {key for maps in self.maps.values() for key in maps}
        return [Key(*key) for key in sorted(found) if self.run.has_picture(key[0])]

    def picture(self, index: int) -> str:
        """An image as the network saw it, as a data URI."""
        return overlay.data_uri(overlay.enlarge(self.run.picture(index), TILE_SIDE), QUALITY)

    def overlay(self, key: Key, explainer: str) -> str | None:
        """An image with a map over it, as a data URI; None if the map was not kept."""
        values = self.maps[explainer].get(key)
        if values is None:
            return None
        shown = overlay.overlay(to_tensor(self.run.picture(key.image)), torch.from_numpy(values), TILE_SIDE)
        return overlay.data_uri(shown, QUALITY)


def draw_sample(run: Run, keys: Sequence[Key], seed: int) -> Sample:
    """One image for each class at random: a correctly classified one, or any image if none is classified correctly."""
    explained: dict[int, list[int]] = {}
    for key in keys:
        explained.setdefault(key.image, []).append(key.explained)
    known = run.images.filter(pl.col("index").is_in(list(explained)))
    right = known.filter(pl.col("correct").fill_null(False))
    labeled = bool(known["correct"].is_not_null().any())
    by_class: dict[int, list[dict[str, Any]]] = {}
    for row in (right if len(right) else known).sort("index").iter_rows(named=True):
        for label in row["labels"] or [row["predicted"]]:
            by_class.setdefault(label, []).append(row)
    random = np.random.default_rng(seed)
    classes = sorted(by_class)
    chosen = sorted(random.choice(classes, MAX_CLASSES, replace=False).tolist()) if len(classes) > MAX_CLASSES else classes
    images: list[SampleImage] = []
    for label in chosen:
        fresh = [row for row in by_class[label] if row["index"] not in {image.key.image for image in images}]
        if fresh:
            row = fresh[int(random.integers(len(fresh)))]
            classes_of = explained[row["index"]]
            key = Key(row["index"], label if label in classes_of else classes_of[0])
            images.append(SampleImage(key, row["image_id"], label, row["labels"], row["predicted"], row["probability"]))
    return Sample(images, bool(len(right)) if labeled else None, len(classes))


def extremes(values: MetricValues, keys: Sequence[Key], higher_is_better: bool) -> tuple[list[Extreme], list[Extreme]]:
    """The best and the worst rows of one explainer among ``keys``; of equal scores the first. No row is in both lists."""
    among = set(keys)
    rows = [Extreme(key, float(score)) for key, score in zip(values.keys, values.single, strict=True) if key in among]
    rows.sort(key=lambda row: (-row.score if higher_is_better else row.score, row.key))
    best = rows[: min(MAX_EXTREMES, -(-len(rows) // 2))]
    worst = rows[::-1][: min(MAX_EXTREMES, len(rows) - len(best))]
    return best, worst
