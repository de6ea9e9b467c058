"""LibraGrad (Mehri et al., 2025): the backward pass is repaired, so that gradients account for the whole logit.

A network of linear layers and ReLUs is complete: each input times its gradient and each bias times its gradient sum to the
logit. A transformer is not, because of its gates, its attention and its normalizations. The repair makes every tensor either
*variable*, for which that sum holds, or *constant*, which means that no gradient goes through it:

- attention weights, gates and divisors are constant: a softmax, a sigmoid, the statistics of a normalization;
- f(x) with f(0) = 0, such as GELU(x) = x g(x), is x times a constant, f(x) / x;
- a product of two variable tensors, as in SwiGLU, gives each of them half of the gradient.

All other operations are linear, or linear in pieces, and stay as they are. The repair is a set of hooks on the graph that
autograd has recorded. So the forward pass is the same to the bit, with fused attention too. A module, a function and plain
arithmetic are the same to a graph. The hooks live as long as the graph does, and nothing has to be given back.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.nn import functional as F

from seewhy.classifier.outputs import IN_WORDS, Ending
from seewhy.errors import UnsuitedError

Factor = float | Tensor | None
"""What a gradient is multiplied by on its way to an input of an operation; None cuts the way."""

CONSTANT = {
    *("Softmax", "SafeSoftmax", "LogSoftmax", "Sigmoid", "Hardsigmoid", "LogSigmoid", "Softplus", "Exp", "Exp2"),
    *("Erf", "Erfc", "Cos", "Rsqrt", "Reciprocal"),
}
"""Operations whose results are constant. The names are those of autograd's nodes, without "Backward0"."""
KEPT = {"Div": 0, "GridSampler2D": 0, "ScaledDotProductAttention": 2}
"""Operations of which one input alone is variable: the numerator, the sampled picture, the values of fused attention."""
FACTORS = {
    **dict.fromkeys(("Mul", "Mm", "Bmm", "Mv", "Dot", "Linear", "MkldnnLinear", "Convolution"), (0, 1)),
    **dict.fromkeys(("Addmm", "Baddbmm", "Addbmm", "Addmv", "Addcmul"), (1, 2)),
}
"""Products, and which of their inputs are the two factors."""
DEGREES = {"Sqrt": 0.5, "Var": 2}
"""Functions f that grow as x^p, and p: the usual gradient is p times that of x times the constant f(x) / x."""
SELF_GATED: dict[str, Callable[[Any], Callable[[Tensor], Tensor]]] = {
    "Gelu": lambda node: partial(F.gelu, approximate=node._saved_approximate),
    "Silu": lambda _: F.silu,
    "Mish": lambda _: F.mish,
    "Hardswish": lambda _: F.hardswish,
    "Elu": lambda node: partial(_elu, *_scales(node)),
    "Celu": lambda node: partial(F.celu, alpha=float(node._saved_alpha)),
}
"""Functions with f(0) = 0."""
STANDARDIZED = {"NativeLayerNorm", "NativeGroupNorm", "NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm"}
"""Normalizations by statistics of their own input: the deviation is constant, and the mean is linear."""
SUMS = {"Add", "Sub", "Rsub"}
CUT_OFF = {"Hardtanh", "ClampMax"}
"""Operations with an upper bound, such as ReLU6."""
VIEWS = {"View", "UnsafeView", "ReshapeAlias", "Expand", "Unsqueeze", "Squeeze", "Transpose", "Permute", "T", "Clone"}
PASSING = {"Mul", "Div", "Neg", "Clamp", "ClampMin"}
"""Operations that may lie on the way of a gate to its product, such as the division in x * (relu6(x + 3) / 6)."""
LINEAR = """
AccumulateGrad CopySlices Abs AdaptiveAvgPool2D AdaptiveAvgPool3D AdaptiveMaxPool2D Alias Amax Amin AsStrided AvgPool2D
AvgPool3D Cat Col2Im ConstantPadNd Copy Cumsum Diagonal Flip Gather Im2Col Index IndexAdd IndexPut IndexSelect
LeakyRelu LinalgVectorNorm MaskedFill MaskedScatter Max MaxPool2DWithIndices MaxPool3DWithIndices Maximum Mean Median Min
Minimum MkldnnAdaptiveAvgPool2D MkldnnConvolution MkldnnMaxPool2D NativeDropout Norm PixelShuffle PixelUnshuffle
PreluKernel ReflectionPad2D Relu Repeat ReplicationPad2D Roll Scatter ScatterAdd Select SelectScatter Slice
SliceScatter Sort Split SplitWithSizes Stack Std StdMean Sum ToCopy Topk Tril Triu Unbind Unfold
UnsafeSplit UpsampleBicubic2D UpsampleBilinear2D UpsampleNearest2D UpsampleNearestExact2D VarMean
ViewAsComplex ViewAsReal Where
"""
"""Operations that are linear, or linear in pieces: they stay as they are."""
KNOWN = {
    *(*CONSTANT, *KEPT, *FACTORS, *DEGREES, *SELF_GATED, *STANDARDIZED, *SUMS, *PASSING, *VIEWS, *LINEAR.split()),
    *("Pow", "Tanh", "Glu"),
}


class _Flow(NamedTuple):
    """What becomes of a gradient at a node."""

    factors: list[Factor]
    """One for each input."""
    rule: Callable[[Tensor], Tensor] | None = None
    """In place of the first factor: makes the gradient by the first input of the gradient by the output."""


def balance(output: Tensor, *inputs: Tensor) -> list[str]:
    """Repair the graph of a network's ``output``: from now on, gradients by what the network was given are LibraGrad's.

    Args:
        output: what the network returned, graph attached.
        inputs: where the network begins. What comes before these tensors stays as it is.

    Returns:
        The operations that a gradient passes and for which there is no rule, such as "Log". Their gradient is the usual one,
        and completeness is not promised.

    Raises:
        UnsuitedError: no gradient is left, because every way to the output passes something constant.
    """
    if (root := output.grad_fn) is None:  # the output is a leaf, or has no graph
        return []
    begin = {tensor.grad_fn for tensor in inputs}
    flows: dict[Node, _Flow] = {}
    variable: set[Node | None] = set()
    constant: set[Node | None] = set()
    for node in _inputs_first(root, begin):
        if node in begin or not node.next_functions:
            if not isinstance(getattr(node, "variable", None), nn.Parameter):  # a bias gets its gradient, but is no input
                variable.add(node)
            continue
        edges = [edge for edge, _ in node.next_functions]
        flows[node] = flow = _flow(node, edges, variable)
        passed = {edge for edge, factor in zip(edges, flow.factors, strict=True) if factor is not None} - constant - {None}
        if passed & variable:
            variable.add(node)
        elif not passed:
            constant.add(node)
    if root not in variable:
        raise UnsuitedError(
            "libra lets no gradient through a softmax, a sigmoid and the like, and every way from the pixels to the logits "
            "passes one here: use libra=false"
        )
    unknown = set()
    for node in _reached(root, flows):
        _hook(node, flows[node])
        if node in variable and not _is_known(node, constant):
            unknown.add(_name(node))
    return sorted(unknown)


def must_end_in_logits(ending: Ending | None, name: str) -> None:
    """UnsuitedError where a network makes probabilities itself: their logarithm is explained, and it passes constants."""
    if ending in ("distribution", "log_distribution", "part"):
        raise UnsuitedError(
            f"libra needs the logits, and {name} computes {IN_WORDS[ending]}: let it return the logits, or use libra=false"
        )


def _flow(node: Any, edges: list[Node | None], variable: set[Node | None]) -> _Flow:
    """The rule of one operation, when it is known which of its inputs are variable.

    A gradient may reach what is constant, as that by attention weights does. It goes no further.
    """
    name, cut = _name(node), _Flow([None for _ in edges])
    usual: list[Factor] = [1.0 for _ in edges]
    if name in CONSTANT or node.name() == "PowBackward2":  # which is a number to the power of the input
        return cut
    if name in KEPT:
        return _Flow([factor if i == KEPT[name] else None for i, factor in enumerate(usual)])
    if name == "Pow":
        p = node._saved_exponent
        if isinstance(p, Tensor):
            return _Flow([torch.where(p > 0, 1 / p, 0), *cut.factors[1:]])
        return _Flow([1 / p]) if p > 0 else cut
    if name in DEGREES:
        return _Flow([1 / DEGREES[name]])
    if name in FACTORS and all(i < len(edges) and edges[i] in variable for i in FACTORS[name]):
        gates = [i for i in FACTORS[name] if _is_gate(edges[i])]
        for i in FACTORS[name]:
            usual[i] = 0.5 if len(gates) != 1 else None if i in gates else 1.0
        return _Flow(usual)
    return _Flow(usual, _rule(name, node))


def _rule(name: str, node: Any) -> Callable[[Tensor], Tensor] | None:
    """The rule of an operation of one variable, from what the graph has saved of it; the rule must not know the node."""
    if name == "Elu" and not hasattr(node, "_saved_self"):  # computed in place: the graph has f(x), and no x
        return partial(_elu_in_place, node._saved_result.detach(), *_scales(node))
    if name in SELF_GATED:
        return partial(_activation, node._saved_self.detach(), SELF_GATED[name](node))
    if name == "Tanh":
        return partial(_tanh, node._saved_result.detach())
    if name == "Glu":
        return partial(_glu, node._saved_self.detach(), node._saved_dim % 2**64 - 2**64 * (node._saved_dim >= 2**63))
    if name in STANDARDIZED and getattr(node, "_saved_training", True):
        inverse, weight = node._saved_result2.detach(), node._saved_weight
        weight = inverse.new_ones(()) if weight is None else weight.detach()
        if name == "NativeLayerNorm":
            return partial(_layer_norm, inverse, weight, len(node._saved_normalized_shape))
        return partial(_group_norm if name == "NativeGroupNorm" else _batch_norm, inverse, weight)
    return None


def _is_known(node: Any, constant: set[Node | None]) -> bool:
    """Is completeness kept at a node?

    There is no rule for a sum of a variable and of a constant that depends on the picture, nor for an upper bound, such as
    that of ReLU6: what is cut off there belongs to no input.
    """
    if _name(node) in SUMS:
        return all(edge not in constant for edge, _ in node.next_functions)
    return _name(node) in KNOWN and (_name(node) != "Clamp" or node._saved_max is None)


def _is_gate(factor: Node | None) -> bool:
    """Is a factor of a product a variable plus a number, as 1 + tanh(x)? A variable beside it goes on alone.

    A linear layer is sometimes recorded as a product and a sum with its bias, and is no gate.
    """
    total = _behind(factor, PASSING | CUT_OFF | VIEWS)
    inputs = [edge for edge, _ in total.next_functions if edge is not None] if total else []
    return bool(
        total and _name(total) in SUMS and len(inputs) == 1 and _name(_behind(inputs[0], VIEWS)) not in ("Mm", "Bmm")
    )


def _behind(node: Node | None, names: set[str]) -> Node | None:
    """The first operation on the way back from ``node`` that has another name, or several inputs."""
    while node and _name(node) in names:
        inputs = [edge for edge, _ in node.next_functions if edge is not None]
        if len(inputs) != 1:
            break
        node = inputs[0]
    return node


# -- the graph ----------------------------------------------------------------------------------------------------------


def _name(node: Node | None) -> str:
    """GeluBackward0 is "Gelu". The node of a function in Python has no number, and keeps its whole name."""
    name = "" if node is None else re.sub(r"Backward\d+$", "", node.name().removeprefix("torch::autograd::"))
    return "ScaledDotProductAttention" if re.match(r"ScaledDotProduct\w*Attention", name) else name


def _inputs_first(root: Node, begin: set[Node | None]) -> Iterator[Node]:
    """All nodes behind ``root``, each after its inputs; nothing behind those of ``begin``."""
    waiting: list[tuple[Node, bool]] = [(root, False)]
    seen: set[Node] = set()
    while waiting:
        node, done = waiting.pop()
        if done:
            yield node
        elif node not in seen:
            seen.add(node)
            waiting.append((node, True))
            if node not in begin:
                waiting += [(edge, False) for edge, _ in node.next_functions if edge is not None]


def _reached(root: Node, flows: Mapping[Node, _Flow]) -> Iterator[Node]:
    """The nodes with a flow that a gradient reaches from ``root``."""
    waiting, seen = [root], {root}
    while waiting:
        node = waiting.pop()
        yield node
        for (edge, _), factor in zip(node.next_functions, flows[node].factors, strict=True):
            if edge is not None and edge in flows and factor is not None and edge not in seen:
                seen.add(edge)
                waiting.append(edge)


def _hook(node: Node, flow: _Flow) -> None:
    """Let the node pass on the gradients of its flow. The hook must not know the node, which would then never be freed."""
    factors = [1.0 if edge is None else factor for (edge, _), factor in zip(node.next_functions, flow.factors, strict=True)]
    if flow.rule is None and all(isinstance(factor, float) and factor == 1 for factor in factors):
        return

    def repaired(by_inputs: tuple[Tensor | None, ...], by_output: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        new = [None if g is None or f is None else (f * g).to(g.dtype) for g, f in zip(by_inputs, factors, strict=True)]
        if flow.rule is not None and by_inputs[0] is not None and by_output[0] is not None and factors[0] is not None:
            new[0] = flow.rule(by_output[0]).to(by_inputs[0].dtype)
        return tuple(new)

    node.register_hook(repaired)


# -- the rules: the gradient by an operation's input, of that by its output --------------------------------------------


def _activation(x: Tensor, function: Callable[[Tensor], Tensor], by_output: Tensor) -> Tensor:
    """f(x) is x times the constant f(x) / x; at 0, and nearer than numbers can say, that of a tiny x."""
    x = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
    tiny = torch.finfo(x.dtype).tiny ** 0.5
    x = torch.where(x.abs() < tiny, tiny, x)
    return by_output * (function(x) / x)


def _scales(node: Any) -> tuple[float, float, float]:
    return float(node._saved_alpha), float(node._saved_scale), float(node._saved_input_scale)


def _elu(alpha: float, scale: float, input_scale: float, x: Tensor) -> Tensor:
    """ELU and SELU."""
    return scale * torch.where(x > 0, x, alpha * torch.expm1(input_scale * x.clamp(max=0)))


def _elu_in_place(y: Tensor, alpha: float, scale: float, input_scale: float, by_output: Tensor) -> Tensor:
    """ELU of y = f(x): x is the inverse."""
    least = torch.finfo(torch.float64).eps - 1
    x = torch.where(y > 0, y.double() / scale, torch.log1p((y.double() / (alpha * scale)).clamp(least, 0)) / input_scale)
    return _activation(x, partial(_elu, alpha, scale, input_scale), by_output)


def _tanh(y: Tensor, by_output: Tensor) -> Tensor:
    """tanh(x) of y = tanh(x): x is the inverse. Where y is rounded to 1, x is the smallest number that gives 1."""
    one = 1 - torch.finfo(torch.float64).eps / 2
    return _activation(y.double().clamp(-one, one).atanh(), torch.tanh, by_output)


def _glu(x: Tensor, dim: int, by_output: Tensor) -> Tensor:
    """GLU is a sigmoid(b) of the halves a and b of its input: the gate is constant."""
    gate = x.chunk(2, dim)[1].sigmoid()
    return torch.cat([by_output * gate, torch.zeros_like(by_output)], dim)


def _layer_norm(inverse: Tensor, weight: Tensor, axes: int, by_output: Tensor) -> Tensor:
    g = by_output * weight
    return inverse * (g - g.mean(tuple(range(-axes, 0)), keepdim=True))


def _group_norm(inverse: Tensor, weight: Tensor, by_output: Tensor) -> Tensor:
    g = by_output * weight.reshape(-1, *[1] * (by_output.ndim - 2))
    groups = g.reshape(*inverse.shape, -1)
    return (inverse[..., None] * (groups - groups.mean(-1, keepdim=True))).reshape(g.shape)


def _batch_norm(inverse: Tensor, weight: Tensor, by_output: Tensor) -> Tensor:
    ones = [1] * (by_output.ndim - 2)
    g = by_output * weight.reshape(-1, *ones)
    return inverse.reshape(-1, *ones) * (g - g.mean([i for i in range(by_output.ndim) if i != 1], keepdim=True))
