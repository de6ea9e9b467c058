"""Patches that leave the sequence of a transformer: the network runs on the tokens that are kept, and on no others.

A patch that no token may attend to need not be computed. In a network whose tokens meet in softmax attention alone, the
kept tokens are the same whether the others are dropped, or their keys get minus infinity in every block.

A network has three parts here. The *stem* makes tokens with positions, once for each image. The *blocks* are called one
after another on the tokens that are kept. The *head* makes the logits of what the last block returned. The module itself
runs the stem and the head, with blocks that pass their tokens on. ``seewhy.classifier.dropping_trials`` finds the parts.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from inspect import signature
from itertools import accumulate
from math import inf
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from seewhy.classifier.borrow import first_tensor, forward_replaced, run, with_first_tensor
from seewhy.classifier.grid_reading import GridReading
from seewhy.classifier.operations import Operations
from seewhy.classifier.replay import map_tensors
from seewhy.errors import SeewhyError

KeptPatches = Bool[Tensor, "r g"]
"""Sets of patches: true for a patch that is kept."""
SetsAndTokens = tuple[Int[Tensor, "s"], Float[Tensor, "s t d"]]
Way = Literal["packed", "grouped", "keys"]
"""``packed``: two sets in a row where that fits. ``grouped``: sets of one size, or a similar one where blocks take a mask.
``keys``: all tokens run, and the keys of removed ones get minus infinity. All three give the same numbers."""

ANOTHER_GROUP = 40
"""What another group of sets costs, in tokens that could be computed in its time: measured on a CPU, for one row or many."""


class Given(NamedTuple):
    """What a block was given in one call. ``slot``: where the tokens are, a place in ``args`` or a name in ``named``."""

    block: nn.Module
    args: tuple[Any, ...]
    named: dict[str, Any]
    slot: int | str

    @classmethod
    def of(cls, block: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> "Given":
        items: list[tuple[int | str, object]] = [*enumerate(args), *named.items()]
        return cls(block, args, named, next(key for key, value in items if isinstance(value, Tensor)))

    @property
    def tokens(self) -> Float[Tensor, "n t d"]:
        tokens: Tensor = self.args[self.slot] if isinstance(self.slot, int) else self.named[self.slot]
        return tokens

    def run(self, tokens: Tensor, change: Callable[[Tensor], Tensor], mask: dict[str, Tensor] | None = None) -> Tensor:
        """The tokens that the block returns for other ``tokens``, for other tensors as ``change`` makes them, and a mask."""
        args = [tokens if key == self.slot else map_tensors(value, change) for key, value in enumerate(self.args)]
        named = {key: tokens if key == self.slot else map_tensors(value, change) for key, value in self.named.items()}
        if mask:
            bound = signature(self.block.forward).bind(*args, **named)
            if bound.arguments.keys() & mask.keys() and any(bound.arguments[name] is not None for name in mask):
                raise SeewhyError(f"{type(self.block).__name__} has a mask of its own")
            bound.arguments.update(mask)
            args, named = list(bound.args), bound.kwargs
        returned = first_tensor(self.block(*args, **named))
        assert returned is not None  # it was looked at in the trial
        return returned


class Layout(NamedTuple):
    """Sets of patches in rows of tokens.

    source   for each place of a row, the token in those of all images, one after another
    place    the same token, by its place in its own image
    segment  0 and 1 for the first and the second set of the row, -1 for what fills the row up
    sets     which sets these are
    starts   where each of them starts in the rows, one after another
    """

    source: Int[Tensor, "m l"]
    place: Int[Tensor, "m l"]
    segment: Int[Tensor, "m l"]
    sets: Int[Tensor, "s"]
    starts: Int[Tensor, "s"]


@dataclass(frozen=True)
class TokenDropping:
    """How the patches of one network leave its sequence.

    blocks   names of the blocks, in the order of their calls
    returns  what each of them returned in a trial: its structure is given back
    reading  how the tokens of the first block are read as a grid
    way      see ``Way``
    mask     what the blocks call the mask of their attention; None where they take none
    head_reads_prefix  does the head read the prefix tokens alone?
    reach    0 where a token sees its own patch alone. Else the stem overlaps the patches: nine tenths of what a token sees,
             by its gradient, lie within so many pixels of its patch. A removed patch leaves with its token, and the tokens
             around it have still seen it.
    """

    blocks: tuple[str, ...]
    returns: tuple[object, ...]
    reading: GridReading
    way: Way = "keys"
    mask: str | None = None
    head_reads_prefix: bool = False
    reach: int = 0

    def stem(self, module: nn.Module, images: Tensor) -> list[Given]:
        """What each block is given for normalized images; the first has the tokens of all patches, with positions."""
        calls: list[Given] = []

        def note(block: nn.Module, like: object, *args: Any, **named: Any) -> object:
            calls.append(Given.of(block, args, named))
            return _in_structure(like, calls[-1].tokens)

        with self._blocks_replaced(module, note):
            run(module, images)
        return calls

    def head(self, module: nn.Module, image: Tensor, tokens: Tensor) -> object:
        """What the network returns when its last block returns ``tokens``; any normalized image will do."""
        left = len(self.blocks)

        def answer(block: nn.Module, like: object, *args: Any, **named: Any) -> object:
            nonlocal left
            left -= 1
            return _in_structure(like, Given.of(block, args, named).tokens if left else tokens)

        with self._blocks_replaced(module, answer):
            return run(module, image)

    @contextmanager
    def _blocks_replaced(self, module: nn.Module, forward: Callable[..., object]) -> Generator[None]:
        """Inside the block, ``forward(block, like, *args, **named)`` runs in place of each block's own."""
        with ExitStack() as stack:
            for name, like in dict(zip(self.blocks, self.returns, strict=True)).items():
                block = module.get_submodule(name)
                stack.enter_context(forward_replaced(block, partial(forward, block, like)))
            yield

    def last_tokens(
        self, module: nn.Module, images: Tensor, kept: KeptPatches, rows: Int[Tensor, "r"]
    ) -> Iterator[SetsAndTokens]:
        """What the last block returns, for some of the sets at a time: which, and their tokens as the head reads them.

        Args:
            images: normalized, (n, c, h, w).
            kept: which patches of each set are kept.
            rows: the image of each set.
        """
        calls, prefix = self.stem(module, images), self.reading.prefix
        whole = calls[0].tokens
        if whole.shape[1] != prefix + kept.shape[1]:
            patches = whole.shape[1] - prefix
            raise SeewhyError(f"sets of {kept.shape[1]} patches do not belong to images of {patches} patches")
        order, sizes = kept.long().argsort(dim=1, descending=True, stable=True), kept.sum(1)
        if self.way == "keys":
            tokens = self.with_removed_keys(calls, whole[rows], kept, rows)
            each, places = torch.arange(len(kept), device=order.device), torch.arange(prefix, device=order.device)
            at = torch.cat([places.expand(len(order), -1), order + prefix], 1) + each[:, None] * whole.shape[1]
            yield from self._as_head_reads(tokens.flatten(0, 1), each, at, sizes)
            return
        for first, second in planned(sizes, prefix, self.mask is not None, self.way == "packed"):
            layout = laid_out(first, second, order, sizes, rows, prefix)
            tokens = _taken(whole.flatten(0, 1), layout.source)
            change = partial(_for_kept, layout=layout, prefix=prefix, patches=kept.shape[1])
            mask: dict[str, Tensor] = {}
            if self.mask is not None and not bool((layout.segment == 0).all()):
                apart = layout.segment[:, None, :, None] != layout.segment[:, None, None, :]
                mask[self.mask] = tokens.new_zeros(apart.shape).masked_fill_(apart, -torch.inf)
            for call in calls:
                tokens = call.run(tokens, change, mask)
            at = layout.starts[:, None] + torch.arange(prefix + kept.shape[1], device=kept.device)
            yield from self._as_head_reads(tokens.flatten(0, 1), layout.sets, at, sizes[layout.sets])

    def with_removed_keys(
        self, calls: list[Given], tokens: Float[Tensor, "r t d"], kept: KeptPatches, rows: Int[Tensor, "r"]
    ) -> Float[Tensor, "r t d"]:
        """What the last block returns for all ``tokens`` of each set, where nothing attends to those that are removed."""
        n = len(calls[0].tokens)
        with _RemovedKeys(torch.cat([kept.new_ones(len(kept), self.reading.prefix), kept], 1)):
            for call in calls:
                tokens = call.run(tokens, partial(_for_rows, rows=rows, n=n))
        return tokens

    def _as_head_reads(
        self, tokens: Float[Tensor, "ml d"], sets: Int[Tensor, "s"], at: Int[Tensor, "s t"], sizes: Int[Tensor, "s"]
    ) -> Iterator[SetsAndTokens]:
        """The tokens of all sets, or of those of each size: a head that averages patches needs equally many.

        ``at`` has the places of each set's tokens, those of its own first.
        """
        prefix = self.reading.prefix
        if self.head_reads_prefix:
            yield sets, _taken(tokens, at[:, :prefix])
            return
        for size in sizes.unique().tolist():
            mine = sizes == size
            yield sets[mine], _taken(tokens, at[mine, : prefix + size])


def _taken(tokens: Float[Tensor, "all d"], at: Int[Tensor, "m l"]) -> Float[Tensor, "m l d"]:
    """The tokens at some places. The gradient of ``index_select`` is faster than that of brackets."""
    return tokens.index_select(0, at.flatten()).view(*at.shape, -1)


def _in_structure(like: object, tokens: Tensor) -> object:
    return tokens if isinstance(like, Tensor) else with_first_tensor(like, tokens)


def planned(
    sizes: Int[Tensor, "r"], prefix: int, masks: bool, pairs: bool
) -> Iterator[tuple[Int[Tensor, "m"], Int[Tensor, "m"] | None]]:
    """Which sets run together: the first and the second set of each row, or one set a row.

    Without ``masks`` the sets of a group have the same size. With masks they have a similar size, so that few tokens fill
    up. In ``pairs`` the smallest set shares a row with the largest, and so on, where this takes fewer tokens: sets whose
    sizes come in pairs of the same sum, as those of Shapley values, leave no place empty.
    """
    order = sizes.argsort(stable=True)
    lengths, counts = (part.tolist() for part in (sizes + prefix).unique(return_counts=True))
    groups, tokens = cheapest_groups(lengths, counts) if masks else (counts, inf)
    half = len(order) // 2
    if pairs and half:
        low, high = order[:half], order[-half:].flip(0)
        alone = order[half:-half]
        longest = int((sizes[low] + sizes[high]).max()) + 2 * prefix
        if half * longest + len(alone) * int(sizes[alone].sum() + prefix) + ANOTHER_GROUP * (1 + len(alone)) < tokens:
            yield high, low
            groups, order = [1] * len(alone), alone
    yield from ((part, None) for part in order.split(groups) if len(part))


def cheapest_groups(lengths: list[int], counts: list[int]) -> tuple[list[int], float]:
    """How many sets make each group, and what all of them cost in tokens; a group is filled up to its longest set.

    Args:
        lengths: the different numbers of tokens, in ascending order.
        counts: how many sets have each of them.
    """
    sums = [0, *accumulate(counts)]
    cheapest: list[tuple[float, int]] = [(0.0, 0)]  # the cost of the first sets, and where their last group begins
    for end, length in enumerate(lengths, 1):
        costs = (cheapest[j][0] + (sums[end] - sums[j]) * length + ANOTHER_GROUP for j in range(end))
        cheapest.append(min(zip(costs, range(end), strict=True)))
    groups, end = [], len(lengths)
    while end:
        begin = cheapest[end][1]
        groups.append(sums[end] - sums[begin])
        end = begin
    return groups[::-1], cheapest[-1][0]


def laid_out(
    first: Int[Tensor, "m"],
    second: Int[Tensor, "m"] | None,
    order: Int[Tensor, "r g"],
    sizes: Int[Tensor, "r"],
    rows: Int[Tensor, "r"],
    prefix: int,
) -> Layout:
    """Rows that have the prefix and the kept patches of a ``first`` set, and then those of a ``second`` one.

    Args:
        order: the patches of each set, those that are kept first.
        sizes: how many are kept.
        rows: the image of each set.
    """
    patches = order.shape[1]
    cut = sizes[first] + prefix
    end = cut if second is None else cut + sizes[second] + prefix
    length = int(end.max())
    at = torch.arange(length, device=order.device).expand(len(first), -1)
    later, filling = at >= cut[:, None], at >= end[:, None]

    def index(sets: Tensor, place: Tensor) -> Tensor:
        """Which token of its image is at each place of the sets."""
        patch = order[sets].gather(1, (place - prefix).clamp(0, patches - 1)) + prefix
        return torch.where(place < prefix, place.clamp(min=0), patch)

    own, image = index(first, at), rows[first][:, None].expand_as(at)
    if second is not None:
        own = torch.where(later, index(second, at - cut[:, None]), own)
        image = torch.where(later, rows[second][:, None], image)
    own = own.masked_fill(filling, 0)
    starts = torch.arange(len(first), device=order.device) * length
    return Layout(
        own + image * (patches + prefix),
        own,
        later.long().masked_fill(filling, -1),
        first if second is None else torch.cat([first, second]),
        starts if second is None else torch.cat([starts, starts + cut]),
    )


def _for_rows(given: Tensor, rows: Tensor, n: int) -> Tensor:
    """A tensor that a block is given for n images, for the image of each row."""
    return given[rows] if given.ndim > 1 and len(given) == n and n > 1 else given


def _for_kept(given: Tensor, layout: Layout, prefix: int, patches: int) -> Tensor:
    """A table of positions that a block is given, for the kept tokens: (t, d) or (h, t, d) becomes (m, 1 or h, l, d).

    It has a position for each token, or for each patch.
    """
    if given.ndim < 2 or given.shape[-2] not in (patches, patches + prefix):
        return given
    table = given.view(-1, *given.shape[-2:])
    if given.shape[-2] == patches + prefix:
        return table[:, layout.place].transpose(0, 1)
    if bool((layout.segment == 1).any()):
        raise SeewhyError("positions of patches alone say nothing of the prefix of a second set in the same row")
    return table[:, (layout.place[:, prefix:] - prefix).clamp(min=0)].transpose(0, 1)


class _RemovedKeys(Operations):
    """Inside the block, the scores of the keys that are not ``kept`` (r, t) get minus infinity before each softmax."""

    def __init__(self, kept: Bool[Tensor, "r t"]) -> None:
        super().__init__()
        self.kept = kept

    def call(self, name: str, function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        if name == "softmax" and is_attention(scores := args[0]) and scores.shape[-1] == self.kept.shape[1]:
            each = len(scores) // len(self.kept)  # some libraries have a row for each head of each image
            kept = self.kept.repeat_interleave(each, 0).view(-1, *[1] * (scores.ndim - 2), self.kept.shape[1])
            args = (scores.masked_fill(~kept, -torch.inf), *args[1:])
        return function(*args, **named)


def is_attention(scores: object) -> bool:
    """Can a tensor be the scores of all tokens for all tokens?"""
    return isinstance(scores, Tensor) and scores.ndim in (3, 4) and scores.shape[-1] == scores.shape[-2]
