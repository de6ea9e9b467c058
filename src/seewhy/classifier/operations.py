"""The tensor functions that a network calls in a pass: watched, or replaced, on networks that are not changed.

A pass is a sequence of functions of ``torch``, whatever library wrote the network. PyTorch tells a ``TorchFunctionMode``
each of them, in the thread that opened the mode, and forgets the mode when its block ends. Functions that hold others
inside, such as fused attention, are taken apart here. So one rule for products and one for softmax reach all networks.
"""

from collections.abc import Callable, Mapping, Sequence
from types import FunctionType
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

SPELLINGS = {
    **dict.fromkeys(("bmm", "mm", "__matmul__", "__rmatmul__"), "matmul"),
    **dict.fromkeys(("__add__", "__radd__", "__iadd__"), "add"),
    **dict.fromkeys(("__sub__", "__rsub__", "__isub__", "subtract", "rsub"), "sub"),
    **dict.fromkeys(("__mul__", "__rmul__", "__imul__", "multiply"), "mul"),
    **dict.fromkeys(("__truediv__", "__rtruediv__", "__rdiv__", "__itruediv__", "__div__", "true_divide", "divide"), "div"),
    **dict.fromkeys(("__pow__", "__rpow__", "__ipow__"), "pow"),
    **{"special_softmax": "softmax", "special_expit": "sigmoid", "__neg__": "neg", "__getitem__": "getitem"},
}
"""Other names of a function."""
REVERSED = ("__rmatmul__", "__rsub__", "__rtruediv__", "__rdiv__", "__rpow__", "rsub")
"""Functions whose first argument is the right operand."""


class Operations(TorchFunctionMode):
    """Inside the block, each function of ``torch`` that this thread calls goes through ``call``.

    Attention arrives in its parts: a product of queries and keys, a mask, a softmax, a product with the values. So do the
    projections of ``nn.MultiheadAttention``. A subclass overrides ``call``. What ``call`` itself computes is not seen again.
    """

    def call(self, name: str, function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """What the network gets in place of ``function(*args, **named)``.

        ``name`` is the one name of all spellings of a function: "add" also for ``+``, ``+=``, and ``add_``. For those in
        ``REVERSED`` the operands are already in their order, and ``function`` takes them in this order.
        """
        return function(*args, **named)

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given, named = tuple(args), dict(kwargs or {})
        if func in PARTS:
            with self:
                return PARTS[func](*given, **named)
        called = getattr(func, "__name__", "")
        if called in REVERSED:
            backwards = func
            given, func = (given[1], given[0], *given[2:]), lambda a, b, *rest, **more: backwards(b, a, *rest, **more)
        return self.call(name_of(called), func, given, named)


def name_of(called: str) -> str:
    """The one name of a function: without the mark of operations in place, and as most libraries spell it."""
    if called in SPELLINGS:
        return SPELLINGS[called]
    plain = called if called.startswith("__") else called.rstrip("_")
    return SPELLINGS.get(plain, plain)


def attention_in_parts(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """``F.scaled_dot_product_attention``, with a matrix of attention weights that can be seen."""
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
        value = value.repeat_interleave(query.shape[-3] // value.shape[-3], -3)
    scores = (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.transpose(-2, -1)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        scores = scores.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        scores = scores + attn_mask
    weights = scores.softmax(-1)
    if dropout_p:
        weights = F.dropout(weights, dropout_p)
    return weights @ value


def in_parts(function: Any) -> Callable[..., Any]:
    """A function of ``torch.nn.functional``, written in Python, that hands itself to no mode: its parts are seen instead.

    Such a function asks first whether a mode is there, and if so gives itself away as a whole. Here the answer is no.
    """
    no = dict.fromkeys(("has_torch_function", "has_torch_function_unary", "has_torch_function_variadic"), _no)
    inside = {**function.__globals__, **no}
    copy = FunctionType(function.__code__, inside, function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def _no(*_: object) -> bool:
    return False


PARTS: dict[Any, Callable[..., Any]] = {
    F.scaled_dot_product_attention: attention_in_parts,
    F.multi_head_attention_forward: in_parts(F.multi_head_attention_forward),
    F.normalize: in_parts(F.normalize),
}
"""Functions that hold others inside, and the same in parts."""
