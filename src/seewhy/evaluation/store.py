"""The units of an evaluation, in a run folder or in memory: written once, never changed."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import replace
from errno import ENOSPC
from io import BytesIO
from pathlib import Path

import polars as pl
from filelock import FileLock, Timeout

from seewhy.errors import SeewhyError
from seewhy.evaluation.manifest import Manifest, read_manifest
from seewhy.evaluation.run import CURVES, IMAGES, SCORES, read_parquet
from seewhy.evaluation.tables import Tables
from seewhy.files import write_atomically

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

    def __init__(self, units: MutableMapping[str, pl.DataFrame], begin: Callable[[], None] = lambda: None) -> None:
        self._units, self._begin, self._begun = units, begin, False
        self._held: dict[str, pl.DataFrame] = {}
        self.has_units = False
        self._names: dict[str, set[str]] = defaultdict(set)
        for key in units:
            batch, _, name = key.rpartition("/")
            self._names[batch].add(name)
            self.has_units |= "." in name

    def has(self, batch: str, name: str) -> bool:
        return name in self._names.get(batch, ())

    def facts(self, batch: str) -> pl.DataFrame | None:
        """What is known of the images of a batch; if some could not be read at first and later could, the later facts."""
        names = ["facts"] if self.has(batch, "facts") else self._facts_names(batch)
        return pl.concat([self._read(batch, name) for name in names]) if names else None

    def failed_facts(self, batch: str) -> pl.DataFrame:
        """All that was ever known of images that could not be read or classified; they have an error."""
        names = [name for name in self._facts_names(batch) if name != "facts"]
        frames = [self._read(batch, name).filter(pl.col("error").is_not_null()) for name in names]
        return pl.concat(frames) if frames else pl.DataFrame()

    def units(self, batch: str, explainers: Iterable[str]) -> dict[str, list[pl.DataFrame]]:
        """The units of a batch, by explainer."""
        names = self._names.get(batch, set())
        return {
            e: [self._read(batch, name) for name in sorted(names) if "." in name and name.rpartition(".")[0] == e]
            for e in explainers
        }

    def hold(self, batch: str, name: str, frame: pl.DataFrame) -> None:
        """Take facts, or a unit without a number. They are written with the next unit that has a number.

        So nothing is left of an evaluation in which nothing could be measured.
        """
        self._held[f"{batch}/{name}"] = frame
        self._names[batch].add(name)

    def write(self, batch: str, name: str, unit: pl.DataFrame) -> None:
        """Take a unit, and write it with all that is held."""
        self.hold(batch, name, unit)
        self.flush()

    def begin(self) -> None:
        """Say whose folder this is, before the first thing is written."""
        if not self._begun:
            self._begin()
            self._begun = self.has_units = True

    def flush(self) -> None:
        """Write what is held."""
        if self._held:
            self.begin()
        for key in list(self._held):
            self._units[key] = self._held[key]
            del self._held[key]

    def _facts_names(self, batch: str) -> list[str]:
        return sorted(name for name in self._names.get(batch, ()) if "." not in name)

    def _read(self, batch: str, name: str) -> pl.DataFrame:
        key = f"{batch}/{name}"
        return self._held[key] if key in self._held else self._units[key]


class UnitFiles(MutableMapping[str, pl.DataFrame]):
    """Frames as files ``units/BATCH/NAME.parquet`` of a run folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __getitem__(self, key: str) -> pl.DataFrame:
        return read_parquet(self._file(key), "delete it, its work is done again")

    def __setitem__(self, key: str, frame: pl.DataFrame) -> None:
        content = BytesIO()
        frame.write_parquet(content)
        with safely(self.folder):
            file = self._file(key)
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, lambda part: part.write_bytes(content.getvalue()))

    def __delitem__(self, key: str) -> None:
        self._file(key).unlink()

    def __iter__(self) -> Iterator[str]:
        units = self.folder / "units"
        for batch in units.iterdir() if units.is_dir() else ():
            if batch.is_dir():
                yield from (f"{batch.name}/{f.name[:-8]}" for f in batch.iterdir() if f.name.endswith(".parquet"))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _file(self, key: str) -> Path:
        return self.folder / "units" / f"{key}.parquet"


def begin(folder: Path, manifest: Manifest) -> None:
    """Say in the folder what is being asked: it is not complete from now on."""
    with _lock(folder):
        before = read_manifest(folder)
        now = manifest if before is None else before.extended(manifest, folder)
        replace(now, complete=False).write(folder)


def finish(folder: Path, manifest: Manifest, tables: Callable[[Manifest], Tables]) -> Tables:
    """Write the tables of the folder, and its manifest last: it is complete.

    Args:
        folder: the run folder.
        manifest: of this command.
        tables: makes the tables that belong to a manifest.
    """
    with _lock(folder):
        before = read_manifest(folder)
        now = manifest if before is None else before.extended(manifest, folder)
        found = tables(now)
        for name, frame in ((SCORES, found.scores), (CURVES, found.curves), (IMAGES, found.images)):
            content = BytesIO()
            frame.write_parquet(content)
            write_atomically(folder / name, lambda part: part.write_bytes(content.getvalue()))  # noqa: B023
        command = {"versions": manifest.versions, "hardware": manifest.hardware, **manifest.details}
        command |= {"wall_seconds": manifest.wall_seconds, "processes": manifest.processes}
        replace(
            now,
            complete=True,
            rows=len(found.scores),
            failures=found.failures,
            curves=found.places,
            seconds=found.seconds,
            versions=manifest.versions,
            hardware=manifest.hardware,
            wall_seconds=manifest.wall_seconds,
            processes=manifest.processes,
            details=manifest.details,
            history=[*now.history, command],
        ).write(folder)
    return found


@contextmanager
def safely(folder: Path) -> Iterator[None]:
    """An error of the file system becomes one line."""
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        kept = "; what was done is kept: mend that and give the same command again" if error.errno == ENOSPC else ""
        raise SeewhyError(f"cannot write to {folder}: {why}{kept}") from None


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
