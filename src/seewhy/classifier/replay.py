"""Replay: the part of a network after a layer runs again, without the part before it (decision 2)."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from seewhy.classifier.borrow import find_layer, forward_replaced, run, tensor_of_layer, with_first_tensor
from seewhy.errors import SeewhyError


@dataclass(frozen=True)
class Recording:
    """One forward pass, recorded up to a layer: enough to run again only what follows.

    features  output of the layer's last call, (n, ...)
    n         number of images
    finished  for each module that ran before the layer, its outputs in the order of its calls; modules inside a finished
              module are left out, since they are not needed again
    output    the whole output of the layer; its first tensor is ``features``
    """

    layer: str
    features: Tensor
    n: int
    finished: dict[nn.Module, list["_Finished"]]
    output: object


@dataclass(frozen=True)
class _Finished:
    """The output of a call, and whether its rows belong to images: then a replay repeats them."""

    output: object
    per_image: bool


def record(module: nn.Module, layer: str, images: Tensor) -> tuple[Recording, object]:
    """Run ``module`` on ``images`` under ``no_grad``; return the recording up to ``layer`` and the module's output."""
    watched = find_layer(module, layer)
    constants = {id(t) for t in [*module.parameters(), *module.buffers()]}
    finished: list[tuple[nn.Module, _Finished]] = []
    starts: dict[nn.Module, list[int]] = {}
    snapshot: list[tuple[nn.Module, _Finished]] = []
    last: list[object] = []

    def before(m: nn.Module, _args: object) -> None:
        starts.setdefault(m, []).append(len(finished))
        if m is watched:
            snapshot[:] = finished

    def after(m: nn.Module, args: tuple[object, ...], kwargs: dict[str, object], output: object) -> None:
        # a table made from parameters or from indices has no row per image, unless the call is given the number of images
        seen = any(id(t) not in constants and t.is_floating_point() for t in _tensors([args, kwargs]))
        gets_count = bool(args) and type(args[0]) is int and args[0] == len(images)
        per_image = seen or (gets_count and isinstance(output, Tensor) and len(output) == len(images))
        del finished[starts[m].pop() :]  # modules inside this module are not needed again
        finished.append((m, _Finished(_repeat(output, len(images), 1), per_image)))  # in-place operations may follow
        if m is watched:
            last[:] = [_repeat(output, len(images), 1)]

    with ExitStack() as stack, torch.no_grad():
        for m in module.modules():
            if m is not module:
                stack.enter_context(m.register_forward_pre_hook(before, prepend=True))
                stack.enter_context(m.register_forward_hook(after, with_kwargs=True))
        result = run(module, images)
    if not last:
        raise SeewhyError(f"layer {layer!r} was not reached by the forward pass: choose a layer that the network runs")
    by_module: dict[nn.Module, list[_Finished]] = {}
    for m, done in snapshot:
        by_module.setdefault(m, []).append(done)
    return Recording(layer, tensor_of_layer(layer, last[0]), len(images), by_module, last[0]), result


def replay(module: nn.Module, recorded: Recording, features: Tensor, images: Tensor) -> object:
    """The module's output when the layer returns ``features`` (r*n, ...), whose row i*r + j belongs to image i.

    Modules that ended before the layer return their recorded outputs; the other modules run again. Functional code between
    modules runs on these tensors, so skips around the layer are exact. Gradients reach ``features``.
    """
    repeat = len(features) // len(recorded.features)
    watched = find_layer(module, recorded.layer)
    answers = {
        m: [partial(_repeat, done.output, recorded.n, repeat if done.per_image else 1) for done in calls]
        for m, calls in recorded.finished.items()
    }
    rest = recorded.output if isinstance(recorded.output, Tensor) else _repeat(recorded.output, recorded.n, repeat)
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


def _tensors(inputs: object) -> Iterator[Tensor]:
    """All tensors among the inputs, also those in lists, tuples and mappings."""
    if isinstance(inputs, Tensor):
        yield inputs
    elif isinstance(inputs, Mapping | tuple | list):
        for value in inputs.values() if isinstance(inputs, Mapping) else inputs:
            yield from _tensors(value)


def _map_tensors(output: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The output with ``change`` applied to each of its tensors; the original stays as it is."""
    if isinstance(output, Tensor):
        return change(output)
    if isinstance(output, Mapping):
        changed: Any = copy(output)
        for key, value in output.items():
            changed[key] = _map_tensors(value, change)
        return changed
    if isinstance(output, tuple | list):
        items = [_map_tensors(value, change) for value in output]
        return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)
    return output


def _repeat(output: object, n: int, repeat: int) -> object:
    """A copy with every image's rows ``repeat`` times; a tensor may have several rows per image (windows of Swin, heads)."""

    def rows(tensor: Tensor) -> Tensor:
        if repeat == 1 or tensor.ndim == 0 or tensor.shape[0] % n:
            return tensor.clone()
        return tensor.unflatten(0, (n, -1)).repeat_interleave(repeat, 0).flatten(0, 1)

    return _map_tensors(output, rows)
