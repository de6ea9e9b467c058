"""Random sets of players, drawn on the CPU: uniform sizes, the Shapley kernel, and sets that attributions guide."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Generator, Tensor

from seewhy.errors import SeewhyError

KeptPlayers = Bool[Tensor, "m p"]
"""Sets of players, a row for each: true for a player that is kept."""

LEAST_WEIGHT = 1e-6
"""What is added to min-max scores in [0, 1]: a player of score 0 is drawn too, when no others are left."""


def uniform_sets(m: int, p: int, generator: Generator) -> KeptPlayers:
    """Sets whose size is uniform on 0 to p, and which are uniform among the sets of their size.

    The sizes of set i and of set i + (m + 1) // 2 add up to p, so that two sets fill a row of p tokens. The distribution of
    each set stays the same. Of an odd number of sets, the middle one has no partner.

    Source: the mask of ViT-Shapley's surrogate (its code: mode "uniform"), and Salvage's sets without guidance.
    """
    half = (m + 1) // 2
    sizes = torch.randint(p + 1, (half,), generator=generator)
    return sets_of_sizes(torch.cat([sizes, p - sizes])[:m], p, generator)


def kernel_sets(m: int, p: int, generator: Generator) -> KeptPlayers:
    """Sets by the Shapley kernel: size s of 1 to p - 1 with a probability in proportion to 1 / (s (p - s)).

    The second half are the complements of the first (of an odd number of sets, the last complement is left out).

    Source: Lundberg and Lee (2017), theorem 2; FastSHAP's sampler.
    """
    sizes = 1 + torch.multinomial(_kernel(p), (m + 1) // 2, replacement=True, generator=generator)
    return _with_complements(sets_of_sizes(sizes, p, generator), m)


def released_sets(m: int, p: int, generator: Generator) -> KeptPlayers:
    """Sets as the released code of ViT-Shapley draws them: it is not the Shapley kernel.

    A number j of 0 to p - 2 is drawn with the probability that the kernel gives to the size j + 1. Each player is then kept
    with the probability 1 - j / p, independently. So the empty and the full set are drawn, which the kernel never draws:
    with 196 players in 6 % of the cases each. The second half are the complements of the first.
    """
    j = torch.multinomial(_kernel(p), (m + 1) // 2, replacement=True, generator=generator)
    drawn = torch.rand(len(j), p, generator=generator, dtype=torch.float64) >= j[:, None] / p
    return _with_complements(drawn, m)


def guided_sets(scores: Float[Tensor, "n p"], m: int, generator: Generator, focus: float = 1.0) -> Bool[Tensor, "n m p"]:
    """Sets that attributions guide: the first half reveals players of high scores, the second half hides such players.

    For each set a number of players is drawn, uniform on 1 to p, and then so many players one after another, without
    replacement, in proportion to their min-max scores. The sets of the first half are the drawn players; those of the second
    half are all others. The number of set i is also that of set i + (m + 1) // 2, so that their sizes add up to p.

    Args:
        scores: of the players of each image, such as the attribution of its class. Where all are equal, sets are uniform.
        m: sets of each image.
        generator: on the CPU. The sets come on the device of the scores.
        focus: exponent of the weights. 0 draws uniformly, 1 is the paper's, more draws the best players more often.

    Source: Salvage, section 4.2 (algorithm 3 is lost in the text; min-max as in its algorithm 2).
    """
    n, p = scores.shape
    s = scores.detach().cpu().double()
    low, high = s.amin(1, keepdim=True), s.amax(1, keepdim=True)
    weights = torch.where(high > low, (s - low) / torch.where(high > low, high - low, 1), 0) + LEAST_WEIGHT
    half = (m + 1) // 2
    sizes = torch.randint(1, p + 1, (n, half), generator=generator)
    sizes = torch.cat([sizes, sizes], 1)[:, :m]
    keys = drawing_keys(focus * weights.log()[:, None].expand(-1, m, -1), generator)
    drawn = keys.argsort(2, descending=True).argsort(2) < sizes[..., None]
    hides = torch.arange(m)[:, None] >= half
    return (drawn ^ hides).to(scores.device)


def drawing_keys(logs: Float[Tensor, "*batch p"], generator: Generator) -> Float[Tensor, "*batch p"]:
    """Random keys, whose order from the largest on is players drawn one after another, in proportion to their weights.

    By the Gumbel trick (Efraimidis and Spirakis, 2006): log w - log(-log u), with u uniform.

    Args:
        logs: the logarithms of the weights, in float64 on the CPU.
    """
    uniform = torch.rand(logs.shape, generator=generator, dtype=torch.float64).clamp_min(1e-300)
    return logs - (-uniform.log()).log()


def sets_of_sizes(sizes: Int[Tensor, "m"], p: int, generator: Generator) -> KeptPlayers:
    """A set of each size, uniform among all sets of that size."""
    return torch.rand(len(sizes), p, generator=generator, dtype=torch.float32).argsort(1).argsort(1) < sizes[:, None]


def _kernel(p: int) -> Float[Tensor, "sizes"]:
    """The Shapley kernel, summed over all sets of a size, of the sizes 1 to p - 1; it does not sum to 1."""
    if p < 2:
        raise SeewhyError(f"the Shapley kernel needs at least 2 players, not {p}: take smaller players (size)")
    sizes = torch.arange(1, p, dtype=torch.float64)
    return 1 / (sizes * (p - sizes))


def _with_complements(half: Bool[Tensor, "half p"], m: int) -> KeptPlayers:
    return torch.cat([half, ~half])[:m]
