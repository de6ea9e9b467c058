"""The pictures of a run folder for the report: images as the network saw them, and small maps of them."""

from collections.abc import Container
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from seewhy.errors import SeewhyError
from seewhy.evaluation.batch import Rows
from seewhy.explanation.map_store import read_maps_by_row, save_maps
from seewhy.files import safely, write_atomically

MAX_SIDE = 112
"""Widest side of a small map, in pixels."""


class Pictures:
    """The folder ``pictures/`` of a run folder: ``INDEX.jpg``, and ``EXPLAINER/BATCH.npz`` with small maps.

    Args:
        folder: the run folder.
        shown: the images that get a picture, by their places in the dataset.
    """

    def __init__(self, folder: Path, shown: Container[int]) -> None:
        self.folder, self.shown = folder, shown
        self._written: set[int] = set()

    def add(self, batch: int, explainer: str, rows: Rows, maps: Tensor) -> None:
        """Pictures of the rows that are shown, and of their maps (r, h, w)."""
        mine = [row for row, index in enumerate(rows.index) if index in self.shown]
        if not mine:
            return
        rows, maps = rows.select(mine), maps[mine]
        with safely(self.folder):
            for index, image in zip(rows.index, rows.images, strict=True):
                if index not in self._written:
                    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
                    shown = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0])
                    file = self.folder / "pictures" / f"{index:06d}.jpg"
                    write_atomically(file, partial(shown.save, format="JPEG", quality=90))
                    self._written.add(index)
            file = self.folder / "pictures" / explainer / f"{batch:06d}.npz"
            found = dict(zip(zip(rows.index, rows.explained.tolist(), strict=True), small_maps(maps).numpy(), strict=True))
            with suppress(SeewhyError):  # there is no file yet, or it is damaged
                found = read_maps_by_row(file) | found  # an earlier metric may have been asked for more images
            found = dict(sorted(found.items()))
            index, explained = np.array(list(found)).T
            save_maps(file, index=index, explained=explained, maps=np.stack(list(found.values())))


def small_maps(maps: Tensor) -> Tensor:
    """(r, h, w) half precision: averaged down to ``MAX_SIDE``, divided by the largest absolute value, signs kept."""
    maps = maps.detach().float()
    scale = min(1.0, MAX_SIDE / max(maps.shape[-2:]))
    size = [max(1, round(side * scale)) for side in maps.shape[-2:]]
    small = F.interpolate(maps[:, None], size=size, mode="area")[:, 0]
    top = small.abs().amax((1, 2), keepdim=True)
    return (small / torch.where(top > 0, top, 1)).half().cpu()
