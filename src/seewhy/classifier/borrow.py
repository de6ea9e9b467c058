"""A borrowed network: its layers are read, its state is set for a moment, and it comes back as it was.

Only this module, ``replay`` and ``stages`` touch hooks, train and eval flags, ``requires_grad`` and ``forward``. A layer is
named as in ``module.named_modules()``. A module may return a tensor, a tuple or a Hugging Face dataclass: the layer's output
is then the first tensor in it, and a replacement is put back into the same structure.
"""

from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from copy import copy
from functools import partial, wraps
from threading import local
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from seewhy.classifier.outputs import LOGITS, Watch, are_probabilities_of, logits_behind, parts_of
from seewhy.classifier.turns import turn
from seewhy.errors import SeewhyError
from seewhy.registry import did_you_mean

T = TypeVar("T")


def outside_inference(function: Callable[..., T]) -> Callable[..., T]:
    """Decorator: ``function`` runs outside ``torch.inference_mode``, wherever it is called.

    A tensor that was made in inference mode can be part of no graph, so the function gets a copy of it.
    """

    @wraps(function)
    def run(*given: object, **named: object) -> T:
        with _no_inference_mode():
            return function(*map(_without_inference, given), **{key: _without_inference(v) for key, v in named.items()})

    return run


@contextmanager
def _no_inference_mode() -> Generator[None]:
    """Autograd can be turned on inside the block; whether it is on stays as the caller has it."""
    gradients = torch.is_grad_enabled()  # leaving inference mode would turn it on
    with torch.inference_mode(False), torch.set_grad_enabled(gradients):
        yield


def _without_inference(given: object) -> object:
    return given.clone() if isinstance(given, Tensor) and given.is_inference() else given


@contextmanager
def frozen(module: nn.Module) -> Generator[None]:
    """Eval mode and no parameter gradients inside the block; the exact state of every submodule afterwards.

    Autograd can be turned on inside the block, also where the caller is in ``torch.inference_mode``.
    """
    with evaluating(module):
        flags = [(p, p.requires_grad) for p in module.parameters()]
        try:
            module.requires_grad_(False)
            with _no_inference_mode():
                yield
        finally:
            for p, flag in flags:
                p.requires_grad_(flag)


@contextmanager
def evaluating(module: nn.Module) -> Generator[None]:
    """Eval mode inside the block, and no other thread in the network; afterwards its modes and its buffers are as before."""
    mine = _mine.evaluated
    if module in mine and not module.training:  # the block around this one sees to all of it
        yield
        return
    with turn(module), _eval_mode(module), nullcontext() if module in mine else _own_buffers(module):
        outer = module not in mine
        mine.add(module)
        try:
            yield
        finally:
            if outer:
                mine.discard(module)


class _Mine(local):
    """The networks that this thread has put into eval mode."""

    def __init__(self) -> None:
        self.evaluated: set[nn.Module] = set()


_mine = _Mine()


@contextmanager
def _eval_mode(module: nn.Module) -> Generator[None]:
    training = {m for m in module.modules() if m.training}
    if not training:
        yield
        return
    try:
        module.eval()
        yield
    finally:
        for m in training:
            if type(m).train is not nn.Module.train:  # undoes what its own eval did: merged weights, a kept table
                m.train()
        for m in module.modules():
            m.training = m in training


_writes_buffers: WeakKeyDictionary[nn.Module, bool | None] = WeakKeyDictionary()
"""Does a pass change the network's buffers, although it is in eval mode? None after a pass that nobody has watched yet."""


@contextmanager
def _own_buffers(module: nn.Module) -> Generator[None]:
    """The buffers have their old values after the block; they are copied until a pass has left them alone."""
    if _writes_buffers.get(module) is False:
        yield
        return
    before = _buffers_of(module)
    try:
        yield
    finally:
        changed = any(m._buffers.get(key) is not b or not torch.equal(b, values) for m, key, b, values in before)
        if changed:
            _give_back(before)
        if module in _writes_buffers:
            _writes_buffers[module] = changed or bool(_writes_buffers[module])


def run(module: nn.Module, images: Tensor) -> object:
    """What the network returns.

    A StopIteration of the network would end a loop around the call without a word, so it becomes a RuntimeError.
    """
    _writes_buffers.setdefault(module)
    try:
        return module(images)
    except StopIteration as error:
        raise RuntimeError(f"{type(module).__name__} raised StopIteration") from error


def without_compilation(module: nn.Module) -> nn.Module:
    """The module with the modules inside those that ``torch.compile`` made, whose layers could not be reached otherwise.

    A module that holds a compiled one is copied without its weights, which the copy shares; all others are the same.
    """
    inner = module.__dict__.get("_modules", {}).get("_orig_mod")
    if isinstance(inner, nn.Module):
        return without_compilation(inner)
    children = {name: m if m is None else without_compilation(m) for name, m in module._modules.items()}
    same = all(children[name] is m for name, m in module._modules.items())
    if same and getattr(module, "_compiled_call_impl", None) is None:
        return module
    plain = copy(module)
    plain.__dict__["_modules"], plain.__dict__["_compiled_call_impl"] = children, None
    return plain


@contextmanager
def buffers_kept(module: nn.Module) -> Generator[None]:
    """The module's buffers have their old values and are the same tensors after the block."""
    with turn(module):
        before = _buffers_of(module)
        try:
            yield
        finally:
            _give_back(before)


Buffers = list[tuple[nn.Module, str, Tensor, Tensor]]
"""Each buffer with its module, its name there, and a copy of its values."""


def _buffers_of(module: nn.Module) -> Buffers:
    named = [(m, key, b) for m in module.modules() for key, b in m._buffers.items() if b is not None]
    return [(m, key, b, b.clone()) for m, key, b in named if not is_lazy(b) and b.layout == torch.strided and not b.is_meta]


def _give_back(before: Buffers) -> None:
    """A buffer that is as it was is not written: a graph of the caller's own may need it, and counts what is written."""
    for m, key, buffer, values in before:
        m._buffers[key] = buffer if torch.equal(buffer, values) else buffer.copy_(values)


def first_tensor(output: object) -> Tensor | None:
    """The tensor that a layer's output stands for: the output itself, or the first tensor in a tuple or mapping."""
    if isinstance(output, Mapping):
        output = list(output.values())
    values = output if isinstance(output, tuple | list) else [output]
    return next((v for v in values if isinstance(v, Tensor)), None)


def tensor_of_layer(layer: str, output: object) -> Tensor:
    """The first tensor of a layer's output; SeewhyError if there is none."""
    if (tensor := first_tensor(output)) is None:
        raise SeewhyError(f"layer {layer!r} returns {type(output).__name__} without a tensor; choose another")
    return tensor


def with_first_tensor(output: Any, tensor: Tensor) -> Any:
    """A copy of ``output`` with ``tensor`` in the place of its first tensor."""
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
    """The logits in what a network returned: the output itself, its ``.logits``, or its only two-dimensional tensor.

    Of a network that compares images with texts they are its ``logits_per_image``.
    Of two such tensors one may be the softmax or the sigmoid of the other: then the other is taken.
    """
    if isinstance(output, Tensor):
        return output
    named = parts_of(output)
    for name in LOGITS:
        if isinstance(named.get(name), Tensor):
            return named[name]
    values = list(named.values()) if named else list(output) if isinstance(output, tuple | list) else []
    flat = [v for v in values if isinstance(v, Tensor) and v.ndim == 2]
    if len(flat) == 1:
        return flat[0]
    if len(flat) == 2 and (behind := [a for a, b in (flat, flat[::-1]) if are_probabilities_of(b, a)]):
        return behind[0]
    kind = f"{type(output).__name__} with {', '.join(map(str, named)) or f'{len(values)} entries'}"
    raise SeewhyError(f"cannot tell the logits in a {kind}: return a tensor (n, k), or a mapping that has it as 'logits'")


def find_layer(module: nn.Module, name: str) -> nn.Module:
    """The submodule called ``name``; if there is none, a SeewhyError with similar names."""
    modules = dict(module.named_modules())
    if name not in modules or not name:
        last = ", ".join([n for n in modules if n][-5:])
        hint = ' A list has quotes: ["a","b"].' if name.startswith("[") else did_you_mean(name, list(modules))
        raise SeewhyError(f"no layer {name!r} in {type(module).__name__}.{hint} The last ones: {last}")
    return modules[name]


class Captured(dict[str, Tensor]):
    """Layer name -> output of its latest call. SeewhyError for a layer that no forward pass reached."""

    def __missing__(self, name: str) -> Tensor:
        raise SeewhyError(f"layer {name!r} was not reached by the forward pass: choose a layer that the network runs")


@contextmanager
def capture(module: nn.Module, *layers: str, leaf: bool = False) -> Generator[Captured]:
    """Inside the block, every forward pass fills the yielded dict with the outputs of ``layers``.

    The network goes on with a clone, so later in-place operations do not change the captured tensor. Its graph stays
    attached. With ``leaf=True`` the graph starts at the layer: the captured tensor is a leaf that requires gradients, and
    nothing before the layer is recorded. A gradient then costs a backward pass through the layers after it alone.
    """
    outputs = Captured()

    def keep(name: str, _module: nn.Module, _args: object, output: object) -> object:
        tensor = tensor_of_layer(name, output)
        outputs[name] = tensor.detach().requires_grad_() if leaf else tensor
        return with_first_tensor(output, outputs[name].clone())

    with turn(module), ExitStack() as stack:
        for name in layers:
            stack.enter_context(find_layer(module, name).register_forward_hook(partial(keep, name)))
        yield outputs


@contextmanager
def capture_input(module: nn.Module, layer: str) -> Generator[Captured]:
    """As ``capture``, for the input of ``layer``: its first argument, graph attached."""
    inputs = Captured()

    def hook(_module: nn.Module, args: tuple[Tensor, ...], named: dict[str, Tensor]) -> None:
        inputs[layer] = args[0] if args else next(iter(named.values()))

    with turn(module), find_layer(module, layer).register_forward_pre_hook(hook, with_kwargs=True):
        yield inputs


class Call(NamedTuple):
    """One call of a module, and the tensor that it returned."""

    name: str
    module: nn.Module
    output: Tensor


def trace_calls(module: nn.Module, images: Tensor) -> tuple[list[Call], Tensor]:
    """The calls of one forward pass that returned floating-point tensors, in the order in which they ended; and the logits.

    The module is frozen meanwhile, so there is a graph only where the images have one. Nothing is cloned: two modules that
    return the same tensor can be recognized.
    """
    names = {m: name for name, m in module.named_modules()}
    calls: list[Call] = []

    def note(m: nn.Module, _args: object, output: object) -> None:
        tensor = first_tensor(output)
        if tensor is not None and tensor.is_floating_point():
            calls.append(Call(names[m], m, tensor))

    with frozen(module), ExitStack() as stack:
        for m in module.modules():
            stack.enter_context(m.register_forward_hook(note))
        final = scores_of_pass(module, images)
    return calls, final


def places_of_calls(module: nn.Module, images: Tensor) -> dict[nn.Module, int]:
    """The modules that one forward pass calls, each with the place of its latest call among all that begin."""
    begun: list[nn.Module] = []

    def note(m: nn.Module, _args: object) -> None:
        begun.append(m)

    with turn(module), ExitStack() as stack:
        for m in module.modules():
            stack.enter_context(m.register_forward_pre_hook(note))
        run(module, images)
    return {m: place for place, m in enumerate(begun)}


def perturbable(module: nn.Module, layers: Collection[str], images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """A forward pass that adds zeros to the first tensor of each layer: the zeros of its latest call, and the logits.

    The gradient by the zeros shows how the logits depend on the features. It is zero where the network goes on with another
    tensor of the layer's output, as with the pooled one of a Hugging Face backbone.
    """
    zeros: dict[str, Tensor] = {}

    def add(name: str, _module: nn.Module, _args: object, output: object) -> object:
        if (tensor := first_tensor(output)) is None:
            return output
        zeros[name] = torch.zeros_like(tensor).requires_grad_()
        return with_first_tensor(output, tensor + zeros[name])

    with turn(module), ExitStack() as stack:
        for name in layers:
            stack.enter_context(find_layer(module, name).register_forward_hook(partial(add, name)))
        return zeros, scores_of_pass(module, images)


def scores_of_pass(module: nn.Module, images: Tensor) -> Tensor:
    """One forward pass: the logits, which are the input of a softmax or a sigmoid at the network's end."""
    with Watch() as watch:
        answer = logits_in(run(module, images))
    found = logits_behind(answer, watch.calls)
    return answer if found is None else found[1]


@contextmanager
def forward_replaced(module: nn.Module, forward: Callable[..., object]) -> Generator[None]:
    """Inside the block, a call of the module runs ``forward`` in place of the module's own.

    Open it where the thread has its turn with the network around the module: this costs too much for one module of many.
    """
    own = module.__dict__.get("forward")
    module.__dict__["forward"] = forward
    try:
        yield
    finally:
        del module.__dict__["forward"]
        if own is not None:
            module.__dict__["forward"] = own
