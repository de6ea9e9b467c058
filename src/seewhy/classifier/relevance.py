"""Relevance: a pass whose backward carries relevance in place of gradients, on networks that are not changed.

Inside ``RelevancePass`` a network computes what it always computes. The graph behind its outputs has other backward
functions: the rules of layer-wise relevance propagation (LRP) that Chefer, Gur and Wolf use for transformers (CVPR 2021).
So ``torch.autograd.grad(logit, tensors)`` gives the relevance of the tensors, for all images of a batch at once. Relevance
starts as the ``grad_outputs`` of this call, usually 1.

The rules for the relevance R of an output z, with the paper's equations:

* A linear map of fixed weights, z = W x + b, follows eq. 5: the positive products x_j w_ji share R. A bias gets nothing.
* In a product of two tensors that both depend on the image, each factor x gets x_j dz/dx_j R/z (eq. 1), halved (eq. 9).
* In a sum of two such tensors, each x gets x_j R/z (eq. 1), scaled image by image as in eq. 9.
* Pooling gives x_j dz/dx_j R/z (eq. 1).
* Activations, softmax, normalization, and a constant that is added or multiplied, pass R on unchanged.
* What moves numbers moves R back. What copies a tensor adds up what the copies get.

The sum of the relevance stays the same, with two exceptions: an output without a positive product loses its relevance, and
so does an output of a product, a sum or a pooling that is exactly 0.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

from seewhy.classifier.operations import Operations
from seewhy.errors import UnsuitedError

LEAST = 1e-30
"""A number of this size counts as 0: nothing is divided by it."""

Computed = Callable[..., Any]
"""A function of torch."""
Scaled = Callable[[list[Tensor], Tensor], list[Tensor]]
"""The relevance of some tensors, and the relevance that they share -> the relevance of the tensors, scaled."""


class RelevancePass(Operations):
    """Inside the block, a forward pass makes a graph that carries relevance.

    Open the block around the forward pass alone, with autograd on, frozen parameters, and images that require gradients.
    A tensor that requires gradients depends on the images; every other tensor is fixed. The backward pass raises
    UnsuitedError where relevance meets a function without a rule.

    The forward pass is in float64, whatever the type of the weights. Where the two parts of a sum nearly cancel, R/z is
    large, and in float32 the rounding of z would change the map by a tenth of its range. The relevance itself is then as
    exact in the type of the images, which is faster.

    Args:
        images: what the network will get, with a row for each image.

    Attributes:
        separate: does the first axis of all sums count the images? If not, eq. 9 would mix the images of a batch, and such a
            network takes one image at a time. A pass of one image gives the certain answer.
    """

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        self.n, self.dtype, self.separate = len(images), images.dtype, True
        self.wide = images.dtype if images.device.type == "mps" else torch.float64  # Apple's GPUs have no float64

    def call(self, name: str, function: Computed, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """The function's result, whose backward is the function's rule."""
        if not any(map(_varies, _tensors_in((args, named)))):
            return function(*args, **named)
        first = next(_tensors_in((args, named)))
        if name in MOVES:
            return self._wide(first, function(*args, **named))
        writes = _writes(function, named)
        if writes:
            function = _on_copy(function)
        args, named = _in_type(args, self.wide), _in_type(named, self.wide)
        if (rule := RULES.get(name)) is not None:
            made = rule(self, function, *args, **named)
        else:
            made = _refused(name, function(*args, **named))
        return first.copy_(made) if writes else made  # others may hold the tensor that is written

    def _wide(self, before: Tensor, made: Any) -> Any:
        """``made``; but ``before``, if the network has cast it to a smaller type."""
        if not isinstance(made, Tensor) or not made.is_floating_point() or made.shape != before.shape:
            return made
        is_cast = before.dtype == self.wide != made.dtype and before.device == made.device
        return before if is_cast else made


def quotients(relevance: Tensor, made: Tensor) -> Tensor:
    """R / z, and 0 where z is 0."""
    return relevance / torch.where(made.abs() > LEAST, made, torch.inf)


# -- the relevance of what a function was given -----------------------------------------------------------------------


class _Passed(Function):
    """All relevance goes to one tensor, place by place."""

    @staticmethod
    def forward(ctx: Any, made: list[Tensor], x: Tensor) -> Tensor:
        ctx.shape = x.shape
        return made[0]

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> Any:
        return None, relevance.sum_to_size(ctx.shape)


class _Positive(Function):
    """A linear map of fixed weights: x gets its share of the positive products (eq. 5)."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, function: Computed, bare: Computed, x: Tensor, weight: Tensor) -> Tensor:
        ctx.function, ctx.divisor = bare, None
        ctx.save_for_backward(x.to(dtype, copy=True), weight.to(dtype))
        made: Tensor = function(x, weight)
        return made

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        halves = [(x.clamp(min=0), weight.clamp(min=0)), (x.clamp(max=0), weight.clamp(max=0))]
        if ctx.divisor is None:  # the same for every class
            ctx.divisor = sum(ctx.function(*half) for half in halves).clamp_(min=LEAST)
        shares = relevance.to(x) / ctx.divisor
        of_plus, of_minus = (part * _pulled(ctx.function, part, w, shares) for part, w in halves)
        return None, None, None, of_plus + of_minus, None


def _pulled(function: Computed, x: Tensor, weight: Tensor, shares: Tensor) -> Tensor:
    """The gradient of the sum of shares * function(x, weight) by x."""
    if function is F.linear:
        return shares @ weight
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        made = function(x, weight)
    return torch.autograd.grad(made, x, shares)[0]


class _Shared(Function):
    """Each of the tensors x gets x dz/dx R/z (eq. 1); then they are scaled."""

    @staticmethod
    def forward(ctx: Any, dtype: torch.dtype, function: Computed, scaled: Scaled, *tensors: Tensor) -> Tensor:
        made: Tensor = function(*tensors)
        ctx.function, ctx.scaled = function, scaled
        ctx.save_for_backward(*(x.to(dtype, copy=True) for x in (made, *tensors)))
        return made

    @staticmethod
    def backward(ctx: Any, relevance: Tensor) -> Any:
        made, *tensors = ctx.saved_tensors
        relevance = relevance.to(made)
        inputs = [x.detach().requires_grad_() for x in tensors]
        with torch.enable_grad():
            again = ctx.function(*inputs)
        gradients = torch.autograd.grad(again, inputs, quotients(relevance, made))
        parts = [x * gradient for x, gradient in zip(tensors, gradients, strict=True)]
        return None, None, None, *ctx.scaled(parts, relevance)


class _Refused(Function):
    """No relevance can come back here."""

    @staticmethod
    def forward(ctx: Any, name: str, made: Tensor) -> Tensor:
        ctx.name = name
        ctx.set_materialize_grads(False)  # a branch that gets no relevance is no fault
        return made.clone()

    @staticmethod
    def backward(ctx: Any, relevance: Tensor | None) -> Any:
        if relevance is not None and relevance.any():
            raise UnsuitedError(
                f"relevance has no rule for {ctx.name!r}, which this network computes between its attention and its logits: "
                "choose attention_gradients, which needs no rules"
            )
        return None, relevance


def in_equal_parts(parts: list[Tensor], _: Tensor) -> list[Tensor]:
    """The factors of a product would get all of the relevance, each of them: eq. 9 gives half to each."""
    return [part / len(parts) for part in parts]


def in_proportion(parts: list[Tensor], relevance: Tensor) -> list[Tensor]:
    """Eq. 9 for the parts P and Q of a sum: an image's P is scaled to the sum R |P| / (|P| + |Q|), of sums over the image.

    The first axis counts the images.
    """
    sums = [_over_image(part) for part in parts]
    sizes, total = [s.abs() for s in sums], _over_image(relevance)
    factors = [quotients(total * quotients(size, sizes[0] + sizes[1]), s) for size, s in zip(sizes, sums, strict=True)]
    return [part * f.to(part).view(-1, *(1,) * (part.ndim - 1)) for part, f in zip(parts, factors, strict=True)]


def as_one_image(parts: list[Tensor], relevance: Tensor) -> list[Tensor]:
    """As ``in_proportion``, where no axis counts images."""
    return [part[0] for part in in_proportion([part[None] for part in parts], relevance[None])]


def _over_image(tensor: Tensor) -> Tensor:
    wide = tensor.dtype if tensor.device.type == "mps" else torch.float64  # large parts nearly cancel
    return tensor.flatten(1).sum(1, dtype=wide) if tensor.ndim > 1 else tensor.to(wide)


# -- the rule of a function -------------------------------------------------------------------------------------------


def _unchanged(_: RelevancePass, function: Computed, *args: Any, **named: Any) -> Tensor:
    varying = next(filter(_varies, _tensors_in((args, named))))
    with torch.no_grad():
        made: Tensor = function(*args, **named)
    passed: Tensor = made if made is varying else _Passed.apply([made], varying)  # written in place: its graph is right
    return passed


def _shared(run: RelevancePass, function: Computed, scaled: Scaled, *tensors: Tensor) -> Tensor:
    made: Tensor = _Shared.apply(run.dtype, function, scaled, *tensors)
    return made


def _sum(run: RelevancePass, function: Computed, input: Any, other: Any, **named: Any) -> Tensor:
    if not (_varies(input) and _varies(other)):
        return _unchanged(run, function, input, other, **named)
    run.separate &= input.ndim == other.ndim > 0 and len(input) == len(other) == run.n
    scaled = in_proportion if run.n > 1 else as_one_image
    return _shared(run, lambda u, v: function(u, v, **named), scaled, input, other)


def _elementwise_product(run: RelevancePass, function: Computed, input: Any, other: Any) -> Tensor:
    if not (_varies(input) and _varies(other)):
        return _unchanged(run, function, input, other)
    return _shared(run, function, in_equal_parts, input, other)


def _product(run: RelevancePass, function: Computed, input: Tensor, other: Tensor) -> Tensor:
    if _varies(input) and _varies(other):
        return _shared(run, function, in_equal_parts, input, other)
    if _varies(input):
        return _linear(run, lambda x, w, _: function(x, w), input, other)
    return _linear(run, lambda x, w, _: function(w, x), other, input)


def _einsum(run: RelevancePass, function: Computed, equation: str, *operands: Any) -> Tensor:
    factors = operands if isinstance(operands[0], Tensor) else operands[0]
    if len(factors) == 1:
        return _pooling(run, lambda x: function(equation, x), *factors)
    if len(factors) == 2:
        return _product(run, lambda u, v: function(equation, u, v), *factors)
    made: Tensor = _refused("einsum of several tensors", function(equation, *factors))
    return made


def _linear(
    run: RelevancePass, function: Computed, input: Tensor, weight: Tensor, bias: Any = None, *rest: Any, **named: Any
) -> Tensor:
    made: Tensor
    if _varies(weight) or _varies(bias):
        made = _refused("a linear map whose weights depend on the image", function(input, weight, bias, *rest, **named))
        return made

    def with_bias(x: Tensor, w: Tensor) -> Any:
        return function(x, w, bias, *rest, **named)

    def bare(x: Tensor, w: Tensor) -> Any:
        return function(x, w, None, *rest, **named)

    made = _Positive.apply(run.dtype, with_bias, F.linear if function is F.linear else bare, input, weight)
    return made


def _pooling(run: RelevancePass, function: Computed, input: Tensor, *rest: Any, **named: Any) -> Tensor:
    return _shared(run, lambda x: function(x, *rest, **named), in_equal_parts, input)


PASS_ON = (
    *("relu", "relu6", "leaky_relu", "prelu", "elu", "selu", "celu", "gelu", "silu", "mish", "sigmoid", "tanh", "softplus"),
    *("softsign", "hardtanh", "hardswish", "hardsigmoid", "log_sigmoid", "logsigmoid", "threshold", "logit", "erf", "exp"),
    *("log", "log1p", "pow", "square", "sqrt", "rsqrt", "reciprocal", "abs", "neg", "negative", "nan_to_num"),
    *("clamp", "clamp_min", "clamp_max", "clip", "softmax", "log_softmax", "softmin"),
)
NORMALIZE = ("layer_norm", "rms_norm", "group_norm", "batch_norm", "instance_norm", "div")
"""A division by a tensor is a part of a normalization: the divisor gets nothing, as in layer normalization."""
RULES: dict[str, Callable[..., Tensor]] = {
    **dict.fromkeys((*PASS_ON, *NORMALIZE), _unchanged),
    **dict.fromkeys(("add", "sub"), _sum),
    **{"mul": _elementwise_product, "matmul": _product, "einsum": _einsum},
    **dict.fromkeys(("linear", "conv1d", "conv2d", "conv3d"), _linear),
    **dict.fromkeys(("mean", "sum", "avg_pool1d", "avg_pool2d", "adaptive_avg_pool1d", "adaptive_avg_pool2d"), _pooling),
}
"""The rule of each function that computes."""
MOVES = frozenset(
    (
        *("reshape", "reshape_as", "view", "view_as", "flatten", "unflatten", "ravel", "squeeze", "unsqueeze", "transpose"),
        *("permute", "movedim", "moveaxis", "swapaxes", "swapdims", "t", "adjoint", "contiguous", "clone", "positive"),
        *("expand", "expand_as", "broadcast_to", "broadcast_tensors", "repeat", "repeat_interleave", "tile", "to", "type"),
        *("type_as", "float", "double", "half", "bfloat16", "cpu", "cuda", "getitem", "__setitem__", "__get__", "select"),
        *("narrow", "index_select", "gather", "take_along_dim", "diagonal", "unfold", "roll", "flip", "pad", "unbind"),
        *("cat", "concat", "concatenate", "stack", "hstack", "vstack", "split", "split_with_sizes", "chunk", "tensor_split"),
        *("masked_fill", "where", "tril", "triu", "max", "amax", "dropout", "dropout1d", "dropout2d", "alpha_dropout"),
        *("copy_", "copy", "detach", "requires_grad", "pixel_shuffle", "pixel_unshuffle"),
    )
)
"""Functions that move, copy or choose numbers: their own backward moves relevance."""


# -- tensors and functions --------------------------------------------------------------------------------------------


def _varies(x: object) -> bool:
    """Does the tensor depend on the images?"""
    return isinstance(x, Tensor) and x.requires_grad


def _tensors_in(given: object) -> Iterator[Tensor]:
    if isinstance(given, Tensor):
        yield given
    elif isinstance(given, tuple | list):
        for part in given:
            yield from _tensors_in(part)
    elif isinstance(given, dict):
        yield from _tensors_in(tuple(given.values()))


def _in_type(given: Any, dtype: torch.dtype) -> Any:
    """The same with floating-point numbers in ``dtype``, and with its name in the place of the names of such types."""
    if isinstance(given, Tensor):
        return given.to(dtype) if given.is_floating_point() else given
    if isinstance(given, torch.dtype):
        return dtype if given.is_floating_point else given
    if isinstance(given, dict):
        return {key: _in_type(part, dtype) for key, part in given.items()}
    return type(given)(_in_type(part, dtype) for part in given) if type(given) in (tuple, list) else given


def _refused(name: str, made: Any) -> Any:
    """What a function without a rule returned: its backward says so."""
    if isinstance(made, tuple | list):
        return (
            [_refused(name, part) for part in made] if type(made) is list else tuple(_refused(name, part) for part in made)
        )
    return _Refused.apply(name, made) if _varies(made) else made


def _writes(function: Computed, named: dict[str, Any]) -> bool:
    """Does the function overwrite its first argument?"""
    called = getattr(function, "__name__", "")
    in_place = called.startswith("__i") if called.startswith("__") else called.endswith("_")
    return in_place or bool(named.get("inplace"))


def _on_copy(function: Computed) -> Computed:
    """The function, which overwrites a copy of its first argument."""
    return lambda first, *rest, **named: function(first.clone(), *rest, **named)
