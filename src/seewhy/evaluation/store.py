"""A running evaluation on disk: what is done is never done again, and what is there is never spoiled.

While it runs, each process appends one line of JSON for each batch and explainer to a file of its own in ``progress/``. At
the end the lines become the tables of the run folder, in an order that depends on neither batches nor processes nor
interruptions.
"""

import json
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from errno import ENOSPC
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from seewhy.errors import SeewhyError
from seewhy.evaluation.manifest import all_done, joined_manifest
from seewhy.evaluation.question import Asked, Facts, Failure
from seewhy.evaluation.run import CURVES, IMAGES, SCORES, read_manifest, read_maps, read_parquet
from seewhy.evaluation.tables import Record, Tables, tables, told
from seewhy.evaluation.unit import Unit
from seewhy.files import write_atomically, write_json

SMALL = 112
"""Widest side, in pixels, of the maps that are kept for the report."""


class RunFolder:
    """The run folder while one process evaluates into it; see ``seewhy.evaluation.run.Run`` for the finished one.

    The first process (rank 0) opens it before the others and finishes it after them. Nothing is left of a folder into
    which no record was written.

    Args:
        folder: where; the folders above it are made too.
        asked: what makes numbers comparable: a folder of another question is refused.
        explainers, metrics: what the manifest says of each: its options, and what the report needs.
        rank: number of this process.
        files_but_for: a digest of the files of all images but some: pictures that could not be read may be mended.

    Raises:
        SeewhyError: another process has the folder; it belongs to another question or version; it cannot be written.
    """

    def __init__(
        self,
        folder: str | Path,
        asked: Mapping[str, Any],
        explainers: Mapping[str, Mapping[str, Any]],
        metrics: Mapping[str, Mapping[str, Any]],
        rank: int = 0,
        files_but_for: Callable[[Collection[int]], str | None] = lambda _: None,
    ) -> None:
        self.folder, self.rank, self._files_but_for = Path(folder), rank, files_but_for
        self._asking = {"explainers": list(explainers), "metrics": list(metrics)}
        progress = self.folder / "progress"
        self._lock, self._lines = FileLock(progress / f"rank-{rank}.lock"), progress / f"rank-{rank}.jsonl"
        self._made = [p for p in (self.folder, *self.folder.absolute().parents) if not p.exists()]
        with self._safely():
            progress.mkdir(parents=True, exist_ok=True)
        self._written = True
        self._kept = [p for p in (self.folder / "maps", self.folder / "pictures") if not p.exists()]
        try:
            with self._safely():
                self._take()
            old = read_manifest(self.folder)
            self._written, self._fresh, self._begun = old is not None, old is None, False
            if old is not None and old["complete"] and rank == 0:  # killed after the tables: they have these lines
                for file in progress.glob("*.jsonl"):
                    file.unlink()
            if old is not None and self._only_mended(old, asked.get("files")):
                old["asked"]["files"] = asked["files"]
            self.manifest = joined_manifest(self.folder, old, asked, explainers, metrics, self._asking)
            with self._safely():
                _cut_torn_line(self._lines)
            self._scan()
        except BaseException:
            self.close()
            raise

    def _take(self) -> None:
        """One evaluation at a time, also where the first process of another is gone and its others are not."""
        try:
            self._lock.acquire(timeout=0)
            others = sorted(self._lines.parent.glob("*.lock")) if self.rank == 0 else []
            for other in others:
                if other != Path(self._lock.lock_file):
                    with FileLock(other, timeout=0):
                        pass
        except Timeout:
            raise SeewhyError(f"another process evaluates into {self.folder}: wait for it, or give another folder") from None

    def _scan(self) -> None:
        """Which metrics each batch and explainer has, for which images, and of which batches the images are known."""
        self.done: dict[tuple[int, str], dict[str, frozenset[int]]] = {}
        self.known: set[int] = set()
        self.unread = {failure["index"] for failure in self.manifest["failures"] if not failure["explainer"]}
        for batch, content in self.records():
            if isinstance(content, Facts):
                self.known.add(batch)
                self.unread.update(failure.index for failure in content.failures)
            else:
                done, rows = self.done.setdefault((batch, content.explainer), {}), frozenset(content.index)
                done.update({metric: rows | done.get(metric, rows) for metric in content.values})
        self._half = {batch for batch, _ in self.done} - self.known

    def _only_mended(self, old: Mapping[str, Any], files: object) -> bool:
        """Have the files of images that could not be read changed, and no others?"""
        unread = {failure["index"] for failure in old.get("failures", ()) if not failure["explainer"]}
        if not unread or old["asked"].get("files") == files:
            return False
        return old.get("files read") is not None and old["files read"] == self._files_but_for(unread)

    def has(self, batch: int, explainer: str) -> set[str]:
        """The metrics that need not be asked again."""
        return {*self.manifest["done"].get(explainer, ()), *self.done.get((batch, explainer), ())}

    def unsettled(self, batch: int, images: Collection[int]) -> bool:
        """Are there images that could not be read, and perhaps can be now? Or was the line deleted that knows of them?"""
        return batch in self._half or not self.unread.isdisjoint(images)

    def knows(self, batch: int) -> bool:
        """Are the facts of its images recorded, by this evaluation?"""
        return batch in self.known

    def append(self, record: Record) -> None:
        """One line; a process that is killed leaves it whole or cut off, and then it does not count."""
        content = record.content
        line = json.dumps([record.batch, type(content).__name__, vars(content)], default=vars) + "\n"
        with self._safely():
            self._begin()
            with self._lines.open("ab") as file:
                file.write(line.encode())

    def _begin(self) -> None:
        """Before anything else is written it is said whose folder this is."""
        if not self._begun:
            write_json(self.folder / "manifest.json", self.manifest)
            self._written = self._begun = True

    def records(self) -> Iterator[Record]:
        """What all processes have recorded; a line that was cut off by a kill is not there."""
        for file in sorted(self._lines.parent.glob("*.jsonl")):
            with file.open("rb") as lines:
                for number, line in enumerate(lines, 1):
                    if line.endswith(b"\n"):
                        try:
                            yield _record(line)
                        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                            what = f"{file}, line {number}, is damaged ({type(error).__name__})"
                            raise SeewhyError(f"{what}: delete the line, its work is done again") from None

    def kept(self, batch: int, explainer: str, asked: Asked) -> Tensor | None:
        """(r, h, w) the maps that were kept of exactly these images and classes."""
        file = self.folder / "maps" / explainer / f"{batch:06d}.npz"
        if not file.is_file():
            return None
        found = read_maps(file)
        place = {key: i for i, key in enumerate(zip(found["index"].tolist(), found["explained"].tolist(), strict=True))}
        rows = [place.get(key, -1) for key in zip(asked.index, asked.explained.tolist(), strict=True)]
        return None if -1 in rows else torch.from_numpy(found["maps"][rows])

    def keep(self, batch: int, explainer: str, asked: Asked, maps: Tensor) -> None:
        """All maps of a unit as they are."""
        file = self.folder / "maps" / explainer / f"{batch:06d}.npz"
        self._save_maps(file, asked.index, asked.explained.cpu().numpy(), maps.detach().cpu().numpy())

    def picture(self, batch: int, explainer: str, asked: Asked, maps: Tensor) -> None:
        """The images of a unit and its maps for the report: small, and up to a factor for each map."""
        with self._safely():
            self._begin()
            (self.folder / "pictures").mkdir(parents=True, exist_ok=True)
            for index, image in zip(asked.index, asked.images, strict=True):
                file = self.folder / "pictures" / f"{index:06d}.jpg"
                if not file.exists():
                    pixels = (image.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
                    shown = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0])
                    write_atomically(file, partial(shown.save, format="JPEG", quality=90))
        maps = maps.detach().float()
        scale = min(1.0, SMALL / max(maps.shape[-2:]))
        size = [max(1, round(side * scale)) for side in maps.shape[-2:]]
        small = F.interpolate(maps[:, None], size=size, mode="area")[:, 0]
        top = small.abs().amax((1, 2), keepdim=True)
        small = small / torch.where(top > 0, top, 1)
        file = self.folder / "pictures" / explainer / f"{batch:06d}.npz"
        places, explained = np.array(asked.index), asked.explained.cpu().numpy()
        self._save_maps(file, *_with_others(file, places, explained, small.half().cpu().numpy()))

    def _save_maps(self, file: Path, index: Any, explained: Any, maps: Any) -> None:
        def write(part: Path) -> None:
            with part.open("wb") as opened:
                np.savez_compressed(opened, index=index, explained=explained, maps=maps)

        with self._safely():
            self._begin()
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(file, write)

    def finish(self, details: Mapping[str, Any]) -> Tables:
        """All records, and those of earlier evaluations, as the tables of the folder; all that was asked is done now."""
        explainers, metrics = list(self.manifest["explainers"]), list(self.manifest["metrics"])
        found = tables(self.records(), explainers, metrics, self._earlier(), self._all_again())
        if not len(found.scores):
            self._written = False
            for made in self._kept:
                shutil.rmtree(made, ignore_errors=True)
            return found
        self.manifest = {
            **{key: value for key, value in self.manifest.items() if key != "asking"},
            **details,
            "history": [*self.manifest["history"], dict(details)],
            "complete": True,
            "done": all_done(self.manifest["done"], self._asking),
            "rows": len(found.scores),
            "failures": [vars(failure) for failure in found.failures],
            "files read": self._files_but_for({failure.index for failure in found.failures if not failure.explainer}),
            "curves": found.places,
            "seconds": found.seconds,
        }
        with self._safely():
            for name, frame in ((SCORES, found.scores), (CURVES, found.curves), (IMAGES, found.images)):
                write_atomically(self.folder / name, frame.write_parquet)
            write_json(self.folder / "manifest.json", self.manifest)
            shutil.rmtree(self._lines.parent, ignore_errors=True)
        return found

    def _all_again(self) -> bool:
        """Is all asked for that was done before?"""
        explainers, metrics = ({*self._asking[kind]} for kind in ("explainers", "metrics"))
        return all(e in explainers and metrics.issuperset(done) for e, done in self.manifest["done"].items())

    def _earlier(self) -> Tables | None:
        if not self.manifest["done"]:
            return None
        scores, curves, images = (read_parquet(self.folder / name) for name in (SCORES, CURVES, IMAGES))
        return Tables(scores, curves, images, *told(self.manifest))

    @contextmanager
    def _safely(self) -> Iterator[None]:
        """What the file system refuses is said in one line."""
        try:
            yield
        except OSError as error:
            why = error.strerror or str(error)
            kept = "; what was done is kept: mend that and give the same command again" if error.errno == ENOSPC else ""
            raise SeewhyError(f"cannot write to {self.folder}: {why}{kept}") from None

    def close(self) -> None:
        """Let others have the folder; if nothing was written, it is as if it had never been asked for."""
        if not self._lock.is_locked:
            return
        self._lock.release()
        if self.rank == 0 and not (self._written and any(self._lines.parent.glob("*.jsonl"))):
            shutil.rmtree(self._lines.parent, ignore_errors=True)
        if self.rank == 0 and not self._written:
            if self._fresh:
                (self.folder / "manifest.json").unlink(missing_ok=True)
            for made in self._made:
                with suppress(OSError):
                    made.rmdir()

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _with_others(file: Path, index: Any, explained: Any, maps: Any) -> tuple[Any, Any, Any]:
    """Index, class and map of each row, and of those that the file has of other images: another metric wanted more."""
    try:
        there = read_maps(file)
    except SeewhyError:  # none yet, or a damaged one
        return index, explained, maps
    own = {*zip(index.tolist(), explained.tolist(), strict=True)}
    keys = zip(there["index"].tolist(), there["explained"].tolist(), strict=True)
    others = [i for i, key in enumerate(keys) if key not in own]
    if not others or there["maps"].shape[1:] != maps.shape[1:]:
        return index, explained, maps
    joined = [
        np.concatenate([a, there[name][others]]) for a, name in ((index, "index"), (explained, "explained"), (maps, "maps"))
    ]
    order = np.lexsort((joined[1], joined[0]))
    return joined[0][order], joined[1][order], joined[2][order]


def _cut_torn_line(file: Path) -> None:
    """A line that a kill cut off would spoil the next one."""
    if file.exists():
        content = file.read_bytes()
        if not content.endswith(b"\n"):
            os.truncate(file, content.rfind(b"\n") + 1)


def _record(line: bytes) -> Record:
    batch, kind, content = json.loads(line)
    content["failures"] = [Failure(**failure) for failure in content["failures"]]
    if kind == "Facts":
        return Record(batch, Facts(**content))
    content["curves"] = {name: tuple(curve) for name, curve in content["curves"].items()}
    return Record(batch, Unit(**content))
