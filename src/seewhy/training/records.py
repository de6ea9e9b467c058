"""What is written of a training: numbers, masks, checkpoints, and the best network. One process writes."""

from collections.abc import Callable, Mapping, Sequence
from time import monotonic

import numpy as np
import torch
from torch import Tensor, nn

from seewhy.training.held_out import mask_sheet
from seewhy.training.loss_sums import LossSums
from seewhy.training.seen_images import SeenImages
from seewhy.training.training_folder import BEST, TrainingFolder, TrainingManifest, give_weights, weights_of
from seewhy.training.training_log import HELD_OUT, TRAIN, TrainingLog

CHECKPOINT_SECONDS, LOG_SECONDS = 60.0, 2.0
"""Between two checkpoints, and between two writes of the log."""
WRITING_SHARE = 0.05
"""At most this share of the time is spent on checkpoints."""


class Records:
    """What a training writes, and how far it has come.

    Args:
        folder: where it is written.
        manifest: says how far the training has come; its ``state`` changes.
        network, optimizer: that are trained.
        log: of the process that writes; None in others, which only count.
        images: those of the training, which know the sets that it remembers, and those that are held out; they know which
            images could not be read.
        deliver: writes the trained explainer, with the weights that the network has.
    """

    def __init__(
        self,
        folder: TrainingFolder,
        manifest: TrainingManifest,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        log: TrainingLog | None,
        images: Sequence[SeenImages],
        deliver: Callable[[], None],
    ) -> None:
        self.folder, self.manifest, self.state = folder, manifest, manifest.state
        self.network, self.optimizer, self.log = network, optimizer, log
        self._images, self._deliver = images, deliver
        self._written = self._logged = monotonic()
        self._pause = CHECKPOINT_SECONDS
        self._kept = manifest.state.step

    def step(self, found: LossSums, seconds: float, epoch: float, learning_rate: float, gradient: float) -> None:
        """A step is done."""
        self.state.seconds += seconds
        if self.log is None:
            return
        numbers = {"epoch": epoch, "learning_rate": learning_rate, "gradient": gradient, "seconds": self.state.seconds}
        self.log.add(TRAIN, self.state.step, found.terms, mask_mean=found.mask_mean, **numbers)
        if monotonic() - self._logged > LOG_SECONDS:
            self.log.flush()
            self._logged = monotonic()

    def validated(
        self,
        found: LossSums,
        seconds: float,
        images: Tensor,
        masks: Tensor,
        epoch: float,
        numbers: Mapping[str, float],
    ) -> None:
        """The held-out loss was measured: is it the best so far? ``numbers`` are those of the monitor."""
        state, loss = self.state, sum(found.terms.values())
        state.seconds += seconds
        better = state.best is None or loss < state.best
        state.waited = 0 if better else state.waited + 1
        if better:
            state.best, state.best_step, state.held_out = loss, state.step, found.terms
            state.measures = dict(numbers)
        if self.log is None:
            return
        self.log.add(
            HELD_OUT, state.step, found.terms, mask_mean=found.mask_mean, epoch=epoch, seconds=state.seconds, **numbers
        )
        if len(images):
            said = [f"step {state.step}", *(f"{name} {value:.2f}" for name, value in numbers.items())]
            picture = mask_sheet(images[: len(masks)], masks, "   ".join(said))
            self.folder.write_sheet(state.step, picture)
            self.log.picture(state.step, np.asarray(picture))
        if better:
            self.folder.write_weights(BEST, weights_of(self.network))
            self._deliver()

    def checkpoint_is_due(self) -> bool:
        return monotonic() - self._written > self._pause

    def checkpoint(self) -> None:
        """Write all that the training goes on from."""
        start = monotonic()
        for images in self._images:
            self.state.left_out |= {images.dataset.ids[place]: why for place, why in images.left_out.items()}
        if self.log is not None:
            self.log.flush()
            sets = self._images[0].remembered
            self.folder.write(self.manifest, self.network, self.optimizer, sets.tensors() if sets.is_on else None)
        self._kept, self._written = self.state.step, monotonic()
        self._pause = max(CHECKPOINT_SECONDS, (self._written - start) / WRITING_SHARE)

    def finish(self, last: LossSums | None) -> None:
        """Give the network the best weights, and deliver it.

        ``last`` is what the last weights have on held-out images, where a training ended between two validations. They may
        be the best ones; but the checkpoint does not say so, since an undisturbed training would not know of them.
        """
        if last is None or (self.state.best is not None and sum(last.terms.values()) >= self.state.best):
            self.give_best()
        if self.log is not None:
            self._deliver()

    def give_best(self) -> None:
        """Give the network its best weights. Without held-out images it keeps the last ones."""
        if self.state.best is not None:
            give_weights(self.network, self.folder.weights(BEST))

    def kept(self) -> str:
        """What is not lost if the training ends here."""
        return f"{self.folder.folder} has the weights of step {self._kept}"
