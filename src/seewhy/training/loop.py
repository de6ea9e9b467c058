"""The loop. It knows no method: it takes images in their order, asks what is trained for its loss, and takes a step."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from math import inf, lcm
from time import monotonic

import torch
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.classifier.precision import is_out_of_memory
from seewhy.errors import SeewhyError
from seewhy.explainers.learned.learned_explainer import Seen, ValuedSets
from seewhy.explainers.learned.settings import Settings
from seewhy.training.alarms import dull_after, must_be_finite, must_show_something
from seewhy.training.loss_sums import LossSums, added_up, sums_of
from seewhy.training.monitor import Monitor, must_not_be_upside_down
from seewhy.training.optimizers import set_rate
from seewhy.training.order import Order, drawing, generator_of
from seewhy.training.records import Records
from seewhy.training.seen_images import SeenImages
from seewhy.training.time_budget import TimeBudget
from seewhy.training.together import Together
from seewhy.training.trainable import Trainable

TrainingProgress = Callable[[str, int, int, Mapping[str, float]], None]
"""Is called with what is done, how much of it is done, how much in all, and the terms of the loss."""


class Loop:
    """A training.

    Args:
        what: is trained. Its network has the weights with which the training goes on.
        network: of ``what``.
        classifier: the frozen network.
        optimizer: of the network.
        settings: see ``Settings``.
        images: on which it is trained.
        held_out: the images of its validations.
        records: what is written of it, and how far it has come.
        together: the processes.
        budget: how long it may take.
        every: steps between two validations; an epoch by default.
        monitor: compares the maps of held-out images with sampled Shapley values, where the method asks for that.
        progress: see ``TrainingProgress``.
        should_stop: is asked before every step.
    """

    def __init__(
        self,
        what: Trainable,
        network: nn.Module,
        classifier: Classifier,
        optimizer: torch.optim.Optimizer,
        settings: Settings,
        images: SeenImages,
        held_out: SeenImages,
        records: Records,
        together: Together,
        budget: TimeBudget,
        every: int | None,
        monitor: Monitor | None,
        progress: TrainingProgress,
        should_stop: Callable[[], bool],
    ) -> None:
        self.what, self.network, self.classifier = what, network, classifier
        self.optimizer, self.settings = optimizer, settings
        self.images, self.held_out, self.records, self.state = images, held_out, records, records.state
        self.monitor = monitor
        self.together, self.budget, self.progress, self.should_stop = together, budget, progress, should_stop
        self.order = order_of(settings, len(images.places))
        self.every, self.steps = every or self.order.steps, self.order.steps * settings.epochs
        self.parts = micro_batches(settings, self.order.batch_size, together.world)
        self.trained = [p for p in network.parameters() if p.requires_grad]
        self.device = self.trained[0].device

    def run(self, max_steps: int | None) -> str:
        """Train, and say why it ends.

        "epochs": all are done. "patience": the held-out loss no longer falls. "steps": there are ``max_steps``. "time": the
        budget is used up. "stop": ``should_stop`` said so.
        """
        state = self.state
        state.ended = ""
        with _in_one_line(), self.classifier.running(self.settings.precision, gradients=True):
            self._look_at_images()
            if state.step == 0 and not self._wish():
                self._validate()
            while not (why := self._end(max_steps)):
                self._step()
                if state.step % self.every == 0 or state.step == self.steps:
                    self._validate()
                elif self.records.checkpoint_is_due():
                    self.records.checkpoint()
            state.ended = why
            self.records.checkpoint()
            measured = why in ("steps", "time") and state.step % self.every and self.held_out.places
            self.records.finish(self._held_out_terms()[0] if measured else None)
        return why

    def is_done(self) -> bool:
        """Is there nothing left to do?"""
        return self._end(None) in ("epochs", "patience")

    def _end(self, max_steps: int | None) -> str:
        """Why the training ends here; "" if it goes on."""
        patience = self.settings.patience
        if self.state.step >= self.steps:
            return "epochs"
        if patience and self.state.waited >= patience:
            return "patience"
        return "steps" if max_steps is not None and self.state.step >= max_steps else self._wish()

    def _wish(self) -> str:
        """Does any process want to stop, or is the time over for any?"""
        mine = "stop" if self.should_stop() else "time" if self.budget.is_over() else ""
        return max(self.together.everybody(mine), key=len)

    def _look_at_images(self) -> None:
        """Read and see beforehand what memory allows for. With a single epoch nothing would be used again."""
        size = -(-self.order.batch_size // self.parts)
        self.held_out.fill(size, self._tick("looking at held-out images", self.held_out))
        self.images.memory += self.held_out.memory
        if self.settings.epochs > 1:
            self.images.fill(size, self._tick("looking at images", self.images))

    def _tick(self, said: str, images: SeenImages) -> Callable[[int], bool]:
        def tick(done: int) -> bool:
            self.progress(said, done, len(images.places), {})
            return not (self.should_stop() or self.budget.is_over())

        return tick

    def _step(self) -> None:
        """One step of the optimizer, on the images of the next global batch."""
        start, state, s = monotonic(), self.state, self.settings
        rate = set_rate(self.optimizer, s, state.step, self.steps)
        self.network.train()
        self.optimizer.zero_grad()
        places = self.order.places(state.step)
        parts, asked = [], list[tuple[list[int], ValuedSets]]()
        for number, part in self.together.mine(places.tensor_split(self.parts)):
            of = [self.images.places[i] for i in part.tolist()]
            seen = self.images.seen(of)
            if seen is None:  # not one of them can be read
                continue
            seen = seen._replace(progress=state.step / max(1, self.steps - 1))
            with drawing(self.device, s.seed, state.step, number):
                made = self.what.loss(seen, generator_of(s.seed, state.step, number))
            n = len(seen.images)
            loss = torch.stack([term.float() for term in made.terms.values()]).sum()
            (loss * (n / len(places))).backward()
            torch.clear_autocast_cache()  # it holds copies of weights, which change
            parts.append(sums_of(made, n))
            if made.asked is not None and self.images.remembered.is_on:
                asked.append((of, ValuedSets(*(t.cpu() for t in made.asked))))
        found = added_up(self.together.everybody(added_up(parts)))
        if self.images.remembered.is_on:
            for of, sets in chain(*self.together.everybody(asked)):
                self.images.remember(of, sets)
        state.step += 1
        if found.n:
            self.together.add_gradients(self.network)
            norm = self._change_weights(found, len(places))
            state.dull = dull_after(state.dull, found.low, found.high)
            must_show_something(state.dull, state.step)
            epoch = state.step / self.order.steps
            self.records.step(found, monotonic() - start, epoch=epoch, learning_rate=rate, gradient=norm)
            self.progress("training", state.step, self.steps, found.terms)
        self.budget.lasted("step", monotonic() - start)

    def _change_weights(self, found: LossSums, wanted: int) -> float:
        """Let the optimizer take its step; the norm of the gradient before it is clipped."""
        if found.n < wanted:  # some images could not be read
            for p in self.trained:
                if p.grad is not None:
                    p.grad *= wanted / found.n
        norm = float(nn.utils.clip_grad_norm_(self.trained, self.settings.clip or inf))
        must_be_finite(found.terms, norm, self.state.step, self.settings, self.records.kept())
        with torch.autocast(self.device.type, enabled=False):
            self.optimizer.step()
        return norm

    def _validate(self) -> None:
        """Measure the held-out loss, show masks, and write a checkpoint."""
        if self.held_out.places:
            start = monotonic()
            found, images, masks = self._held_out_terms()
            must_be_finite(found.terms, 0.0, self.state.step, self.settings, self.records.kept())
            once = monotonic()
            watched = self._watched()
            start += monotonic() - once  # what is sampled once says nothing about the time of a later validation
            numbers, masks = self._monitored(watched, masks)
            self.records.validated(
                found, monotonic() - start, images, masks, epoch=self.state.step / self.order.steps, numbers=numbers
            )
            self.budget.lasted("validation", monotonic() - start)
        start = monotonic()
        self.records.checkpoint()
        self.budget.lasted("checkpoint", monotonic() - start)

    def _watched(self) -> Seen | None:
        """The images of the monitor, which has what their maps are compared with; the first process makes it, once."""
        if self.monitor is None or self.together.rank:
            return None
        size = -(-self.order.batch_size // self.parts)
        seen = self.held_out.seen(self.held_out.places[:size])
        if seen is not None:
            self.monitor.prepare(seen)
        return seen

    def _monitored(self, watched: Seen | None, masks: Tensor) -> tuple[dict[str, float], Tensor]:
        """The measures of the monitor, and its maps in place of the masks."""
        if self.monitor is None or watched is None:
            return {}, masks
        found = self.monitor.measured(watched)
        must_not_be_upside_down(found.numbers, self.state.step)
        return found.numbers, found.maps

    def _held_out_terms(self) -> tuple[LossSums, Tensor, Tensor]:
        """The loss on held-out images, with the same draws at every validation; the first images, and their masks."""
        self.network.eval()
        size, parts, shown = -(-self.order.batch_size // self.parts), [], (torch.empty(0), torch.empty(0))
        places = self.held_out.places
        for number, part in self.together.mine([places[i : i + size] for i in range(0, len(places), size)]):
            seen = self.held_out.seen(part)
            if seen is None:
                continue
            with torch.no_grad(), drawing(self.device, self.settings.seed, "held out", number):
                made = self.what.loss(seen._replace(progress=1.0), generator_of(self.settings.seed, "held out", number))
            parts.append(sums_of(made, len(seen.images)))
            if made.asked is not None and self.held_out.remembered.is_on:
                self.held_out.remember(part, made.asked)
            shown = (seen.images, made.masks) if number == 0 else shown
        torch.clear_autocast_cache()
        found = added_up(self.together.everybody(added_up(parts)))
        if not found.n:
            raise SeewhyError("none of the held-out images can be read: give --validation another dataset, or --held-out 0")
        return found, *shown


def order_of(settings: Settings, n: int) -> Order:
    """The images of every step, of n in all: ``batch_size`` x ``accumulation`` of them, whatever the number of processes."""
    return Order(n, settings.batch_size * settings.accumulation, settings.seed)


def micro_batches(settings: Settings, batch_size: int, world: int) -> int:
    """Into how many parts a step is cut: ``accumulation``, or a multiple of it that the processes can share out."""
    parts = lcm(settings.accumulation, world)
    if parts > batch_size:
        raise SeewhyError(
            f"a step has {batch_size} images, too few for {parts} micro-batches: give more pictures, or lower "
            "--accumulation or --devices"
        )
    return parts


@contextmanager
def _in_one_line() -> Iterator[None]:
    """Errors of PyTorch that a user can correct become one line."""
    try:
        yield
    except (RuntimeError, ValueError, MemoryError) as error:
        if is_out_of_memory(error):
            raise SeewhyError(
                "out of memory: lower --batch-size (and raise --accumulation as much) or --cache, or give --precision bf16"
            ) from None
        if "more than 1 value per channel" in str(error):
            raise SeewhyError(
                "batch normalization needs more than one image at a time: raise --batch-size, or lower --accumulation or "
                "--devices"
            ) from None
        raise
