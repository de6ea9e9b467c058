"""The rows that are explained: an image of a batch and a class."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from seewhy.types import Classes, Images, Logits, Targets


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
