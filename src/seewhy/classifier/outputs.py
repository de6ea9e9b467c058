"""What a network returns: logits, probabilities of which the logits can be had, or values that are no class scores.

A network may end in a softmax, in sigmoids, or in a sum by which it divides. All methods need the logits. They are the input
of the softmax or of the sigmoid where that call is seen. Where no such call is seen, the logarithm of the probabilities is
exact: log p are logits of a softmax, and log(p / (1 - p)) is the logit of a sigmoid. A probability of exactly 0 has no
logarithm, and the network is refused.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid
from torch.overrides import TorchFunctionMode

from seewhy.errors import SeewhyError

Outputs = Literal["logits", "probabilities", "values", "embedding"]
"""What the numbers are that a network returns. "values" of a regression and an "embedding" are no class scores."""
Ending = Literal[
    "logits", "softmax", "log_softmax", "sigmoid", "logsigmoid", "distribution", "log_distribution", "part", "values",
    "embedding",
]  # fmt: skip
"""How a network ends. "distribution": probabilities of unknown origin that sum to 1. "part": each probability by itself."""
NO_SCORES: tuple[Ending, ...] = ("values", "embedding")
"""Numbers that are no scores of classes: they have no probabilities."""
UNDONE: dict[Ending, Callable[[Tensor], Tensor]] = {
    "softmax": lambda z: z.softmax(1),
    "log_softmax": lambda z: z.log_softmax(1),
    "sigmoid": torch.sigmoid,
    "logsigmoid": logsigmoid,
}
"""The last functions of networks whose input is the logits."""
BOUNDED = ("sigmoid", "hardsigmoid", "clamp", "hardtanh", "softmax")
"""Functions that may make probabilities."""
SAME = {
    **{"log_sigmoid": "logsigmoid", "special_softmax": "softmax", "special_log_softmax": "log_softmax"},
    **{"special_expit": "sigmoid", "sigmoid_": "sigmoid", "hardtanh_": "hardtanh"},
    **{"clip": "clamp", "clamp_": "clamp", "clip_": "clamp"},
}
"""Other names of these functions."""
LEAST_CHANGE = 0.05
"""Numbers that change less from picture to picture are those of a network that has learned nothing."""
IN_WORDS: dict[Ending, str] = {
    "logits": "logits",
    "softmax": "probabilities by a softmax, whose input is explained",
    "log_softmax": "logarithms of a softmax, whose input is explained",
    "sigmoid": "probabilities by a sigmoid, whose input is explained",
    "logsigmoid": "logarithms of a sigmoid, whose input is explained",
    "distribution": "probabilities, whose logarithm is explained",
    "log_distribution": "logarithms of probabilities, which are explained",
    "values": "values, no class scores",
    "embedding": "an embedding, no class scores",
    "part": "probabilities p, of which log(p / (1 - p)) is explained",
}
HEADS = ("fc", "head", "heads", "classifier", "last_linear")
"""Names that libraries give to the last layer."""
LOGITS = ("logits", "logits_per_image")
"""Names under which networks of Transformers return logits."""
POOLED = ("pool", "embed", "feature", "hidden")
"""Parts of the names under which networks return what they have seen, and not what they conclude."""


class OutputsWarning(UserWarning):
    """The network returns something else than logits."""


class _Call(NamedTuple):
    """A call of one of the functions above: its name, what it was given, and what it made."""

    name: str
    given: Tensor
    made: Tensor


class Watch(TorchFunctionMode):
    """Inside the block, the calls are noted that may make probabilities of one image: not those inside attentions."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[_Call] = []

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        called = getattr(func, "__name__", "")
        name = SAME.get(called, called)
        given: Any = args[0] if args else (kwargs or {}).get("input")
        watched = name in (*UNDONE, *BOUNDED) and isinstance(given, Tensor) and _is_row(given)
        if watched and called.endswith("_"):
            given = given.clone()  # the call overwrites its input
        made = func(*args, **(kwargs or {}))
        if watched and isinstance(made, Tensor):
            self.calls.append(_Call(name, given, made))
        return made


def _is_row(tensor: Tensor) -> bool:
    """Does the tensor have one row of numbers for each image, (n, k), (n,) or (n, k, 1, 1)?"""
    return tensor.is_floating_point() and sum(size > 1 for size in tensor.shape[1:]) <= 1


def logits_behind(answer: Tensor, calls: Sequence[_Call]) -> tuple[Ending, Tensor] | None:
    """The function of ``UNDONE`` that makes ``answer`` (n, k) of one of the inputs of ``calls``, and that input (n, k)."""
    for name, given, _ in reversed(calls if answer.ndim == 2 else ()):
        for kind, function in UNDONE.items():
            if name == kind and given.numel() == answer.numel():
                logits = (given if given.shape == answer.shape else given.reshape(answer.shape)).to(answer.device)
                if _close(function(logits.detach()), answer.detach()):
                    return kind, logits
    return None


def as_logits(answer: Tensor, calls: Sequence[_Call], name: str, outputs: Outputs | None = None) -> tuple[Ending, Tensor]:
    """How the network called ``name`` has ended, and the logits (n, k) of its ``answer`` (n, k).

    ``outputs`` is what the user says that they are. SeewhyError where the logits cannot be had exactly.
    """
    if outputs in ("logits", *NO_SCORES):
        return "logits", answer
    if (found := logits_behind(answer, calls)) is not None:
        if found[0] in ("softmax", "log_softmax") and answer.shape[1] == 1:
            raise SeewhyError(f"{name} has a softmax over one output, which is always 1: use a sigmoid, or return the logit")
        return found
    p = answer.detach().float()
    total = p.sum(1)
    some = p.numel() > 0 and bool(torch.isfinite(p).all())
    if some and p.shape[1] > 1 and bool((p >= 0).all()):
        for whole in (1, 100):  # in percent
            if bool(((total - whole).abs() <= whole * _rounding(answer)).all()):
                if bool((p == 0).any()):
                    raise SeewhyError(
                        f"{name} returns probabilities of exactly 0 (rounded or cut off), which have no logarithm: "
                        "let it return the logits before its softmax"
                    )
                return "distribution", answer.log()
    if some and p.shape[1] > 1 and bool((p.logsumexp(1).abs() <= _rounding(answer)).all()) and bool((p <= 0).all()):
        return "log_distribution", answer
    within = some and are_within_one(p)
    if outputs == "probabilities" and not within:
        raise SeewhyError(f"{name} returns numbers outside [0, 1], which are no probabilities: leave outputs away")
    kinds = {call.name for call in calls if call.name in BOUNDED and _passed_on(call.made, p)} if within else set()
    if "softmax" in kinds and p.shape[1] > 1:
        raise SeewhyError(
            f"{name} returns a part of a softmax, or one over another axis: let it return the logits of all classes"
        )
    if kinds or outputs == "probabilities":
        if bool(((p == 0) | (p == 1)).any()):
            raise SeewhyError(
                f"{name} returns probabilities of exactly 0 or 1 (rounded or cut off), which have no logit: "
                "let it return the numbers before its last function, or say outputs=values if it is no classifier"
            )
        return "part", answer.logit()
    return "logits", answer


def are_probabilities_of(p: Tensor, logits: Tensor) -> bool:
    """Is ``p`` what one of ``UNDONE`` makes of ``logits``?"""
    if p.shape != logits.shape or not p.is_floating_point() or not logits.is_floating_point():
        return False
    return any(_close(function(logits.detach()), p.detach()) for function in UNDONE.values())


def _close(a: Tensor, b: Tensor) -> bool:
    """Equal up to the rounding of the coarser type."""
    part = max(_rounding(a), _rounding(b))
    return bool(torch.allclose(a.double(), b.double().to(a.device), rtol=part, atol=part, equal_nan=True))


def _rounding(tensor: Tensor) -> float:
    return 8 * torch.finfo(tensor.dtype).eps + 1e-6


def _passed_on(made: Tensor, p: Tensor) -> bool:
    """Has every row of ``p`` (n, k) a number that the call has made for the same image, or all of them?"""
    rows = made.detach().to(p).flatten(1)
    if len(rows) != len(p):
        return False
    inner = [torch.isin(a[(a > 0) & (a < 1)], b).any() for a, b in zip(p, rows, strict=True)]
    return bool(torch.equal(rows, p) or torch.stack(inner).all())


def are_within_one(answers: Tensor) -> bool:
    """Are all numbers in [0, 1]?"""
    return bool(((answers >= 0) & (answers <= 1)).all())


def must_suit(ending: Ending, k: int, multilabel: bool, name: str) -> None:
    """SeewhyError where the network's own probabilities and ``multilabel`` contradict each other."""
    if multilabel and ending in ("softmax", "log_softmax", "distribution", "log_distribution"):
        raise SeewhyError(f"the probabilities of {name} sum to 1, and so are those of one class: leave multilabel at False")
    if not multilabel and k > 1 and ending in ("sigmoid", "logsigmoid", "part"):
        raise SeewhyError(f"{name} has a probability of its own for each of {k} classes (sigmoid): give multilabel=True")


def declared_ending(module: nn.Module) -> Ending | None:
    """What the network itself says that it returns, where these are no class scores: values, or an embedding."""
    configs = (getattr(m, "config", None) for m in module.modules())
    if any(getattr(config, "problem_type", None) == "regression" for config in configs):  # Hugging Face
        return "values"
    if getattr(module, "num_classes", None) == 0:  # timm
        return "embedding"
    heads = [m for name in HEADS if isinstance(m := getattr(module, name, None), nn.Module)]
    return "embedding" if heads and all(isinstance(m, nn.Identity) for m in heads) else None


def named_as_features(answer: object) -> bool:
    """Is the only tensor of two dimensions in what the network returned an embedding by its name?"""
    named = parts_of(answer)
    if any(name in named for name in LOGITS):
        return False
    flat = [str(name) for name, part in named.items() if isinstance(part, Tensor) and part.ndim == 2]
    return len(flat) == 1 and any(word in flat[0] for word in POOLED)


def parts_of(answer: object) -> Mapping[Any, Any]:
    """What a network returned, by name: a mapping, or the fields of a dataclass; nothing for anything else."""
    if is_dataclass(answer) and not isinstance(answer, Mapping):
        return {f.name: getattr(answer, f.name) for f in fields(answer)}
    return answer if isinstance(answer, Mapping) else {}
