"""What is known of the images of a batch, and the rows that are explained: an image and a class."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import polars as pl
import torch
from torch import Tensor

from seewhy.describe import digest_of
from seewhy.evaluation.columns import FACTS_SCHEMA
from seewhy.evaluation.failures import Failure
from seewhy.types import Classes, Images, Logits, Targets


@dataclass(frozen=True)
class ImageFacts:
    """What the classifier says of the images of a batch, and the truth.

    index, image_id   their places in the dataset, and their names
    predicted         the likeliest class, and its probability
    labels            the classes that are present; none where they are unknown
    correct           is the prediction right? None where the labels are unknown
    explained         the classes that are explained; none for an image that the question leaves out
    failures          images that could not be read or classified, and are missing above
    """

    index: list[int]
    image_id: list[str]
    predicted: list[int]
    probability: list[float]
    labels: list[list[int]]
    correct: list[bool | None]
    explained: list[list[int]]
    failures: list[Failure]

    def frame(self) -> pl.DataFrame:
        """A line for each image; one that failed has an error."""
        known = pl.DataFrame({f.name: getattr(self, f.name) for f in fields(self) if f.name != "failures"})
        broken = pl.DataFrame([(f.index, f.image_id, f.error) for f in self.failures], _BROKEN, orient="row")
        frames = [frame for frame in (known, broken) if len(frame)]
        whole = pl.concat(frames, how="diagonal_relaxed") if frames else pl.DataFrame()
        missing = [pl.lit(None).alias(name) for name in FACTS_SCHEMA if name not in whole.columns]
        return whole.with_columns(missing).select(pl.col(name).cast(kind) for name, kind in FACTS_SCHEMA.items())

    @property
    def name(self) -> str:
        """The name of their file: images that fail are part of it, so that the facts of mended images are another file."""
        broken = [failure.index for failure in self.failures]
        return f"facts-{digest_of(str(broken).encode())}" if broken else "facts"


_BROKEN = {"index": pl.Int64, "image_id": pl.String, "error": pl.String}


@dataclass(frozen=True, eq=False)
class Rows:
    """Images of a batch, each with the class that is explained. An image with several labels has several rows.

    index, ids         the image of each row: its place in the dataset, its name
    explained, scored  (r,) classes
    logits             (r, k)
    labels, regions, boxes  as in ``Case``
    present            the classes whose maps are merged, if they are
    """

    index: list[int]
    ids: list[str]
    images: Images
    explained: Targets
    scored: Targets
    logits: Logits
    labels: Tensor | None
    regions: Tensor | None
    boxes: tuple[Tensor, ...] | None
    present: tuple[Tensor, ...] | None

    def select(self, rows: Sequence[int]) -> "Rows":
        """Some of the rows."""

        def pick(value: Any) -> Any:
            if isinstance(value, Tensor):
                return value[list(rows)]
            return None if value is None else type(value)(value[i] for i in rows)

        return Rows(*(pick(getattr(self, f.name)) for f in fields(self)))


def box_around(region: Tensor) -> Tensor:
    """(1, 4) left, top, right, bottom of the smallest box that holds the region; (0, 4) for an empty one."""
    rows, columns = region.any(1).nonzero()[:, 0], region.any(0).nonzero()[:, 0]
    if not len(rows):
        return torch.zeros(0, 4)
    ends = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    return torch.tensor([[float(end) for end in ends]])


def correct(logits: Logits, labels: Tensor) -> Tensor:
    """(n,) is the prediction right? Every class of a multi-label image at once, at a probability of one half."""
    return logits.argmax(1) == labels if labels.ndim == 1 else ((logits > 0) == (labels > 0)).all(1)


def present_classes(labels: Tensor, row: int) -> Classes:
    """(m,) the classes of one image."""
    return labels[row : row + 1] if labels.ndim == 1 else (labels[row] > 0).nonzero()[:, 0]
