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

CONSTANT = frozenset(
    "Softmax SafeSoftmax LogSoftmax Sigmoid Hardsigmoid LogSigmoid Softplus Exp Exp2 Erf Erfc Cos Rsqrt Reciprocal".split()
)
"""Operations whose results are constant. The names are those of autograd's nodes, without "Backward0"."""
KEPT: Mapping[str, int] = {"Div": 0, "GridSampler2D": 0, "ScaledDotProductAttention": 2}
"""Operations of which one input alone is variable: the numerator, the sampled picture, the values of fused attention."""
FACTORS: Mapping[str, tuple[int, int]] = {
    **dict.fromkeys(("Mul", "Mm", "Bmm", "Mv", "Dot", "Linear", "MkldnnLinear", "Convolution"), (0, 1)),
    **dict.fromkeys(("Addmm", "Baddbmm", "Addbmm", "Addmv", "Addcmul"), (1, 2)),
}
"""Products, and which of their inputs are the factors."""
DEGREES: Mapping[str, float] = {"Sqrt": 0.5, "Var": 2}
"""Functions f(x) = x^p up to a factor, and p: the usual gradient is p times that of x times the constant f(x) / x."""
RATIOS: Mapping[str, Callable[[Any], Callable[[], Tensor]]] = {
    "Gelu": lambda node: partial(_ratio, node._saved_self.detach(), partial(F.gelu, approximate=node._saved_approximate)),
    "Silu": lambda node: partial(_ratio, node._saved_self.detach(), F.silu),
    "Mish": lambda node: partial(_ratio, node._saved_self.detach(), F.mish),
    "Hardswish": lambda node: partial(_ratio, node._saved_self.detach(), F.hardswish),
    "Tanh": lambda node: partial(_ratio_of_tanh, node._saved_result.detach()),
    "Elu": lambda node: _ratio_of_elu(node),
}
"""Functions with f(0) = 0: what computes the constant f(x) / x."""
NORMALIZATIONS: Mapping[str, Callable[[Any, Tensor], Tensor]] = {
    "NativeLayerNorm": lambda node: partial(_layer_norm, *_scale_of(node), len(node._saved_normalized_shape)),
    "NativeGroupNorm": lambda node: partial(_group_norm, *_scale_of(node)),
    **dict.fromkeys(
        ("NativeBatchNorm", "CudnnBatchNorm", "MiopenBatchNorm"), lambda node: partial(_batch_norm, *_scale_of(node))
    ),
}
"""Normalizations by statistics of their own input: the deviation is constant, and the mean is linear."""
SUMS = frozenset("Add Sub Rsub".split())
PASSING = frozenset("Mul Div Neg Hardtanh Clamp ClampMin ClampMax View Expand Unsqueeze".split())
"""Operations on the way of a gate to its product, such as the division in x * (relu6(x + 3) / 6)."""
KNOWN = {*CONSTANT, *KEPT, *FACTORS, *DEGREES, *RATIOS, *NORMALIZATIONS, *SUMS, *PASSING, "Pow", "Glu"} | set(
    """AccumulateGrad CopySlices Abs AdaptiveAvgPool2D AdaptiveAvgPool3D AdaptiveMaxPool2D Alias Amax Amin AsStrided AvgPool2D
    AvgPool3D Cat Clone Col2Im ConstantPadNd Copy Cumsum Diagonal Flip Gather Im2Col Index IndexAdd IndexPut IndexSelect LeakyRelu
    LinalgVectorNorm MaskedFill MaskedScatter Max MaxPool2DWithIndices MaxPool3DWithIndices Maximum Mean Median Min Minimum
    MkldnnAdaptiveAvgPool2D MkldnnConvolution MkldnnMaxPool2D NativeDropout Norm Permute PixelShuffle PixelUnshuffle
    PreluKernel ReflectionPad2D Relu Repeat ReplicationPad2D ReshapeAlias Roll Scatter ScatterAdd Select SelectScatter Slice
    SliceScatter Sort Split SplitWithSizes Squeeze Stack Std StdMean Sum T ToCopy Topk Transpose Tril Triu Unbind Unfold
    UnsafeSplit UnsafeView UpsampleBicubic2D UpsampleBilinear2D UpsampleNearest2D UpsampleNearestExact2D VarMean ViewAsComplex
    ViewAsReal Where""".split()
)
"""Operations after which completeness holds: those with a rule above, and those that are linear, or linear in pieces."""


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
        flows[node] = flow = _flow(node, edges, variable, constant)
        passed = {edge for edge, factor in zip(edges, flow.factors, strict=True) if factor is not None} - {None}
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


def _flow(node: Any, edges: list[Node | None], variable: set[Node | None], constant: set[Node | None]) -> _Flow:
    """The rule of one operation, when it is known which of its inputs are variable and which are constant."""
    name, cut = _name(node), _Flow([None for _ in edges])
    usual: list[Factor] = [None if edge in constant else 1.0 for edge in edges]
    if name in CONSTANT or node.name() == "PowBackward2":  # which is a number to the power of the input
        return cut
    if name in KEPT:
        return _Flow([factor if i == KEPT[name] else None for i, factor in enumerate(usual)])
    if name == "Pow":
        p = node._saved_exponent
        return cut if p <= 0 else _Flow([usual[0] and 1 / p, *cut.factors[1:]])
    if name in DEGREES:
        return _Flow([factor and 1 / DEGREES[name] for factor in usual])
    if name in FACTORS and all(i < len(edges) and edges[i] in variable for i in FACTORS[name]):
        gates = [i for i in FACTORS[name] if _is_gate(edges[i])]
        new: dict[int, Factor] = dict.fromkeys(gates) if gates else dict.fromkeys(FACTORS[name], 0.5)
        return _Flow([new.get(i, factor) for i, factor in enumerate(usual)])
    if name in RATIOS:
        return _Flow(usual, partial(_times, RATIOS[name](node)))
    if name == "Glu":
        return _Flow(usual, partial(_glu, node._saved_self.detach(), node._saved_dim))
    if name in NORMALIZATIONS and getattr(node, "_saved_training", True):
        return _Flow(usual, NORMALIZATIONS[name](node))
    return _Flow(usual)


def _is_known(node: Node, constant: set[Node | None]) -> bool:
    """Is completeness kept at a node? A sum of a variable and a constant that depends on the picture has no rule."""
    return _name(node) in KNOWN and (_name(node) not in SUMS or all(e not in constant for e, _ in node.next_functions))


def _is_gate(node: Any) -> bool:
    """Is a factor of a product a variable plus a number, as 1 + tanh(x)? Of it and a variable, the variable goes on."""
    while node is not None:
        inputs = [edge for edge, _ in node.next_functions if edge is not None]
        if len(inputs) != 1 or _name(node) not in SUMS | PASSING:
            return False
        if _name(node) in SUMS:
            return True
        node = inputs[0]
    return False


# -- the graph ----------------------------------------------------------------------------------------------------------


def _name(node: Node) -> str:
    """ "Gelu" of GeluBackward0. A node of a function in Python keeps its whole name, which has no number."""
    name = re.sub(r"Backward\d+$", "", node.name().removeprefix("torch::autograd::"))
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
            if edge in flows and factor is not None and edge not in seen:
                seen.add(edge)
                waiting.append(edge)


def _hook(node: Node, flow: _Flow) -> None:
    """The gradients that the node passes on are those of its flow. The hook must not know the node, which would never end."""
    factors = [1.0 if edge is None else factor for (edge, _), factor in zip(node.next_functions, flow.factors, strict=True)]
    if flow.rule is None and all(isinstance(factor, float) and factor == 1 for factor in factors):
        return

    def repaired(by_inputs: tuple[Tensor | None, ...], by_output: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
        new = [None if g is None or f is None else (f * g).to(g.dtype) for g, f in zip(by_inputs, factors, strict=True)]
        if flow.rule is not None and by_inputs[0] is not None and by_output[0] is not None and factors[0] is not None:
            new[0] = flow.rule(by_output[0]).to(by_inputs[0].dtype)
        return tuple(new)

    node.register_hook(repaired)


# -- the rules ----------------------------------------------------------------------------------------------------------


def _exact(x: Tensor) -> Tensor:
    """In single precision at least."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


def _ratio(x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """f(x) / x; at 0, and nearer than numbers can say, it is that of a tiny x."""
    x = _exact(x)
    tiny = torch.finfo(x.dtype).tiny ** 0.5
    x = torch.where(x.abs() < tiny, tiny, x)
    return function(x) / x


def _ratio_of_tanh(y: Tensor) -> Tensor:
    """tanh(x) / x of y = tanh(x): the graph keeps no x. Where y is rounded to 1, x is the smallest number that gives it."""
    y = y.double()
    one = 1 - torch.finfo(y.dtype).eps / 2
    x = y.clamp(-one, one).atanh()
    return torch.where(x == 0, 1.0, y / x)


def _ratio_of_elu(node: Any) -> Callable[[], Tensor]:
    """f(x) / x of f(x) = scale (x if x > 0 else alpha (exp(input_scale x) - 1)): ELU, SELU and CELU."""
    alpha, scale, inner = node._saved_alpha, node._saved_scale, node._saved_input_scale

    def function(x: Tensor) -> Tensor:
        return scale * torch.where(x > 0, x, alpha * torch.expm1(inner * x.clamp(max=0)))

    def ratio(x: Tensor | None, y: Tensor | None) -> Tensor:
        if x is None:  # the function was computed in place, and the graph has its result
            assert y is not None
            x = torch.where(y > 0, y / scale, torch.log1p((_exact(y) / (alpha * scale)).clamp(-1 + 1e-7, 0)) / inner)
        return _ratio(x, function)

    x, y = (getattr(node, name, None) for name in ("_saved_self", "_saved_result"))
    return partial(ratio, None if x is None else x.detach(), None if y is None else y.detach())


def _times(ratio: Callable[[], Tensor], by_output: Tensor) -> Tensor:
    return by_output * ratio()


def _glu(x: Tensor, dim: int, by_output: Tensor) -> Tensor:
    """GLU is a sigmoid(b) of the halves a and b of its input: the gate is constant."""
    gate = x.chunk(2, dim)[1].sigmoid()
    return torch.cat([by_output * gate, torch.zeros_like(by_output)], dim)


def _scale_of(node: Any) -> tuple[Tensor, Tensor | None]:
    """One over the deviation, and the weight of a normalization."""
    weight = node._saved_weight
    return node._saved_result2.detach(), None if weight is None else weight.detach()


def _layer_norm(inverse: Tensor, weight: Tensor | None, axes: int, by_output: Tensor) -> Tensor:
    g = by_output if weight is None else by_output * weight
    return inverse * (g - g.mean(tuple(range(-axes, 0)), keepdim=True))


def _group_norm(inverse: Tensor, weight: Tensor | None, by_output: Tensor) -> Tensor:
    g = by_output if weight is None else by_output * weight.reshape(-1, *[1] * (by_output.ndim - 2))
    groups = g.reshape(*inverse.shape, -1)
    return (inverse[..., None] * (groups - groups.mean(-1, keepdim=True))).reshape(g.shape)


def _batch_norm(inverse: Tensor, weight: Tensor | None, by_output: Tensor) -> Tensor:
    axes = tuple(i for i in range(by_output.ndim) if i != 1)
    shape = (-1, *[1] * (by_output.ndim - 2))
    g = by_output if weight is None else by_output * weight.reshape(shape)
    return inverse.reshape(shape) * (g - g.mean(axes, keepdim=True))
