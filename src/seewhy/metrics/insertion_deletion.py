"""Insertion and deletion (RISE: Petsiuk et al., 2018)."""

from collections.abc import Sequence
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from seewhy.metrics.curves import Curves, OneCurve, subset_sizes
from seewhy.metrics.options import GameBaselineOption, PlayersOption, StepsOption
from seewhy.options import AtLeast, Doc
from seewhy.types import Scores

WidthOption = Annotated[int, AtLeast(0), Doc("Players that go, or come, at a time; 0 makes ``steps`` steps.")]


class AreaUnderCurve(OneCurve, range=(0.0, 1.0), explains="predicted", paper="petsiuk2018rise"):
    """Base of deletion and insertion: the area under the values at sizes from 0 to p, by the trapezoid rule."""

    players: PlayersOption = "pixels"
    steps: StepsOption = 224
    width: WidthOption = 0

    def sizes(self, p: int) -> list[int]:
        return sorted({*range(0, p, self.width), p}) if self.width else subset_sizes(p, self.steps)

    def figure(self, ks: Sequence[int], values: Float[Tensor, "n m"]) -> Scores:
        return torch.trapezoid(values, values.new_tensor(ks) / max(ks), dim=1)


class Deletion(
    AreaUnderCurve, name="deletion", better="lower", axes=("share of pixels removed, highest first", "probability")
):
    r"""Deletion: how soon the class's probability falls when the highest pixels are removed first.

    $$\mathrm{D} = \int_0^1 p\big(N \setminus \mathrm{top}(t)\big)\, dt,$$

    by the trapezoid rule over the share $t$ of players that is removed; $p$ is the probability of the class.

    Rewards: maps whose highest pixels the network cannot do without.

    Fooled by: maps of scattered points, which break a network by their grain rather than by their place; and by the
    baseline, which can itself look like a class. `srg` cancels much of the latter.

    Defined: a map of equal values is a random order, which depends on the image and the seed alone.

    Args:
        steps: number of removals, all of about the same width: 224 steps of 224 x 224 pixels take 224 pixels each, as in the
            code of RISE and Opti-CAM. A larger image has wider steps, and a smaller one narrower steps.
        width: players that are removed at a time, whatever the size of the image, in place of ``steps``; the last step takes
            the rest. 0 goes by ``steps``. RISE's code has such a width, called step, but weighs the last step as all others.
        baseline: what stands for removed. RISE's code zeroes the normalized image, which is "mean_color"; black,
            white, blur and others give other numbers. A value function of the case's own takes its place.

    Source: Petsiuk et al. (2018), section 4.
    """

    def logits(self, pair: Curves, ks: Sequence[int]) -> Float[Tensor, "n m k"]:
        return pair.removed(ks)


class Insertion(
    AreaUnderCurve, name="insertion", better="higher", axes=("share of pixels shown, highest first", "probability")
):
    r"""Insertion: how soon the class's probability rises when the highest pixels appear first.

    $$\mathrm{I} = \int_0^1 p\big(\mathrm{top}(t)\big)\, dt,$$

    by the trapezoid rule over the share $t$ of players that is there.

    Rewards: maps whose highest pixels suffice for the class.

    Fooled by: a baseline that gives the class away (a blurred image often does), and by compact maps: pixels that come
    as one patch tell more than as many that are scattered.

    Defined: a map of equal values is a random order, which depends on the image and the seed alone.

    Args:
        steps, width: as in `deletion`.
        baseline: what the image grows from; "rise_blur" is RISE's own blur, whose kernel is nearly flat. A value function
            of the case's own takes its place.

    Source: Petsiuk et al. (2018), section 4.
    """

    baseline: GameBaselineOption = "rise_blur"

    def logits(self, pair: Curves, ks: Sequence[int]) -> Float[Tensor, "n m k"]:
        return pair.kept(ks)
