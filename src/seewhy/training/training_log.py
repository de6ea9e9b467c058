"""The numbers of a training while it runs: log.csv, and TensorBoard's files where that is installed."""

import csv
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import Any

from seewhy.errors import SeewhyError
from seewhy.files import add_text, write_text

LOG = "log.csv"
BEFORE = ("step", "epoch", "images", "loss")
AFTER = ("learning_rate", "gradient", "mask_mean", "seconds")
TRAIN, HELD_OUT = "train", "held_out"


class TrainingLog:
    """``log.csv`` of a run folder: a line for each step and each validation.

    ========================  =========================================================================================
    step                      steps that are done
    epoch                     passes over the images that are done, with a fraction
    images                    "train": of the step, before it; "held_out": of a validation, after it
    loss                      the sum of the terms
    a column for each term    weighted
    learning_rate, gradient   of the step; the norm of the gradient before it is clipped
    mask_mean                 mean of all mask values
    seconds                   of work until here, those of earlier commands included
    a column for each measure of the monitor, where a method has one (see ``monitor.MEASURES``)
    ========================  =========================================================================================

    Args:
        folder: the run folder.
        tensorboard: also write the files of TensorBoard, into ``tensorboard/``.
        measures: names of more columns.
    """

    def __init__(self, folder: Path, tensorboard: bool, measures: Sequence[str] = ()) -> None:
        self._after = (*AFTER, *measures)
        self.file, self._terms, self._held = folder / LOG, list[str](), list[str]()
        self._tensorboard: Path | None = folder / "tensorboard" if tensorboard else None
        self._writer: Any = None

    def begin(self, step: int) -> None:
        """Go on after this step: what was logged after it is forgotten, and so is an incomplete line."""
        if self._tensorboard is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(self._tensorboard), purge_step=step + 1 if step else 0)
        if not self.file.is_file():
            return
        lines = self.file.read_text(encoding="utf-8").splitlines(keepends=True)
        rows = list(csv.DictReader(lines))
        whole = [line for line, row in zip(lines[1:], rows, strict=False) if line.endswith("\n") and _step(row) <= step]
        if step == 0 or not whole:
            write_text(self.file, "")
            return
        write_text(self.file, "".join([lines[0], *whole]))
        self._terms = next(csv.reader(lines[:1]))[len(BEFORE) : -len(self._after)]

    def add(self, images: str, step: int, terms: Mapping[str, float], **numbers: float) -> None:
        """A line; ``numbers`` are those of the other columns that are known."""
        loss = sum(terms.values())
        if not self._terms:
            self._terms = list(terms)
            self._held.append(_line([*BEFORE, *terms, *self._after]))
        row = {"step": step, "images": images, "loss": loss, **numbers, **terms}
        self._held.append(_line([_cell(row.get(name)) for name in (*BEFORE, *self._terms, *self._after)]))
        if self._writer is not None:
            for name, value in {"loss": loss, **terms, **numbers}.items():
                if name not in ("epoch", "seconds"):
                    self._writer.add_scalar(f"{images}/{name}", value, step)

    def flush(self) -> None:
        """Write what is held."""
        if self._held:
            add_text(self.file, "".join(self._held))
            self._held.clear()
        if self._writer is not None:
            self._writer.flush()

    def picture(self, step: int, picture: Any) -> None:
        """A picture for TensorBoard, as an array (h, w, 3)."""
        if self._writer is not None:
            self._writer.add_image("held_out/masks", picture, step, dataformats="HWC")

    def close(self) -> None:
        self.flush()
        if self._writer is not None:
            self._writer.close()


def must_have_tensorboard(tensorboard: bool | None) -> bool:
    """Are TensorBoard's files written? SeewhyError where they are asked for and it is not installed."""
    installed = find_spec("tensorboard") is not None
    if tensorboard and not installed:
        raise SeewhyError('TensorBoard is not installed: pip install "seewhy[tensorboard]", or leave --tensorboard out')
    return installed if tensorboard is None else tensorboard


def _line(cells: Sequence[object]) -> str:
    content = StringIO()
    csv.writer(content, lineterminator="\n").writerow(cells)
    return content.getvalue()


def _cell(value: object) -> object:
    return f"{value:.7g}" if isinstance(value, float) else "" if value is None else value


def _step(row: Mapping[str, str]) -> int:
    return int(row["step"]) if (row.get("step") or "").isdecimal() else -1
