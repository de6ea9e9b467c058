"""The pieces of a unit of a slow method: each is measured and written by itself, so that a kill costs no more than one."""

import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import polars as pl
import torch
from torch import Tensor

from seewhy.errors import SeewhyError
from seewhy.evaluation.columns import UNIT_TABLE
from seewhy.evaluation.run import read_parquet, write_parquet
from seewhy.explanation.map_store import read_maps, save_maps
from seewhy.files import safely

FOLDER = ".pieces"
"""In the folder of a batch. It is there while a unit is being measured."""
ROWS_AT_A_TIME = {"perturbation": 1, "optimized": 4}
"""Rows of a piece, by the family of the method, on a CPU. One image fills the passes of a method that removes parts, so
that images together are no faster; a search over a mask gains little from more than a few images. The numbers are fixed:
a piece must be the same whoever measures it, and on whatever machine."""


class Piece(NamedTuple):
    """Lines of a unit, see ``UNIT_SCHEMA``, and the maps (r, h, w) of its rows; None if a map failed, or none is kept."""

    lines: pl.DataFrame
    maps: Tensor | None


def places_of_pieces(family: str, n: int, device: torch.device) -> list[list[int]]:
    """The places of n rows, cut into the pieces of a method of this family. Other methods, and other devices, have one."""
    size = ROWS_AT_A_TIME.get(family, n) if device.type == "cpu" else n
    return [list(range(start, min(start + size, n))) for start in range(0, n, max(size, 1))]


@dataclass(frozen=True)
class PieceFiles:
    """The pieces of one unit in a run folder.

    folder  of the run
    batch   the key of the batch
    unit    the name of the unit
    """

    folder: Path
    batch: str
    unit: str

    def find(self, place: int, with_maps: bool) -> Piece | None:
        """A piece that an interrupted command has written; None where there is none, or it is damaged."""
        with suppress(SeewhyError):
            if self._file(place).is_file():
                lines = read_parquet(self._file(place), UNIT_TABLE, "its work is done again")
                if not with_maps:
                    return Piece(lines, None)
                return Piece(lines, torch.from_numpy(read_maps(self._file(place, "npz"))["maps"]))
        return None

    def keep(self, place: int, piece: Piece) -> None:
        """Write a piece; its maps first, if it has any: without them it is not found."""
        with safely(self.folder):
            if piece.maps is not None:
                save_maps(self._file(place, "npz"), maps=piece.maps.detach().cpu().numpy())
            write_parquet(self._file(place), piece.lines)

    def forget(self) -> None:
        """Remove the pieces of the method in this batch: its unit is written whole by now."""
        pieces = self.folder / "units" / self.batch / FOLDER
        method = self.unit.rpartition(".")[0]
        for found in list(pieces.iterdir()) if pieces.is_dir() else []:
            if found.name.rpartition(".")[0] == method:
                shutil.rmtree(found, ignore_errors=True)
        with suppress(OSError):  # another method has pieces there
            pieces.rmdir()

    def _file(self, place: int, kind: str = "parquet") -> Path:
        return self.folder / "units" / self.batch / FOLDER / self.unit / f"{place:04d}.{kind}"


def whole(pieces: Sequence[Piece]) -> Piece:
    """The unit of some pieces. It has maps if all of them have."""
    maps = [piece.maps for piece in pieces if piece.maps is not None]
    return Piece(pl.concat([piece.lines for piece in pieces]), torch.cat(maps) if len(maps) == len(pieces) else None)
