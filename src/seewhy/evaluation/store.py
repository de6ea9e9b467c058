"""The units of an evaluation, in a run folder or in memory: written once, never changed."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

import polars as pl
from filelock import FileLock, Timeout

from seewhy.errors import SeewhyError
from seewhy.evaluation.columns import FACTS_TABLE, UNIT_TABLE
from seewhy.evaluation.manifest import MANIFEST, Manifest
from seewhy.evaluation.run import CURVES, IMAGES, SCORES, read_parquet, write_parquet
from seewhy.evaluation.tables import Tables
from seewhy.files import safely

LOCK_SECONDS = 600
"""So long a command waits for another one that writes the manifest or the tables of the same folder."""


class Store:
    """What has been measured: for each batch the facts of its images, and units.

    A unit is a batch, an explainer and the metrics that one call asked for. The key of a batch is a digest of its images;
    the name of a unit says what it answers. A unit that is written twice is the same unit, so that several processes may
    write into one folder without knowing of each other.

    Args:
        units: frames by "BATCH/NAME": a dict, or the files of a run folder.
        begin: called once, before anything is written.
    """

    def __init__(self, units: "dict[str, pl.DataFrame] | UnitFiles", begin: Callable[[], None] = lambda: None) -> None:
        self._units, self._begin = units, cache(begin)
        self._held: dict[str, pl.DataFrame] = {}
        self._names: dict[str, set[str]] = defaultdict(set)
        for key in units:
            self._names[key.partition("/")[0]].add(key.partition("/")[2])
        self.has_units = any("." in name for names in self._names.values() for name in names)

    def has(self, batch: str, name: str) -> bool:
        return name in self._names.get(batch, ())

    def facts(self, batch: str) -> pl.DataFrame | None:
        """What is known of the images of a batch."""
        return self._read(batch, "facts") if self.has(batch, "facts") else None

    def units(self, batch: str, explainers: Iterable[str]) -> list[pl.DataFrame]:
        """The units of a batch by some explainers."""
        names = sorted(name for name in self._names.get(batch, ()) if name.rpartition(".")[0] in {*explainers})
        return [self._read(batch, name) for name in names]

    def begins(self, unit: pl.DataFrame) -> bool:
        """Is there something to write? If so, the folder says whose it is from now on.

        Before the first number nothing is written, so that nothing is left of an evaluation that cannot measure anything.
        """
        self.has_units |= unit["value"].is_not_null().any()
        if self.has_units:
            self._begin()
        return self.has_units

    def hold(self, batch: str, name: str, frame: pl.DataFrame) -> None:
        """Take facts or a unit, to be written with the next ``flush``."""
        self._held[f"{batch}/{name}"] = frame
        self._names[batch].add(name)

    def flush(self) -> None:
        """Write what is held."""
        if self._held:
            self._begin()
        for key in list(self._held):
            self._units[key] = self._held.pop(key)

    def _read(self, batch: str, name: str) -> pl.DataFrame:
        key = f"{batch}/{name}"
        return self._held[key] if key in self._held else self._units[key]


class UnitFiles:
    """Frames as files ``units/BATCH/NAME.parquet`` of a run folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getitem__(self, key: str) -> pl.DataFrame:
        remedy, explainer = "delete it, its work is done again", key.partition("/")[2].rpartition(".")[0]
        found = read_parquet(self._file(key), UNIT_TABLE if explainer else FACTS_TABLE, remedy)
        if explainer and (found["explainer"] != explainer).any():
            raise SeewhyError(f"{self._file(key)} is damaged (it is of another explainer): {remedy}")
        return found

    def __setitem__(self, key: str, frame: pl.DataFrame) -> None:
        with safely(self.folder):
            write_parquet(self._file(key), frame)

    def __iter__(self) -> Iterator[str]:
        for file in (self.folder / "units").glob("*/*.parquet"):
            yield f"{file.parent.name}/{file.stem}"

    def _file(self, key: str) -> Path:
        return self.folder / "units" / f"{key}.parquet"


def begin(folder: Path, manifest: Manifest, first: Callable[[int], str] | None = None) -> None:
    """Say in the folder what is being asked: it is not complete from now on. ``first``: see ``Manifest.joined``."""
    with _lock(folder):
        manifest.joined(folder, first).write(folder)


def finish(
    folder: Path, manifest: Manifest, tables: Callable[[Manifest], Tables], first: Callable[[int], str] | None = None
) -> Tables:  # fmt: skip
    """Write the tables of the folder, and its manifest last: it is complete.

    Args:
        folder: the run folder.
        manifest: of this command.
        tables: makes the tables that belong to a manifest.
        first: see ``Manifest.joined``.
    """
    with _lock(folder):
        now = manifest.joined(folder, first)
        found = tables(now)
        for name, frame in ((SCORES, found.scores), (CURVES, found.curves), (IMAGES, found.images)):
            write_parquet(folder / name, frame)
        command = {"versions": now.versions, "hardware": now.hardware, **now.details}
        command |= {"wall_seconds": now.wall_seconds, "processes": now.processes}
        replace(
            now,
            complete=True,
            rows=len(found.scores),
            failures=found.failures,
            curves=found.places,
            seconds=found.seconds,
            history=[*now.history, command],
        ).write(folder)
    return found


def forget(folder: Path) -> None:
    """Remove what shards have said of their images, where not one number could be measured in any of them."""
    units = folder / "units"
    with safely(folder):
        if not units.is_dir():
            return
        for facts in units.glob("*/facts.parquet"):
            facts.unlink(missing_ok=True)
        (units / ".lock").unlink(missing_ok=True)
        (folder / MANIFEST).unlink(missing_ok=True)
        with suppress(OSError):  # another command has just measured something: it writes the manifest anew
            for below in (*units.iterdir(), units, folder):
                below.rmdir()


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """One process at a time writes the manifest and the tables."""
    with safely(folder):
        (folder / "units").mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(folder / "units" / ".lock", timeout=LOCK_SECONDS):
                yield
        except Timeout:
            raise SeewhyError(f"another process has locked {folder}: wait for it, or give another folder") from None
