"""LIF, MIF and their difference SRG, over players that are ranked by the map (Salvage, algorithm 1)."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from seewhy.metrics.case import Case
from seewhy.metrics.curves import EVEN, Curves, OneCurve, OverPlayers, by_player_count, curves, sizes_from_one, target_scores
from seewhy.metrics.options import PlayersOption, SizeOption, SizesOption, TiesOption
from seewhy.options import AtLeast, Doc
from seewhy.types import Scores


class MeanOverSizes(OneCurve, range=(0.0, 1.0), explains="label", paper="salvage2025"):
    """Base of LIF and MIF: the mean of v over sets of 1 to p players."""

    def sizes(self, p: int) -> list[int]:
        return sizes_from_one(p, self.steps)

    def figure(self, ks: Sequence[int], values: Float[Tensor, "n m"]) -> Scores:
        return values.mean(1)


class LIF(
    MeanOverSizes,
    name="lif",
    better="higher",
    axes=("share of players left, least important removed first", "probability"),
):
    r"""LIF, least influential first: the mean value while the least important players are removed first.

    $$\mathrm{LIF} = \frac{1}{p} \sum_{i=1}^{p} v(\text{the best } i)$$

    Rewards: maps whose best players suffice.

    Fooled by: compact maps and telling baselines, as `insertion`.

    Defined: equal players are in random order, which depends on the image and the seed alone. The empty set does not
    count, the full set does.

    Args:
        baseline: what stands for removed, unless the case has a value function of its own (a surrogate with its tokens
            masked, as in the paper).

    Source: Salvage, algorithm 1. It differs from `insertion` in players, baseline and rule: the mean over sizes 1 to p
    instead of the trapezoid over 0 to 1.
    """

    def logits(self, pair: Curves, ks: Sequence[int]) -> Float[Tensor, "n m k"]:
        return pair.kept(ks)


class MIF(
    MeanOverSizes, name="mif", better="lower", axes=("share of players left, most important removed first", "probability")
):
    r"""MIF, most influential first: the mean value while the most important players are removed first.

    $$\mathrm{MIF} = \frac{1}{p} \sum_{i=1}^{p} v(\text{the worst } i)$$

    Rewards: maps whose best players the network cannot do without.

    Fooled by: scattered players and hostile baselines, as `deletion`.

    Defined: as `lif`.

    Source: Salvage, algorithm 1.
    """

    def logits(self, pair: Curves, ks: Sequence[int]) -> Float[Tensor, "n m k"]:
        return pair.removed([pair.players.p - k for k in ks])  # the worst k are left


class SRG(
    OverPlayers,
    name="srg",
    better="higher",
    range=(-1.0, 1.0),
    explains="label",
    paper="bluecher2024decoupling",
    axes=("share of players left", "gain in probability of the order over its reverse"),
):
    r"""SRG, symmetric relevance gain: what the order of the map gains over its reverse.

    $$\mathrm{SRG} = \mathrm{LIF} - \mathrm{MIF}$$

    Rewards: maps that put what the network uses first and what it does not use last.

    Fooled by: less than its parts. What a baseline does to every order alike cancels, so that rankings of methods agree
    between baselines (Bluecher et al., 2024); a random order scores 0.

    Defined: 0 in the mean for a map of equal values.

    Source: Bluecher et al. (2024); Salvage, eq. 7. `pixel_flipping` is the form of the former: superpixels and the area
    over the share of pixels.
    """

    steps: SizesOption = 0
    ties: TiesOption = "random"

    def score(self, case: Case) -> Scores:
        lif, mif = LIF(**vars(self)), MIF(**vars(self))
        return lif.score(case) - mif.score(case)

    def curve(self, case: Case) -> tuple[Sequence[float], Float[Tensor, "n m"]]:
        lif, mif = LIF(**vars(self)), MIF(**vars(self))
        return EVEN, lif.curve(case)[1] - mif.curve(case)[1]


class PixelFlipping(
    OverPlayers,
    name="pixel_flipping",
    better="higher",
    range=(-1.0, 1.0),
    explains="label",
    paper="bluecher2024decoupling",
):
    r"""Pixel flipping: SRG over superpixels, as the area between two curves over the share of pixels that is removed.

    $$\mathrm{SRG} = \int_0^1 \big( p(\text{worst removed first}) - p(\text{best removed first}) \big)\, ds,$$

    by the trapezoid rule at the sizes that are evaluated; $s$ is the share of pixels, not of superpixels.

    Rewards: what `srg` rewards, on parts that follow the image.

    Fooled by: superpixels that are so large that every map orders them alike.

    Defined: equal superpixels are in random order.

    Args:
        players: superpixels (SLICO), patches or pixels; each is ranked by its mean attribution.
        points: how many sizes from 1 to all are evaluated, beside none. They are geometrically spaced, dense where little is
            removed, and cut to whole numbers as in the released code. 15 sizes of 25 players are 1, 2, 3, 5, 6, 7, 9, 12,
            15, 19 and 25, since equal ones are one.

    Source: Bluecher et al. (2024), section 3; 25 superpixels and 15 points are those of its released code. That code spaces
    the sizes for the number of superpixels that was asked for, here for the number that an image has. Its SLIC with
    compactness 1 leaves far fewer on photographs: here the compactness adapts.
    """

    players: PlayersOption = "superpixels"
    size: SizeOption = 25
    points: Annotated[int, AtLeast(2), Doc("How many sizes from 1 to all are evaluated.")] = 15
    ties: TiesOption = "random"

    def score(self, case: Case) -> Scores:
        return by_player_count(case, self.players, self.size, self._score)

    def _score(self, case: Case) -> Scores:
        pair = curves(case, self.players, self.size, self.baseline, self.ties, self.removal)
        p = pair.players.p
        ks = sorted({0, p, *np.geomspace(1, p, self.points, dtype=int).tolist()})  # cut to whole numbers, not rounded
        owned = pair.players.sizes().gather(1, pair.order).cumsum(1)  # pixels of the best k
        owned = torch.cat([owned.new_zeros(len(owned), 1), owned], 1)
        left = [p - k for k in ks]  # removing the worst k leaves the best p - k
        best_first, worst_first = (target_scores(case, logits, self.value) for logits in (pair.removed(ks), pair.kept(left)))
        return _area(owned[:, -1:] - owned[:, left], worst_first) - _area(owned[:, ks], best_first)


def _area(pixels: Tensor, values: Tensor) -> Scores:
    """The area under the values, by the trapezoid rule over the share of pixels."""
    return torch.trapezoid(values, (pixels / pixels[:, -1:]).to(values), dim=1)
