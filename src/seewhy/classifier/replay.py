"""Replay: the part of a network after a layer runs again, without the part before it (decision 2)."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from seewhy.classifier.borrow import find_layer, forward_replaced, frozen, run, tensor_of_layer, with_first_tensor
from seewhy.errors import SeewhyError


@dataclass(frozen=True)
class Recording:
    """One forward pass, recorded up to a layer: enough to run again only what follows.

    features  output of the layer's last call, (n, ...)
    n         number of images
    finished  for each module that ran before the layer, its outputs in the order of its calls; modules inside a finished
              module are left out, since they are not needed again
    whole     the whole output of the layer; its first tensor is ``features``
    """

    layer: str
    features: Tensor
    n: int
    finished: dict[nn.Module, list["_Finished"]]
    whole: "_Finished"


@dataclass(frozen=True)
class _Finished:
    """The output of a call, and the axis of the images in each of its tensors: along it a replay repeats them."""

    output: object
    axes: tuple[int | None, ...]


Axes = dict[nn.Module, list[tuple[int | None, ...]]]
"""For each call of a module, the axis of the images in each tensor that it returned; None for a table, which has none."""


@torch.no_grad()
def image_axes(module: nn.Module, image: Tensor) -> Axes:
    """Where the images are in what each module returns: the axis that is twice as long for two images as for one.

    Other rules fail. A table of positions may have as many rows as there are images, a module that makes it may be given
    numbers that it computed, and tokens may come before images.
    """

    def shapes(images: Tensor) -> dict[nn.Module, list[list[torch.Size]]]:
        found: dict[nn.Module, list[list[torch.Size]]] = {}

        def note(m: nn.Module, _args: object, output: object) -> None:
            found.setdefault(m, []).append([tensor.shape for tensor in tensors_in(output)])

        with ExitStack() as stack:
            for m in module.modules():
                stack.enter_context(m.register_forward_hook(note))
            run(module, images)
        return found

    with frozen(module):
        one, two = shapes(image), shapes(image.repeat(2, 1, 1, 1))
    return {
        m: [tuple(map(_longer, before, after)) for before, after in zip(calls, two.get(m, []), strict=False)]
        for m, calls in one.items()
    }


def _longer(one: torch.Size, two: torch.Size) -> int | None:
    """The axis that is twice as long in the second shape; None if there is none."""
    return next((axis for axis, (a, b) in enumerate(zip(one, two, strict=False)) if b == 2 * a > 0), None)


def record(module: nn.Module, layer: str, images: Tensor, axes: Axes) -> tuple[Recording, object]:
    """Run ``module`` on ``images`` under ``no_grad``; return the recording up to ``layer`` and the module's output.

    ``axes`` are those of ``image_axes``. A call that they do not have, in a network that runs otherwise for other images,
    has its images along the first axis, if that is as long as there are images.
    """
    watched = find_layer(module, layer)
    calls: dict[nn.Module, int] = {}
    finished: list[tuple[nn.Module, _Finished]] = []
    starts: dict[nn.Module, list[int]] = {}
    snapshot: list[tuple[nn.Module, _Finished]] = []
    last: list[_Finished] = []

    def before(m: nn.Module, _args: object) -> None:
        starts.setdefault(m, []).append(len(finished))
        if m is watched:
            snapshot[:] = finished

    def after(m: nn.Module, _args: object, output: object) -> None:
        known, call = axes.get(m, []), calls.get(m, 0)
        calls[m] = call + 1
        own = known[call] if call < len(known) else _first_axis(output, len(images))
        del finished[starts[m].pop() :]  # modules inside this module are not needed again
        finished.append((m, _Finished(_copied(output), own)))  # in-place operations may follow
        if m is watched:
            last[:] = [finished[-1][1]]

    with ExitStack() as stack, torch.no_grad():
        for m in module.modules():
            if m is not module:
                stack.enter_context(m.register_forward_pre_hook(before, prepend=True))
                stack.enter_context(m.register_forward_hook(after))
        result = run(module, images)
    if not last:
        raise SeewhyError(f"layer {layer!r} was not reached by the forward pass: choose a layer that the network runs")
    features = tensor_of_layer(layer, last[0].output)
    axis = next((a for t, a in zip(tensors_in(last[0].output), last[0].axes, strict=False) if t is features), None)
    if axis != 0:
        shape = tuple(features.shape)
        raise SeewhyError(f"layer {layer!r} of shape {shape} has no rows for each image: choose another layer")
    by_module: dict[nn.Module, list[_Finished]] = {}
    for m, done in snapshot:
        by_module.setdefault(m, []).append(done)
    return Recording(layer, features, len(images), by_module, last[0]), result


def replay(module: nn.Module, recorded: Recording, features: Tensor, images: Tensor) -> object:
    """The module's output when the layer returns ``features`` (r*n, ...), whose row i*r + j belongs to image i.

    Modules that ended before the layer return their recorded outputs; the other modules run again. Functional code between
    modules runs on these tensors, so skips around the layer are exact. Gradients reach ``features``.
    """
    repeat = len(features) // len(recorded.features)
    watched = find_layer(module, recorded.layer)
    answers = {m: [partial(_repeated, done, recorded.n, repeat) for done in calls] for m, calls in recorded.finished.items()}
    rest = recorded.whole.output
    rest = rest if isinstance(rest, Tensor) else _repeated(recorded.whole, recorded.n, repeat)
    answers.setdefault(watched, []).append(partial(with_first_tensor, rest, features.clone()))
    with ExitStack() as stack:
        for m, queue in answers.items():
            stack.enter_context(forward_replaced(m, _in_turn(iter(queue), m.forward)))
        return run(module, images.repeat_interleave(repeat, 0) if repeat > 1 else images)


def _in_turn(answers: Iterator[Callable[[], object]], original: Callable[..., object]) -> Callable[..., object]:
    """A forward that returns the answers one by one, and then runs the original."""

    def forward(*args: object, **kwargs: object) -> object:
        answer = next(answers, None)
        return original(*args, **kwargs) if answer is None else answer()

    return forward


def tensors_in(given: object) -> Iterator[Tensor]:
    """All tensors in what a module is given or returns, also those in lists, tuples and mappings."""
    if isinstance(given, Tensor):
        yield given
    elif isinstance(given, Mapping | tuple | list):
        for value in given.values() if isinstance(given, Mapping) else given:
            yield from tensors_in(value)


def _first_axis(output: object, n: int) -> tuple[int | None, ...]:
    return tuple(0 if tensor.ndim and len(tensor) == n else None for tensor in tensors_in(output))


def map_tensors(output: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The output with ``change`` applied to each of its tensors; the original stays as it is."""
    if isinstance(output, Tensor):
        return change(output)
    if isinstance(output, Mapping):
        changed: Any = copy(output)
        for key, value in output.items():
            changed[key] = map_tensors(value, change)
        return changed
    if isinstance(output, tuple | list):
        items = [map_tensors(value, change) for value in output]
        return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)
    return output


def _copied(output: object) -> object:
    return map_tensors(output, torch.clone)


def _repeated(done: _Finished, n: int, repeat: int) -> object:
    """A copy with every image ``repeat`` times; an image may have several rows (windows of Swin, heads of an attention)."""
    axes = iter(done.axes)

    def rows(tensor: Tensor) -> Tensor:
        axis = next(axes, None)
        if repeat == 1 or axis is None or axis >= tensor.ndim or tensor.shape[axis] % n:
            return tensor.clone()
        return tensor.unflatten(axis, (n, -1)).repeat_interleave(repeat, axis).flatten(axis, axis + 1)

    return map_tensors(done.output, rows)
