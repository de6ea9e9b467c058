"""The run folder of a training: its question, how far it has come, and the checkpoint from which it goes on."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import Annotated, Any

import torch
from filelock import FileLock, Timeout
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from safetensors.torch import save as save_safetensors
from torch import Tensor, nn

from seewhy.describe import difference
from seewhy.errors import SeewhyError, cause
from seewhy.files import check_writable, remove_leftovers, safely, write_atomically, write_json
from seewhy.json_files import read_json, typed
from seewhy.options import AtLeast

TRAINING = "training.json"
TRAINING_SCHEMA = 1
BEST = "best"
NamedWeights = dict[str, Tensor]
Number = Annotated[int, AtLeast(0)]
WorkSeconds = Annotated[float, AtLeast(0)]


@dataclass
class TrainingState:
    """How far a training has come. Together with the two files of its checkpoint it is all that goes on depends on.

    step       steps that are done
    best       the lowest held-out loss; None before the first validation, and without held-out images
    best_step  after so many steps
    waited     validations since then
    dull       steps in a row whose masks show nothing (see ``alarms.dull_after``)
    seconds    of work
    held_out   the terms of the held-out loss at ``best_step``
    measures   of the monitor at ``best_step`` (see ``monitor.MEASURES``), where a method has one
    left_out   why an image could not be read, by its name
    ended      why the last command ended: "epochs" (all are done), "patience" (the held-out loss no longer fell), "steps",
               "time", "stop" (see ``fit``); "" while it runs, and of a command that was killed
    """

    step: Number = 0
    best: float | None = None
    best_step: Number = 0
    waited: Number = 0
    dull: int = 0
    seconds: WorkSeconds = 0.0
    held_out: dict[str, float] = field(default_factory=dict)
    measures: dict[str, float] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    ended: str = ""


@dataclass(frozen=True)
class TrainingManifest:
    """What ``training.json`` says.

    schema    version of the folder
    asked     the question: what is trained, on what and how; another question is refused
    epochs    that were asked for last; they and ``patience`` are no part of the question, so that more of them go on
    state     how far it has come
    details   versions, hardware and command of the last call
    """

    schema: int
    asked: dict[str, Any]
    epochs: Number = 0
    patience: Number = 0
    state: TrainingState = field(default_factory=TrainingState)
    details: dict[str, Any] = field(default_factory=dict)


class TrainingFolder:
    """A run folder.

    ========================  =========================================================================================
    training.json             ``TrainingManifest``; it names the step of the checkpoint, and is written last
    checkpoints/STEP.*        the network (safetensors) and the optimizer (plain tensors, read with ``weights_only``)
    checkpoints/STEP.sets     the sets of players that are remembered (safetensors), where a method remembers them
    checkpoints/best.*        the network with the lowest held-out loss
    log.csv                   see ``TrainingLog``
    masks/STEP.png            masks of the same held-out images at every validation
    model.safetensors, ...    the trained explainer, to be loaded by its folder
    ========================  =========================================================================================
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def opened(self, asked: Mapping[str, Any]) -> TrainingManifest | None:
        """What the folder has of this question; None if nothing. SeewhyError if it is of another one. It stays unchanged."""
        check_writable(self.folder)
        before = read_training(self.folder)
        if before is None:
            if (self.folder / "manifest.json").exists():
                raise SeewhyError(f"{self.folder} has a run of another command: give another folder")
            return None
        if before.asked != asked:
            what = difference("", before.asked, dict(asked))
            raise SeewhyError(f"{self.folder} has a training of another question ({what}): give another folder")
        return before

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One command at a time trains in the folder. Nothing is left of one that has not reached its first checkpoint."""
        made = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        with safely(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise SeewhyError(f"another command trains in {self.folder}: wait for it, or give another folder") from None
        except OSError as error:
            raise SeewhyError(f"cannot write to {self.folder}: {error.strerror or error}") from None
        try:
            remove_leftovers(self.folder, below=True)
            yield
        finally:
            lock.release()
            (self.folder / ".lock").unlink(missing_ok=True)
            for path in made:
                with suppress(OSError):  # there is something in it
                    path.rmdir()

    def write(
        self,
        manifest: TrainingManifest,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        sets: NamedWeights | None = None,
    ) -> None:
        """Write a checkpoint. Until ``training.json`` is written, the one before it counts."""
        name = f"{manifest.state.step:08d}"
        if sets is not None:
            bits_and_values = save_safetensors(sets)
            write_atomically(self._file(f"{name}.sets"), lambda content: content.write(bits_and_values))
        self.write_weights(name, weights_of(network))
        state = optimizer.state_dict()
        write_atomically(self._file(f"{name}.pt"), lambda content: torch.save(state, content))
        self.write_manifest(manifest)
        for file in (self.folder / "checkpoints").glob("*"):
            if file.stem not in (name, BEST):
                with suppress(OSError):
                    file.unlink()

    def write_manifest(self, manifest: TrainingManifest) -> None:
        write_json(self.folder / TRAINING, asdict(manifest))

    def write_weights(self, name: str, weights: NamedWeights) -> None:
        content_of = save_safetensors(weights)
        write_atomically(self._file(f"{name}.safetensors"), lambda content: content.write(content_of))

    def write_model(self, weights: NamedWeights) -> None:
        """The trained network, where its explainer is loaded from."""
        content_of = save_safetensors(weights)
        write_atomically(self.folder / "model.safetensors", lambda content: content.write(content_of))

    def write_sheet(self, step: int, picture: Image.Image) -> None:
        file = self.folder / "masks" / f"{step:08d}.png"
        write_atomically(file, lambda content: picture.save(content, "PNG"))

    def read(self, step: int, network: nn.Module, optimizer: torch.optim.Optimizer | None) -> None:
        """Give the network, and the optimizer, what they had after this step."""
        name = f"{step:08d}"
        give_weights(network, self.weights(name))
        if optimizer is None:
            return
        file = self._file(f"{name}.pt")
        try:
            optimizer.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
        except (OSError, RuntimeError, ValueError, KeyError, UnpicklingError, EOFError) as error:  # of a damaged file
            raise _damaged(file, error) from None

    def sets(self, step: int) -> NamedWeights:
        """The sets that were remembered after this step."""
        return self._tensors(self._file(f"{step:08d}.sets"))

    def weights(self, name: str) -> NamedWeights:
        """Of a checkpoint, or the best ones."""
        return self._tensors(self._file(f"{name}.safetensors"))

    def _tensors(self, file: Path) -> NamedWeights:
        try:
            return load_safetensors(file.read_bytes())
        except (OSError, SafetensorError) as error:
            raise _damaged(file, error) from None

    def _file(self, name: str) -> Path:
        return self.folder / "checkpoints" / name


def weights_of(network: nn.Module) -> NamedWeights:
    """A copy of all weights and buffers, on the CPU."""
    return {name: t.detach().cpu().contiguous().clone() for name, t in network.state_dict().items()}


def give_weights(network: nn.Module, weights: NamedWeights) -> None:
    """SeewhyError where they are of another network."""
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise SeewhyError(f"the checkpoint does not fit the network ({cause(error)}): give another folder") from None


def read_training(folder: Path) -> TrainingManifest | None:
    """What ``training.json`` says; None if there is none, SeewhyError if it is damaged or of another version."""
    file = folder / TRAINING
    try:
        found = read_json(file)
        schema = found.get("schema") if isinstance(found, dict) else None
        if schema != TRAINING_SCHEMA:
            raise SeewhyError(
                f"{folder} was written by another version (schema {schema}, this one reads {TRAINING_SCHEMA}): "
                "give another folder"
            )
        manifest: TrainingManifest = typed(TrainingManifest, found, "the training")
    except FileNotFoundError:
        return None
    except SeewhyError:
        raise
    except (OSError, ValueError) as error:
        raise SeewhyError(f"{file} cannot be read ({cause(error)}): give another folder") from None
    return manifest


def _damaged(file: Path, error: Exception) -> SeewhyError:
    return SeewhyError(f"{file} cannot be read ({cause(error)}): delete the folder, the training begins again")
