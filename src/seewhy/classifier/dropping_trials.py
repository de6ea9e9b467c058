"""How the patches of a network can leave its sequence: found, and proven, by trials on a picture.

No name of a class decides anything. The blocks are the modules that hold the attention of all tokens to all tokens. A trial
shows that the removed tokens reach the logits in no other way than through attention. Then each faster way of running the
kept tokens alone must give the logits of the slow one, in which the keys of the removed tokens get minus infinity.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from inspect import signature

import torch
from torch import Tensor, nn

from seewhy.classifier.blocks import Called, candidate_blocks, modules_around_attention
from seewhy.classifier.borrow import frozen, logits_in, run
from seewhy.classifier.grid_reading import GridReading
from seewhy.classifier.patch_embedding import pixels_of
from seewhy.classifier.precision import is_out_of_memory
from seewhy.classifier.token_dropping import KeptPatches, TokenDropping

MASKS = ("attn_mask", "attention_mask")
"""What blocks call the mask that is added to the scores of their attention."""
MOST_SEEN = 0.9
"""The part of what a token sees that lies within the reach of a stem which overlaps its patches."""
ROUNDING = 1e-4
"""Logits that differ by this part of the largest are the same. A softmax may be in single precision in any network."""
ROUNDING_HALF = 0.05
"""The same for networks in half precision."""


@dataclass(frozen=True)
class Trials:
    """What a network is tried with.

    image    a normalized picture
    reading  how the tokens that a layer returns are read as a grid; None where they form no grid
    """

    module: nn.Module
    image: Tensor
    reading: Callable[[str, Tensor], GridReading | None] = field(repr=False)

    @torch.no_grad()
    def find(self) -> TokenDropping | str:
        """How patches leave the network's sequence; or why they cannot, in a few words."""
        with frozen(self.module):
            plain = logits_in(run(self.module, self.image))
            chains = modules_around_attention(self.module, self.image)
            if not chains:
                return "it has no attention of all tokens to all tokens"
            slow, why = None, ""
            for level in candidate_blocks(chains):
                try:
                    found = self._tried(level, plain)
                except Exception as error:  # the network is the user's own, and may fail in any way on such tokens
                    must_be_of_network(error)
                    found = f"its blocks cannot be called alone ({type(error).__name__})"
                if isinstance(found, str):
                    why = why or found
                elif found.way == "keys":
                    slow = slow or found
                else:
                    return found
            return slow or why

    def _tried(self, blocks: list[Called], plain: Tensor) -> TokenDropping | str:
        """How patches leave the sequence before these blocks, the fastest way that is exact; or why they cannot."""
        name, tokens = blocks[0].name, blocks[0].tokens
        assert tokens is not None
        if (reading := self.reading(name, tokens)) is None or reading.prefix >= tokens.shape[1]:
            return f"the tokens of {name} do not follow the places of the image"
        slow = TokenDropping(tuple(b.name for b in blocks), tuple(b.returned for b in blocks), reading)
        sets = self._sets(tokens.shape[1] - reading.prefix)
        if not _same(self._logits(slow, torch.ones_like(sets[:1])), plain):
            return f"more than its blocks works on the tokens between {name} and {blocks[-1].name}"
        if not self._stem_is_local(slow, sets[0]):
            slow = replace(slow, reach=self._reach(slow))
            if 4 * slow.reach >= min(self.image.shape[-2:]):
                return f"a token of {name} sees pixels all over the picture"
        if not self._removed_are_unseen(slow, sets):
            return "its tokens meet in other ways than in softmax attention"
        try:
            expected = self._logits(slow, sets)
        except Exception as error:
            must_be_of_network(error)
            return "what follows its blocks needs all patches"
        if reading.prefix:
            short = replace(slow, head_reads_prefix=True)
            slow = short if self._gives(short, sets, expected) else slow
        known = {next((m for m in MASKS if m in signature(b.module.forward).parameters), None) for b in blocks}
        mask = known.pop() if len(known) == 1 else None
        ways = [replace(slow, way="packed", mask=mask), replace(slow, way="grouped", mask=mask)] if mask else []
        ways.append(replace(slow, way="grouped"))
        return next((fast for fast in ways if self._gives(fast, sets, expected)), slow)

    def _sets(self, patches: int) -> KeptPatches:
        """Half of the patches, the other half, a third, and one."""
        chance = torch.rand(patches, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
        rank = chance.argsort().argsort().to(self.image.device)
        half = (patches + 1) // 2
        return torch.stack([rank < half, rank >= half, rank < max(1, patches // 3), rank == 0])

    def _logits(self, dropping: TokenDropping, sets: KeptPatches) -> Tensor:
        """The logits of each set of the picture's patches."""
        rows = torch.zeros(len(sets), dtype=torch.long, device=sets.device)
        found = list(dropping.last_tokens(self.module, self.image, sets, rows))
        logits = torch.cat([logits_in(dropping.head(self.module, self.image, tokens)) for _, tokens in found])
        return logits[torch.cat([which for which, _ in found]).argsort()]

    def _gives(self, dropping: TokenDropping, sets: KeptPatches, expected: Tensor) -> bool:
        try:
            return _same(self._logits(dropping, sets), expected)
        except Exception as error:  # the network is the user's own, and may fail in any way on fewer tokens
            must_be_of_network(error)
            return False

    def _stem_is_local(self, dropping: TokenDropping, changed: Tensor) -> bool:
        """Do the tokens stay as they are when the pixels of other patches change?"""
        pixels = pixels_of(changed[None], dropping.reading.grid, (self.image.shape[-2], self.image.shape[-1]))
        other = torch.where(pixels, self.image.flip(1, 2, 3) + 1, self.image)
        before, after = (dropping.stem(self.module, image)[0].tokens[0] for image in (self.image, other))
        stay = torch.cat([changed.new_ones(dropping.reading.prefix), ~changed])
        return _same(after[stay], before[stay]) and not _same(after[~stay], before[~stay])

    def _reach(self, dropping: TokenDropping) -> int:
        """Within how many pixels of its patch lies most of what the token in the middle sees, by its gradient?"""
        (gh, gw), size = dropping.reading.grid, (self.image.shape[-2], self.image.shape[-1])
        middle = gh // 2 * gw + gw // 2
        with torch.enable_grad():
            image = self.image.detach().requires_grad_()
            token = dropping.stem(self.module, image)[0].tokens[0, dropping.reading.prefix + middle]
            weights = torch.rand(token.shape, generator=torch.Generator().manual_seed(0)).to(token) - 0.5
            (slope,) = torch.autograd.grad((token * weights).sum(), image)
        seen = slope[0].abs().sum(0).double()
        patch = pixels_of((torch.arange(gh * gw, device=seen.device) == middle)[None], (gh, gw), size)[0, 0]
        beyond = zip(patch.nonzero().T, torch.meshgrid(*map(torch.arange, size), indexing="ij"), strict=True)
        away = torch.stack([torch.maximum(own.min() - at, at - own.max()) for own, at in ((o, a.to(o)) for o, a in beyond)])
        by_distance = seen.new_zeros(max(size)).index_add_(0, away.amax(0).clamp(min=0).flatten(), seen.flatten())
        return int((by_distance.cumsum(0) < MOST_SEEN * seen.sum()).sum())

    def _removed_are_unseen(self, slow: TokenDropping, sets: KeptPatches) -> bool:
        """Do the tokens that are kept stay as they are, whatever stands in the places of the removed ones?"""
        rows = torch.zeros(len(sets), dtype=torch.long, device=sets.device)
        calls = slow.stem(self.module, self.image)
        tokens = calls[0].tokens[rows]
        stay = torch.cat([sets.new_ones(len(sets), slow.reading.prefix), sets], 1)
        noise = torch.where(stay[..., None], tokens, tokens.flip(1, 2) + tokens.std())
        before, after = (slow.with_removed_keys(calls, given, sets, rows)[stay] for given in (tokens, noise))
        return _same(after, before)


def must_be_of_network(error: Exception) -> None:
    """Raises an error again that says nothing about the network: there may be enough memory the next time."""
    if isinstance(error, RuntimeError) and is_out_of_memory(error):
        raise error


def _same(found: Tensor, expected: Tensor) -> bool:
    """Are they equal, up to rounding?"""
    part = ROUNDING_HALF if expected.dtype in (torch.float16, torch.bfloat16) else ROUNDING
    return found.shape == expected.shape and bool((found - expected).abs().max() <= part * expected.abs().max())
