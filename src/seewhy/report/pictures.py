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
MAX_IMAGES = 8
"""The sample shows so many images, where so many have a picture."""
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
    """Images of as many classes as there are.

    correct  how many of the images are classified correctly; None where labels are not known
    classes  how many classes have a picture
    """

    images: list[SampleImage]
    correct: int | None
    classes: int

    @property
    def shown_classes(self) -> int:
        """Of how many classes images are shown."""
        return len({image.label for image in self.images})


class Extreme(NamedTuple):
    """A row and its score."""

    key: Key
    score: float


class Gallery:
    """The pictures and small maps that a run has kept."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._made: dict[tuple[int, int, str], str] = {}

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
        if (index, 0, "") not in self._made:
            shown = overlay.enlarge(self.run.picture(index), TILE_SIDE)
            self._made[index, 0, ""] = overlay.data_uri(shown, QUALITY)
        return self._made[index, 0, ""]

    def row_of(self, key: Key, explainer: str) -> Key:
        """The row of an image: the same one, or the first whose map was kept where another class was explained."""
        found = (row for row in self.keys if row.image == key.image and row in self.maps[explainer])
        return key if key in self.maps[explainer] else next(found, key)

    def overlay(self, key: Key, explainer: str) -> str | None:
        """An image with a map over it, as a data URI; None if the map was not kept."""
        values = self.maps[explainer].get(key)
        if values is None:
            return None
        if (*key, explainer) not in self._made:
            shown = overlay.overlay(to_tensor(self.run.picture(key.image)), torch.from_numpy(values), TILE_SIDE)
            self._made[*key, explainer] = overlay.data_uri(shown, QUALITY)
        return self._made[*key, explainer]


def draw_sample(run: Run, keys: Sequence[Key], seed: int) -> Sample:
    """Images at random: one of each class, then a second one of each, until there are ``MAX_IMAGES``.

    Those that are classified correctly come first. Others are drawn where there are too few of them.
    """
    explained: dict[int, list[int]] = {}
    for key in keys:
        explained.setdefault(key.image, []).append(key.explained)
    known = run.images.filter(pl.col("index").is_in(list(explained))).sort("index")
    random = np.random.default_rng(seed)
    drawn: dict[int, SampleImage] = {}
    for right in (True, False):
        by_class: dict[int, list[dict[str, Any]]] = {}
        for row in known.filter(pl.col("correct").fill_null(False) == right).iter_rows(named=True):
            for label in row["labels"] or [row["predicted"]]:
                by_class.setdefault(label, []).append(row)
        while by_class and len(drawn) < MAX_IMAGES:
            classes = sorted(by_class)
            for label in random.permutation(classes)[: MAX_IMAGES - len(drawn)].tolist():
                fresh = [row for row in by_class[label] if row["index"] not in drawn]
                if not fresh:
                    del by_class[label]
                    continue
                row = fresh[int(random.integers(len(fresh)))]
                of = explained[row["index"]]
                key = Key(row["index"], label if label in of else of[0])
                drawn[row["index"]] = SampleImage(
                    key, row["image_id"], label, row["labels"], row["predicted"], row["probability"]
                )
    images = sorted(drawn.values(), key=lambda image: (image.label, image.key))
    seen = known.filter(pl.col("index").is_in(list(drawn)))["correct"]
    correct = int(seen.fill_null(False).sum()) if seen.is_not_null().any() else None
    labels = {label for row in known.iter_rows(named=True) for label in row["labels"] or [row["predicted"]]}
    return Sample(images, correct, len(labels))


def extremes(values: MetricValues, keys: Sequence[Key], higher_is_better: bool) -> tuple[list[Extreme], list[Extreme]]:
    """The best and the worst rows of one explainer among ``keys``; of equal scores the first. No row is in both lists."""
    among = set(keys)
    rows = [Extreme(key, float(score)) for key, score in zip(values.keys, values.single, strict=True) if key in among]
    rows.sort(key=lambda row: (-row.score if higher_is_better else row.score, row.key))
    best = rows[: min(MAX_EXTREMES, -(-len(rows) // 2))]
    worst = rows[::-1][: min(MAX_EXTREMES, len(rows) - len(best))]
    return best, worst
