"""The pictures of a run folder for the report: images as the network saw them, and small maps of them."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from seewhy.errors import SeewhyError
from seewhy.evaluation.batch import Rows
from seewhy.evaluation.store import safely
from seewhy.explanation.map_store import read_maps, save_maps
from seewhy.files import write_atomically

MAX_SIDE = 112
"""Widest side of a small map, in pixels."""


class Pictures:
    """The folder ``pictures/`` of a run folder: ``INDEX.jpg``, and ``EXPLAINER/BATCH.npz`` with small maps."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._written: set[int] = set()

    def add(self, batch: int, explainer: str, rows: Rows, maps: Tensor) -> None:
        """The images of some rows, and their maps (r, h, w): small, and each divided by its largest absolute value."""
        with safely(self.folder):
            (self.folder / "pictures" / explainer).mkdir(parents=True, exist_ok=True)
            for index, image in zip(rows.index, rows.images, strict=True):
                if index not in self._written:
                    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
                    shown = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0])
                    file = self.folder / "pictures" / f"{index:06d}.jpg"
                    write_atomically(file, partial(shown.save, format="JPEG", quality=90))
                    self._written.add(index)
            file = self.folder / "pictures" / explainer / f"{batch:06d}.npz"
            own = {
                "index": np.array(rows.index),
                "explained": rows.explained.cpu().numpy(),
                "maps": small_maps(maps).numpy(),
            }
            save_maps(file, **_with_others(file, own))


def small_maps(maps: Tensor) -> Tensor:
    """(r, h, w) half precision: averaged down to ``MAX_SIDE``, divided by the largest absolute value, signs kept."""
    maps = maps.detach().float()
    scale = min(1.0, MAX_SIDE / max(maps.shape[-2:]))
    size = [max(1, round(side * scale)) for side in maps.shape[-2:]]
    small = F.interpolate(maps[:, None], size=size, mode="area")[:, 0]
    top = small.abs().amax((1, 2), keepdim=True)
    return (small / torch.where(top > 0, top, 1)).half().cpu()


def _with_others(file: Path, own: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Rows, and other rows that the file has: an earlier metric was asked for more images."""
    try:
        there = read_maps(file)
    except SeewhyError:  # there is none yet, or it is damaged
        return own
    keys = {*zip(own["index"].tolist(), own["explained"].tolist(), strict=True)}
    rows = zip(there["index"].tolist(), there["explained"].tolist(), strict=True)
    others = [i for i, row in enumerate(rows) if row not in keys]
    if not others or there["maps"].shape[1:] != own["maps"].shape[1:]:
        return own
    joined = {name: np.concatenate([values, there[name][others]]) for name, values in own.items()}
    order = np.lexsort((joined["explained"], joined["index"]))
    return {name: values[order] for name, values in joined.items()}
