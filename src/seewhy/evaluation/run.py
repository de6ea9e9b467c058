"""A finished run folder, and how to read it."""

from collections.abc import Container
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from PIL import Image

from seewhy.errors import SeewhyError, cause
from seewhy.evaluation.columns import CURVES_TABLE, IMAGES_TABLE, SCORES_TABLE, Table
from seewhy.evaluation.manifest import MANIFEST, Manifest, read_manifest
from seewhy.evaluation.schema import checked_table
from seewhy.explanation.map_store import read_maps_by_row
from seewhy.files import did_you_mean_file, write_atomically

SCORES, CURVES, IMAGES = "scores.parquet", "curves.parquet", "images.parquet"
REMEDY = "give its seewhy evaluate command again, it is made anew"


@dataclass(frozen=True)
class Run:
    """A finished run folder.

    ========================  =========================================================================================
    manifest.json             what was asked and how: see docs/reference/run-folder.md
    scores.parquet            a line for each number: index, image_id, explainer, explained, scored, metric, value
    curves.parquet            index, image_id, explainer, explained, metric, values; the places are in the manifest
    images.parquet            index, image_id, predicted, probability, labels, correct
    pictures/INDEX.jpg        ``pictures`` images, spread evenly, as the network saw them
    pictures/EXPLAINER/*.npz  their maps, raw, at most 112 pixels wide: index, explained, maps
    maps/METHOD-DIGEST/*.npz  with --keep-maps: all maps, as they are: index, explained, maps
    units/                    what was measured, from which the tables are made
    ========================  =========================================================================================
    """

    folder: Path
    manifest: Manifest

    @cached_property
    def scores(self) -> pl.DataFrame:
        return self._described(SCORES, read_parquet(self.folder / SCORES, SCORES_TABLE))

    @cached_property
    def curves(self) -> pl.DataFrame:
        return self._described(CURVES, read_parquet(self.folder / CURVES, CURVES_TABLE))

    @cached_property
    def images(self) -> pl.DataFrame:
        return read_parquet(self.folder / IMAGES, IMAGES_TABLE)

    def _described(self, name: str, frame: pl.DataFrame) -> pl.DataFrame:
        """The table ``name``; SeewhyError where it has an explainer or a metric that the manifest does not describe."""
        m = self.manifest
        strange = [explainer for explainer in frame["explainer"].unique() if explainer not in m.explainers]
        strange += [metric for metric in frame["metric"].unique() if metric_of(metric, m.metrics) not in m.metrics]
        if strange:
            raise SeewhyError(f"{self.folder / name} has {strange[0]!r}, which {MANIFEST} does not describe: {REMEDY}")
        return frame

    def has_picture(self, index: int) -> bool:
        return (self.folder / "pictures" / f"{index:06d}.jpg").is_file()

    def picture(self, index: int) -> Image.Image:
        """The image at this place of the dataset, as the network saw it; SeewhyError if its file is damaged."""
        file = self.folder / "pictures" / f"{index:06d}.jpg"
        try:
            with Image.open(file, formats=["JPEG"]) as opened:
                return opened.convert("RGB")
        except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:  # of broken files
            raise SeewhyError(f"{file} cannot be read ({cause(error)}): delete it") from None

    def maps(self, explainer: str) -> dict[tuple[int, int], NDArray[np.float32]]:
        """(h, w) small raw maps by place in the dataset and class explained."""
        found: dict[tuple[int, int], NDArray[np.float32]] = {}
        for file in sorted((self.folder / "pictures" / explainer).glob("*.npz")):
            found |= {row: values.astype(np.float32) for row, values in read_maps_by_row(file).items()}
        return found


def open_run(folder: str | Path) -> Run:
    """The run in ``folder``; SeewhyError if it is none, is not finished, or is of another version."""
    folder = Path(folder)
    manifest = read_manifest(folder)
    if manifest is None:
        what = f"{folder} is no run folder, it has no {MANIFEST}" if folder.exists() else f"no run folder {folder}"
        inside = [str(file.parent) for file in sorted(folder.glob(f"*/{MANIFEST}"))]
        hint = f"; give {' '.join(inside)}" if inside else did_you_mean_file(folder, folders=True)
        raise SeewhyError(f"{what}: seewhy evaluate --out writes one{hint}")
    if not manifest.complete:
        raise SeewhyError(f"the run in {folder} is not finished: give its seewhy evaluate command again, it goes on there")
    return Run(folder, manifest)


def metric_of(column: str, metrics: Container[str]) -> str:
    """The metric to which a name in the column "metric" belongs: "class_masks[3]" belongs to "class_masks"."""
    return column if column in metrics else column.rpartition("[")[0]


def read_parquet(file: Path, table: Table, remedy: str = REMEDY) -> pl.DataFrame:
    """The columns of ``table`` in ``file``; SeewhyError, which ends with ``remedy``, if it is damaged or of another form."""
    try:
        return checked_table(pl.read_parquet(file, glob=False), table)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise SeewhyError(f"{file} cannot be read ({cause(error)}): {remedy}") from None
    except ValueError as error:
        raise SeewhyError(f"{file} is damaged ({error}): {remedy}") from None


def write_parquet(file: Path, frame: pl.DataFrame) -> None:
    """Write a table in one step."""
    write_atomically(file, frame.write_parquet)
