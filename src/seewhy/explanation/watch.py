"""Maps of the same pictures again and again, while a training of the user's own changes the network."""

import random
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from seewhy.classifier.checks import must_be_images
from seewhy.classifier.classifier import Classifier, must_be_classifier
from seewhy.classifier.outputs import OutputsWarning
from seewhy.classifier.turns import on_cpu_by_default, turn
from seewhy.data.pictures import to_picture
from seewhy.errors import SeewhyError, SeewhyWarning, cause
from seewhy.explainers import EXPLAINERS, Explainer
from seewhy.explainers import explainer as build
from seewhy.explanation.explanation import percent
from seewhy.explanation.overlay import colormap_of, overlay
from seewhy.explanation.prepare import Picture, prepare
from seewhy.explanation.sheet import Panel, sheet
from seewhy.files import check_writable, write_atomically
from seewhy.process import without_warnings
from seewhy.types import Images

ACROSS = 8
"""Pictures side by side on a sheet."""


@runtime_checkable
class Writer(Protocol):
    """What TensorBoard's ``SummaryWriter`` has, and the writers of other tools."""

    def add_image(self, tag: str, img_tensor: Any, global_step: int, *, dataformats: str) -> object: ...


class Watcher:
    """Draws the maps of fixed pictures during a training (see ``watch``). It leaves the network as it was, to the bit."""

    def __init__(
        self, classifier: Classifier, images: Images, targets: list[int] | None, explainer: Explainer, every: int,
        out: Path | Writer,
    ) -> None:  # fmt: skip
        self.classifier, self.images, self.targets, self.explainer = classifier, images, targets, explainer
        self.every, self.out = every, out
        self._last: int | None = None

    def __call__(self, step: int) -> Image.Image | None:
        """Draw at the steps 0, ``every``, 2 * ``every``, and so on; each step once. Returns the sheet, if it was drawn."""
        if step % self.every or step == self._last:
            return None
        self._last = step
        return self.draw(step)

    def draw(self, step: int) -> Image.Image | None:
        """Draw now, and write the sheet. None and a warning where this fails: a training does not end for a picture."""
        try:
            with turn(self.classifier.module), without_warnings(OutputsWarning), _same_draws(self.classifier):
                drawn = self._sheet(step)
            if isinstance(self.out, Path):
                write_atomically(self.out / f"step_{step:08}.png", lambda content: drawn.save(content, "PNG"))
            else:
                self.out.add_image("seewhy", np.asarray(drawn), step, dataformats="HWC")
        except Exception as error:  # the network, the writer and the hours of training are the user's
            warnings.warn(f"watch has no picture of step {step}: {cause(error)}", SeewhyWarning, stacklevel=3)
            return None
        return drawn

    def _sheet(self, step: int) -> Image.Image:
        """Each picture with its map, and what the network says of its class now."""
        classifier = replace(self.classifier)  # what was found with the weights of another step is found again
        images = classifier.to_device(self.images)
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            logits = classifier.logits(images)
            scores = logits if classifier.returns_values else classifier.to_probabilities(logits)
            targets = logits.argmax(1) if self.targets is None else torch.tensor(self.targets, device=images.device)
            maps = replace(cast(Any, self.explainer), classifier=classifier).explain(images, targets)
        if not bool(maps.isfinite().all() and scores.isfinite().all()):
            raise SeewhyError("the network or its maps are NaN or infinite")
        maps, panels = maps.float().cpu(), []
        for image, attribution, target, row in zip(self.images, maps, targets.tolist(), scores.tolist(), strict=True):
            said = f"{row[target]:.4g}" if classifier.returns_values else percent(row[target])
            name = classifier.class_name(target).partition(",")[0]
            panels.append((Panel(to_picture(image)), Panel(overlay(image, attribution, 224), f"{name}  {said}")))
        some = [panels[i : i + ACROSS] for i in range(0, len(panels), ACROSS)]
        rows = [list(row) for part in some for row in zip(*part, strict=True)]
        method = EXPLAINERS.name_of(type(self.explainer))
        return sheet(rows, f"step {step}  {method}", keys={colormap_of(attribution) for attribution in maps})

    def lightning(self) -> Any:
        """A callback for Lightning's Trainer."""
        from lightning.pytorch import Callback

        watch = self

        class WatchCallback(Callback):
            def on_train_start(self, trainer: Any, pl_module: Any) -> None:
                if trainer.is_global_zero:
                    watch(trainer.global_step)

            def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
                if trainer.is_global_zero:
                    watch(trainer.global_step)

        return WatchCallback()

    def trainer(self) -> Any:
        """A callback for the Trainer of Hugging Face."""
        from transformers import TrainerCallback

        watch = self

        class WatchCallback(TrainerCallback):
            def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if state.is_world_process_zero:
                    watch(state.global_step)

            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                if state.is_world_process_zero:
                    watch(state.global_step)

        return WatchCallback()


@on_cpu_by_default()
def watch(
    classifier: Classifier,
    images: Images | Sequence[Picture],
    targets: Sequence[int | str] | Tensor | None = None,
    explainer: str | Explainer = "grad_cam",
    *,
    every: int = 100,
    out: str | Path | Writer = "watch",
) -> Watcher:
    """Draw maps of the same pictures again and again, while your own training changes the network.

    Call what it returns with the number of the step, ``watch(step)``; or give ``watch.lightning()`` to Lightning's Trainer,
    or ``watch.trainer()`` to that of Hugging Face. The training is the same to the bit as without: weights, buffers,
    gradients, modes and random draws are left alone. Where a map fails, there is a warning, and the training goes on.

    Args:
        classifier: around the network that is trained.
        images: (n, c, h, w) in [0, 1], or pictures, see ``explain``.
        targets: the class of each picture, by index or name. None is the class that the network predicts at the step.
        explainer: a name, or an explainer with your options.
        every: steps from sheet to sheet.
        out: a folder for sheets called "step_00000100.png", or TensorBoard's ``SummaryWriter``.

    Raises:
        SeewhyError: pictures, classes or explainer are wrong, or the network is wrapped for several processes.
    """
    must_be_classifier(classifier)
    if isinstance(classifier.module, DistributedDataParallel):
        raise SeewhyError("a pass of a DistributedDataParallel waits for the other processes: give the module inside it")
    if every < 1:
        raise SeewhyError(f"every is a number of steps, 1 or more, not {every}")
    if not isinstance(images, Tensor):
        images = torch.stack([prepare(picture, classifier)[0] for picture in images])
    must_be_images(images, len(classifier.mean))
    images = images.detach().float().cpu().clone()
    with _same_draws(classifier):
        wanted = targets.tolist() if isinstance(targets, Tensor) else targets
        classes = None if wanted is None else [classifier.class_index(target) for target in wanted]
        method = build(explainer, classifier) if isinstance(explainer, str) else explainer
    if classes is not None and len(classes) != len(images):
        raise SeewhyError(f"{len(images)} pictures and {len(classes)} targets: give one target for each picture")
    if isinstance(out, str | Path):
        check_writable(out)
        out = Path(out)
    return Watcher(classifier, images, classes, method, every, out)


@contextmanager
def _same_draws(classifier: Classifier) -> Iterator[None]:
    """After the block all generators are where they were: a network may draw random numbers in eval mode too."""
    devices = {p.device for p in classifier.module.parameters() if p.device.type == "cuda"}
    state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=list(devices)):
        try:
            yield
        finally:
            random.setstate(state)
            np.random.set_state(numpy_state)
