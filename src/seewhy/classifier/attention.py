"""The attention of a borrowed transformer: queries, keys, values and weights of every block, in one pass.

Trials on two pictures say whether a network is a chain of attentions over the same tokens, and which tokens its head reads.
No name of a class decides anything.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from seewhy.classifier.operations import Operations
from seewhy.errors import SeewhyError, UnsuitedError
from seewhy.maps import upsample
from seewhy.types import Images, Logits

if TYPE_CHECKING:
    from seewhy.classifier.classifier import Classifier
    from seewhy.classifier.grid_reading import GridReading

OTHERS = "grad_cam, input_x_gradient, rise and other methods are defined for it (seewhy list explainers)"
OF_TEXTS = (
    "has attention that no pixel reaches, such as that of a text tower (load it with seewhy.load(..., texts=[...]), or "
    "explain its image tower alone)"
)
SAME_NUMBERS = ("dropout", "alpha_dropout", "to", "type_as", "float", "double", "half", "bfloat16", "contiguous", "clone")
"""Functions that keep what a tensor means: they change its type or its memory, and dropout does nothing in eval mode."""
KEEP_SCORES = ("mul", "div", "add", "sub", "masked_fill", "where", "clamp", *SAME_NUMBERS)
"""Functions between the product of queries and keys, its softmax, and the values: a scale, a mask, a bias, a gate."""


@dataclass(frozen=True, eq=False)
class BlockAttention:
    """One attention of a pass, of n images and h heads, with q queries and m keys; it is a part of the pass's graph.

    ``weights`` = softmax(s ``query`` · ``key``ᵀ + mask) for a scale s, and ``output`` = ``weights`` · ``value``. Where a
    network mixes other numbers into the softmax, as ConViT's gates do, ``weights`` are what it multiplies the values by.
    """

    query: Float[Tensor, "n h q d"]
    key: Float[Tensor, "n h m d"]
    value: Float[Tensor, "n h m e"]
    weights: Float[Tensor, "n h q m"]
    output: Float[Tensor, "n h q e"]


Replace = Callable[[int, Tensor], Tensor]
"""Other weights for an attention, from its number and its weights (n, h, q, m)."""


class _NotByImages(Exception):  # noqa: N818 - no error: it ends a trial
    """An attention has other rows than the images. Does it ``depend`` on them, as windows do, or not, as a text tower?"""

    def __init__(self, depends: bool) -> None:
        super().__init__()
        self.depends = depends


class Attending(Operations):
    """Inside the block, the attentions of a pass of ``n`` images are kept; their weights can be replaced.

    Args:
        n: number of images in the pass.
        replace: gets the number of the attention in the pass and its weights (n, h, q, m), and returns the weights with
            which the network goes on.
    """

    def __init__(self, n: int, replace: Replace | None = None) -> None:
        super().__init__()
        self.n, self.replace = n, replace
        self.attentions: list[BlockAttention] = []
        self._scores: dict[int, tuple[Tensor, Tensor, Tensor]] = {}  # by id: the tensor itself, queries, keys
        self._weights: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def call(self, name: str, function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        operands = [a for a in args if isinstance(a, Tensor)]
        if name == "einsum" and (two := _two_operands(args)):
            return self._einsum(function, *two, named)
        if name in ("matmul", "baddbmm") and len(operands) >= 2:
            left, right = operands[-2:]
            if id(left) in self._weights:
                return self._attend(left, right, torch.matmul)
            made = function(*args, **named)
            if left.ndim >= 3 and right.ndim >= 3:
                self._scores[id(made)] = (made, left, right.transpose(-2, -1))
            return made
        made = function(*args, **named)
        if isinstance(made, Tensor):
            self._follow(name, made, operands or [a for a in named.values() if isinstance(a, Tensor)])
        return made

    def _follow(self, name: str, made: Tensor, given: list[Tensor]) -> None:
        """What is made of scores in small steps is scores; their softmax is weights. A gate leaves weights what they are."""
        for before in given:
            if (scores := self._scores.get(id(before))) is not None:
                if name == "softmax":
                    self._weights[id(made)] = (made, *scores[1:])
                elif name in KEEP_SCORES and made.shape == before.shape:
                    self._scores[id(made)] = (made, *scores[1:])
            elif (weights := self._weights.get(id(before))) is None:
                continue
            elif name in KEEP_SCORES and made.shape == before.shape:
                self._weights[id(made)] = (made, *weights[1:])

    def _attend(self, weights: Tensor, value: Tensor, multiply: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """The product of weights and values, which is kept. The kept tensors are those through which the pass goes."""
        _, query, key = self._weights[id(weights)]
        self._scores.clear()
        self._weights.clear()
        a, v = self._by_heads(weights), self._by_heads(value)
        if self.replace is not None:
            a = self.replace(len(self.attentions), a)
        output = self._by_heads(multiply(a.reshape(weights.shape), v.reshape(value.shape)))
        self.attentions.append(BlockAttention(self._by_heads(query), self._by_heads(key), v, a, output))
        return output.reshape(*weights.shape[:-1], value.shape[-1])

    def _by_heads(self, tensor: Tensor) -> Tensor:
        """(n, h, ., .) of a tensor that may have images and heads in one axis, or no heads."""
        if tensor.ndim == 4 and len(tensor) == self.n:
            return tensor
        if tensor.ndim == 3 and len(tensor) % self.n == 0:
            return tensor.unflatten(0, (self.n, -1))
        raise _NotByImages(tensor.requires_grad)

    def _einsum(
        self, function: Callable[..., Any], equation: str, left: Tensor, right: Tensor, named: dict[str, Any]
    ) -> Tensor:
        """A product written as an equation: of queries and keys, or of weights and values."""
        made: Tensor = function(equation, left, right, **named)
        letters, result = equation.replace(" ", "").split("->")
        a, b = letters.split(",")
        if len(a) < 3 or len(b) != len(a) or a[:-2] != b[:-2]:
            return made
        if id(left) in self._weights and a[-1] == b[-2] and result == a[:-1] + b[-1]:
            return self._attend(left, right, torch.matmul)
        if result == a[:-1] + b[-2] and a[-1] == b[-1]:
            self._scores[id(made)] = (made, left, right)
        return made


def _two_operands(args: tuple[Any, ...]) -> tuple[str, Tensor, Tensor] | None:
    """Equation and operands of an ``einsum`` of two tensors that says its result."""
    flat = [*args[:1], *(args[1] if len(args) == 2 and isinstance(args[1], tuple | list) else args[1:])]
    match flat:
        case [str(equation), Tensor() as left, Tensor() as right] if "->" in equation and "." not in equation:
            return equation, left, right
    return None


@dataclass(frozen=True, eq=False)
class Transformer:
    """A classifier whose blocks attend to the same tokens, from the first block to the last.

    used      of all attentions in a pass, those on which the logits depend; with that of an attention pooling at the end
    prefix    tokens before the patches: class, distillation, registers
    pooled    does an attention pooling make the embedding? Its queries are no tokens of the blocks
    reads     (q,) the share with which the head reads each query of the last attention. The class token has 1, patches
              that are averaged have 1/n each. Several tokens share equally, and all patches together count as one token.
    """

    classifier: "Classifier" = field(repr=False)
    used: tuple[int, ...] = field(repr=False)
    prefix: int
    pooled: bool
    reads: Float[Tensor, "q"] = field(repr=False)
    reading: "GridReading" = field(repr=False)

    @property
    def n_blocks(self) -> int:
        """Number of attentions, with that of an attention pooling at the end."""
        return len(self.used)

    def read(self, images: Images, replace: Replace | None = None) -> tuple[Logits, list[BlockAttention]]:
        """One forward pass: the logits (n, k), and the attention of each block. Call it in ``classifier.running``.

        With ``gradients=True`` there, the graph goes from the images through the weights of each block to the logits.
        ``replace`` may change the weights of a block before the network goes on (see ``Attending``).
        """
        places = {place: block for block, place in enumerate(self.used)}

        def of_block(place: int, weights: Tensor) -> Tensor:
            return replace(places[place], weights) if replace is not None and place in places else weights

        logits, attentions = attend(self.classifier, images, of_block if replace is not None else None)
        if len(attentions) <= self.used[-1]:
            size = " x ".join(map(str, images.shape[-2:]))
            raise SeewhyError(f"pictures of {size} pixels go another way than those of the network's own size: resize them")
        return logits, [attentions[place] for place in self.used]

    def rows(self, tokens: Float[Tensor, "*b q m"]) -> Float[Tensor, "*b m"]:
        """What the head reads of a matrix over tokens: its rows, weighted by ``reads``, which stand for the queries."""
        return torch.einsum("q,...qm->...m", self.shares(tokens.shape[-2]).to(tokens), tokens)

    def shares(self, queries: int) -> Float[Tensor, "q"]:
        """``reads`` for another number of queries, of pictures of another size."""
        if queries == len(self.reads):
            return self.reads
        first, rest = self.reads[: self.prefix], self.reads[self.prefix :].sum()
        return torch.cat([first, (rest / (queries - self.prefix)).expand(queries - self.prefix)])

    def on_grid(self, tokens: Float[Tensor, "*b m"], images: Images) -> Float[Tensor, "*b gh gw"]:
        """The numbers of the patches, without those of the prefix tokens, on their grid."""
        size = (images.shape[-2], images.shape[-1])
        return self.reading(tokens.reshape(-1, tokens.shape[-1], 1), size)[:, 0].unflatten(0, tokens.shape[:-1])

    def as_maps(self, tokens: Float[Tensor, "*b m"], images: Images) -> Float[Tensor, "*b h w"]:
        """``on_grid``, upsampled to the images."""
        return upsample(self.on_grid(tokens, images), images.shape[-2:])


def find_transformer(classifier: "Classifier", pictures: Images) -> Transformer:
    """How the blocks of a network attend, as trials on two different ``pictures`` show.

    UnsuitedError where the blocks are no chain of attentions over the same tokens.
    """

    def unsuited(fault: str) -> UnsuitedError:
        kind = type(classifier.module).__name__
        return UnsuitedError(f"{kind} {fault}: attention methods are not defined for it. {OTHERS}")

    if classifier.mixes_images(pictures):
        raise unsuited("mixes the images of a batch")
    try:
        attentions, slopes = _slopes(classifier, pictures)
    except _NotByImages as fault:
        windows = "attends within windows or groups, not over all tokens of an image"
        raise unsuited(windows if fault.depends else OF_TEXTS) from None
    if not all(a.output.requires_grad for a in attentions):
        raise unsuited(OF_TEXTS)
    used = {place: slope for place, slope in enumerate(slopes) if slope is not None}
    if not used:
        raise unsuited("has no attention over tokens on which its output depends")
    queries, keys = ([getattr(attentions[place], part).shape[2] for place in used] for part in ("query", "key"))
    pooled = queries[-1] != keys[-1]
    other = len(set(keys)) > 1 or queries[: len(queries) - pooled] != keys[: len(keys) - pooled]
    if other or (reading := classifier.reading_of(keys[0])) is None:
        raise unsuited(_why_no_chain(classifier, pictures[:1], queries, keys))
    if _mixes_otherwise(classifier, pictures[:1]):
        raise unsuited("mixes tokens also by other means than attention, such as convolutions")
    reads = _reads(used[max(used)], 0 if pooled else reading.prefix)
    return Transformer(classifier, tuple(used), reading.prefix, pooled, reads, reading)


def attend(classifier: "Classifier", images: Images, replace: Replace | None = None) -> tuple[Logits, list[BlockAttention]]:
    """One pass, in the state that the network has: its logits and all its attentions."""
    classifier.mixes_images(images)  # is tried before the pass that is watched
    with Attending(len(images), replace) as attending:
        logits = classifier.logits(images)
    return logits, attending.attentions


def _slopes(classifier: "Classifier", pictures: Images) -> tuple[list[BlockAttention], list[Tensor | None]]:
    """All attentions, and how the logits depend on the output (n, h, q, e) of each; None where they do not."""
    with classifier.running(gradients=True):
        logits, attentions = attend(classifier, pictures.detach().requires_grad_())
        weights = torch.linspace(-1, 1, logits.numel(), dtype=logits.dtype, device=logits.device).view_as(logits)
        outputs = [a.output for a in attentions]
        if not outputs:
            return [], []
        if not all(output.requires_grad for output in outputs):
            return attentions, [None] * len(outputs)
        return attentions, list(torch.autograd.grad((logits * weights).sum(), outputs, allow_unused=True))


def _why_no_chain(classifier: "Classifier", picture: Images, queries: list[int], keys: list[int]) -> str:
    """Why the attentions are no chain over the same patches, in a few words, from their numbers of queries and keys."""
    first = _corner_changes(classifier, picture)[0]
    if bool(first.any(1).all()) and not bool(first.any(0).all()):  # (m, e): all rows differ, and not all columns
        return "attends between channels, and not between tokens"
    readings = [classifier.reading_of(tokens) for tokens in dict.fromkeys(keys)]
    same_grid = len({reading and reading.grid for reading in readings}) == 1 and readings[0] is not None
    if same_grid and queries == keys:
        counts = " and then ".join(map(str, dict.fromkeys(keys)))
        return f"has tokens that join the patches after some blocks ({counts} tokens)"
    if same_grid and len(set(keys)) == 1 and all(q in (1, k) for q, k in zip(queries, keys, strict=True)):
        return "has several blocks in which the class token alone attends to the patches"
    return "attends to other tokens in each stage, or to tokens that form no grid of patches"


def _mixes_otherwise(classifier: "Classifier", picture: Images) -> bool:
    """Do tokens learn of other tokens where each attends to itself alone?

    The picture is run as it is and with one corner changed. The corner has changed a token if the token's value in the first
    attention differs. In later attentions, no other token may differ.
    """

    def to_itself(_: int, weights: Tensor) -> Tensor:
        q, m = weights.shape[-2:]
        return torch.eye(m, dtype=weights.dtype, device=weights.device).expand_as(weights) if q == m else weights

    changes = [change.any(1) for change in _corner_changes(classifier, picture, to_itself)]
    return any(bool((later & ~before).any()) for before, later in pairwise(changes))


def _corner_changes(classifier: "Classifier", picture: Images, replace: Replace | None = None) -> list[Bool[Tensor, "m e"]]:
    """Which values of each attention differ, in any head, when a corner of the picture does."""
    both = picture.repeat(2, 1, 1, 1)
    corner = both[1, :, : picture.shape[-2] // 3, : picture.shape[-1] // 3]
    corner.copy_(1 - corner)
    with classifier.running():
        values = [a.value for a in attend(classifier, both, replace)[1]]
    return [(v[0] - v[1]).abs().amax(0) > 1e3 * torch.finfo(v.dtype).eps * v.abs().amax() for v in values]


def _reads(slope: Tensor, prefix: int) -> Tensor:
    """The share with which the logits depend on each query of the last attention: see ``Transformer``."""
    read = (slope != 0).any(dim=3).any(1).any(0)
    alone, patches = read[:prefix].double(), read[prefix:].double()
    together = alone.sum() + (patches.sum() > 0)
    return torch.cat([alone, patches / patches.sum().clamp_min(1)]) / together.clamp_min(1)
