"""Reaching inside a borrowed network and giving it back: the only file that touches hooks, flags and ``forward``.

A layer is named as in ``module.named_modules()``. A module may return a tensor, a tuple or a Hugging Face dataclass: its
"output" is then the first tensor in it, and what replaces it is put back into the same structure.
"""

from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from copy import copy
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from seewhy.errors import SeewhyError
from seewhy.registry import did_you_mean


@contextmanager
def frozen(module: nn.Module) -> Generator[None]:
    """Eval mode and no parameter gradients inside the block; the exact state of every submodule afterwards."""
    modes = [(m, m.training) for m in module.modules()]
    flags = [(p, p.requires_grad) for p in module.parameters()]
    try:
        module.eval().requires_grad_(False)
        yield
    finally:
        for m, training in modes:
            m.training = training
        for p, flag in flags:
            p.requires_grad_(flag)


def first_tensor(output: object) -> Tensor | None:
    """The tensor that a layer's output stands for: itself, or the first one in a tuple or mapping."""
    if isinstance(output, Tensor):
        return output
    values: Sequence[object] = ()
    if isinstance(output, Mapping):
        values = list(output.values())
    elif isinstance(output, tuple | list):
        values = output
    return next((v for v in values if isinstance(v, Tensor)), None)


def with_first_tensor(output: Any, tensor: Tensor) -> Any:
    """``output`` with its first tensor exchanged; the original is not changed."""
    if isinstance(output, Tensor):
        return tensor
    if isinstance(output, Mapping):
        key = next(k for k, v in output.items() if isinstance(v, Tensor))
        changed: Any = copy(output)
        changed[key] = tensor
        return changed
    index = next(i for i, v in enumerate(output) if isinstance(v, Tensor))
    items = [*output[:index], tensor, *output[index + 1 :]]
    return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)


def logits_in(output: object) -> Tensor:
    """The logits in what a network returned: itself, ``.logits``, or the only two-dimensional tensor."""
    if isinstance(output, Tensor):
        return output
    if is_dataclass(output) and not isinstance(output, Mapping):
        output = {f.name: getattr(output, f.name) for f in fields(output)}
    named = output if isinstance(output, Mapping) else {}
    if isinstance(named.get("logits"), Tensor):
        return named["logits"]
    values = list(named.values()) if named else list(output) if isinstance(output, tuple | list) else []
    flat = [v for v in values if isinstance(v, Tensor) and v.ndim == 2]
    if len(flat) == 1:
        return flat[0]
    kind = f"{type(output).__name__} with {', '.join(map(str, named)) or f'{len(values)} entries'}"
    raise SeewhyError(f"cannot tell the logits in a {kind}: return a tensor (n, k), or a mapping that has it as 'logits'")


def layer_of(module: nn.Module, name: str) -> nn.Module:
    """The submodule called ``name``; a SeewhyError names its neighbors when there is none."""
    modules = dict(module.named_modules())
    if name not in modules or not name:
        last = ", ".join([n for n in modules if n][-5:])
        raise SeewhyError(
            f"no layer {name!r} in {type(module).__name__}.{did_you_mean(name, list(modules))} The last ones: {last}"
        )
    return modules[name]


class Captured(dict[str, Tensor]):
    """Layer name -> output of its latest call. Asking for a layer that no forward pass reached is an error."""

    def __missing__(self, name: str) -> Tensor:
        raise SeewhyError(f"layer {name!r} was not reached by the forward pass: choose a layer that the network runs")


@contextmanager
def capture(module: nn.Module, *layers: str, leaf: bool = False) -> Generator[Captured]:
    """Inside the block, every forward pass fills the yielded dict with the outputs of ``layers``.

    What is kept is safe from later in-place operations: the network goes on with a clone. The graph stays attached, or,
    with ``leaf=True``, starts at the layer: the captured tensor is then a leaf that requires gradients, what comes before
    it is not recorded, and one suffix is all that a gradient costs.
    """
    outputs = Captured()

    def keep(name: str) -> Callable[[nn.Module, object, object], object]:
        def hook(_module: nn.Module, _args: object, output: object) -> object:
            tensor = first_tensor(output)
            if tensor is None:
                raise SeewhyError(f"layer {name!r} returns {type(output).__name__} without a tensor; choose another")
            outputs[name] = tensor.detach().requires_grad_() if leaf else tensor
            return with_first_tensor(output, outputs[name].clone())

        return hook

    with ExitStack() as stack:
        for name in layers:
            stack.callback(layer_of(module, name).register_forward_hook(keep(name)).remove)
        yield outputs


@contextmanager
def capture_input(module: nn.Module, layer: str) -> Generator[Captured]:
    """As ``capture``, but what the layer is given: its first argument, graph attached."""
    inputs = Captured()

    def hook(_module: nn.Module, args: tuple[Tensor, ...]) -> None:
        inputs[layer] = args[0]

    handle = layer_of(module, layer).register_forward_pre_hook(hook)
    try:
        yield inputs
    finally:
        handle.remove()


@dataclass(frozen=True)
class Call:
    """One call of a module, and the tensor that it returned."""

    name: str
    module: nn.Module
    output: Tensor


def calls_of(module: nn.Module, images: Tensor) -> tuple[list[Call], Tensor]:
    """Every call of one forward pass that returned numbers, in the order in which they ended; and the logits.

    Nothing is cloned, so that modules which return the very same tensor can be told.
    """
    names = {m: name for name, m in module.named_modules()}
    calls: list[Call] = []

    def note(m: nn.Module, _args: object, output: object) -> None:
        tensor = first_tensor(output)
        if tensor is not None and tensor.is_floating_point():
            calls.append(Call(names[m], m, tensor))

    with ExitStack() as stack:
        for m in module.modules():
            stack.callback(m.register_forward_hook(note).remove)
        output = module(images)
    return calls, logits_in(output)


def replaced(module: nn.Module, layers: Collection[str], images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """A pass in which zeros are added to the first tensor of each layer: the zeros, of the latest calls, and the logits.

    The gradient by the zeros tells what happens to the logits when the features are replaced: nothing where the network
    goes on with another tensor of the layer's output, as with the pooled one of a Hugging Face backbone.
    """
    zeros: dict[str, Tensor] = {}

    def add(name: str, _module: nn.Module, _args: object, output: object) -> object:
        if (tensor := first_tensor(output)) is None:
            return output
        zeros[name] = torch.zeros_like(tensor).requires_grad_()
        return with_first_tensor(output, tensor + zeros[name])

    with ExitStack() as stack:
        for name in layers:
            stack.callback(layer_of(module, name).register_forward_hook(partial(add, name)).remove)
        output = module(images)
    return zeros, logits_in(output)


@dataclass(frozen=True)
class Record:
    """One forward pass, remembered up to a layer: enough to run again only what follows.

    features  output of the layer's last call, (n, ...)
    n         number of images
    finished  for each module that ran before the layer, its outputs in the order of its calls (the topmost only:
              what happened inside a finished module is not needed again)
    output    what the layer itself returned, whose first tensor is ``features``
    """

    layer: str
    features: Tensor
    n: int
    finished: dict[nn.Module, list["_Finished"]]
    output: object


@dataclass(frozen=True)
class _Finished:
    """What a call returned, and whether its rows belong to images."""

    output: object
    per_image: bool

    def again(self, n: int, repeat: int) -> object:
        """A copy for ``repeat`` rows an image, which later in-place operations may change."""
        return _repeat(self.output, n, repeat) if self.per_image else _copy(self.output)


def record(module: nn.Module, layer: str, images: Tensor) -> tuple[Record, object]:
    """Run ``module`` on ``images`` under ``no_grad``; return the record up to ``layer`` and the module's output."""
    watched = layer_of(module, layer)
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
        # a table that the network makes from its parameters or from indices has no row per image, unless it is told how many
        seen = any(id(t) not in constants and t.is_floating_point() for t in _tensors([args, kwargs]))
        told = bool(args) and type(args[0]) is int and args[0] == len(images)
        per_image = seen or (told and isinstance(output, Tensor) and len(output) == len(images))
        del finished[starts[m].pop() :]  # what ended inside this module need not be kept
        finished.append((m, _Finished(_copy(output), per_image)))
        if m is watched:
            last[:] = [_copy(output)]

    with ExitStack() as stack, torch.no_grad():
        for m in module.modules():
            if m is not module:
                stack.callback(m.register_forward_pre_hook(before, prepend=True).remove)
                stack.callback(m.register_forward_hook(after, with_kwargs=True).remove)
        result: object = module(images)
    if not last:
        raise SeewhyError(f"layer {layer!r} was not reached by the forward pass: choose a layer that the network runs")
    features = first_tensor(last[0])
    if features is None:
        raise SeewhyError(f"layer {layer!r} returns {type(last[0]).__name__} without a tensor; choose another")
    by_module: dict[nn.Module, list[_Finished]] = {}
    for m, done in snapshot:
        by_module.setdefault(m, []).append(done)
    return Record(layer, features, len(images), by_module, last[0]), result


def replay(module: nn.Module, recorded: Record, features: Tensor, images: Tensor) -> object:
    """The module's output when the layer returns ``features`` (r*n, ...), row i*r + j belonging to image i.

    Modules that ended before the layer return what they returned then; the rest runs again. Functional code between
    modules runs on those tensors, so skips around the layer are exact. Gradients reach ``features``.
    """
    repeat = len(features) // len(recorded.features)
    watched = layer_of(module, recorded.layer)
    answers = {m: [partial(done.again, recorded.n, repeat) for done in calls] for m, calls in recorded.finished.items()}
    rest = recorded.output if isinstance(recorded.output, Tensor) else _repeat(recorded.output, recorded.n, repeat)
    answers.setdefault(watched, []).append(partial(with_first_tensor, rest, features.clone()))
    with ExitStack() as stack:
        for m, queue in answers.items():
            stack.enter_context(answering(m, _in_turn(iter(queue), m.forward)))
        return module(images.repeat_interleave(repeat, 0) if repeat > 1 else images)


@contextmanager
def answering(module: nn.Module, forward: Callable[..., object]) -> Generator[None]:
    """Inside the block ``forward`` answers in place of the module's own."""
    own = module.__dict__.get("forward")
    module.__dict__["forward"] = forward
    try:
        yield
    finally:
        del module.__dict__["forward"]
        if own is not None:
            module.__dict__["forward"] = own


def _in_turn(answers: Iterator[Callable[[], object]], original: Callable[..., object]) -> Callable[..., object]:
    """Gives the answers one by one, and is the original when they are used up."""

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
    if isinstance(output, Tensor):
        return change(output)
    if isinstance(output, Mapping):
        changed: Any = copy(output)
        for key, value in output.items():
            if isinstance(value, Tensor | tuple | list | Mapping):
                changed[key] = _map_tensors(value, change)
        return changed
    if isinstance(output, tuple | list):
        items = [_map_tensors(value, change) for value in output]
        return type(output)(*items) if hasattr(output, "_fields") else type(output)(items)
    return output


def _copy(output: object) -> object:
    """A copy that later in-place operations cannot reach."""
    return _map_tensors(output, torch.clone)


def _repeat(output: object, n: int, repeat: int) -> object:
    """Every image's rows ``repeat`` times; a tensor may hold several rows an image (windows of Swin, heads)."""

    def rows(tensor: Tensor) -> Tensor:
        if repeat == 1 or tensor.ndim == 0 or tensor.shape[0] % n:
            return tensor.clone()
        return tensor.unflatten(0, (n, -1)).repeat_interleave(repeat, 0).flatten(0, 1)

    return _map_tensors(output, rows)
