"""Insertion and deletion (RISE: Petsiuk et al., 2018)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from jaxtyping import Float
from torch import Tensor

from seewhy.masking.baselines import Baseline
from seewhy.masking.players import Division
from seewhy.metrics.base import METRICS, Family, Need
from seewhy.metrics.case import Case
from seewhy.metrics.curves import EVEN, Score, Ties, alike, area, curves, drawn, read_out, sizes
from seewhy.types import Scores


@METRICS.register("deletion")
@dataclass(frozen=True)
class Deletion:
    r"""Deletion: how soon the class's probability falls when the highest pixels are removed first.

    $$\mathrm{D} = \int_0^1 p\big(N \setminus \mathrm{top}(t)\big)\, dt,$$

    by the trapezoid rule over the share $t$ of players that is removed; $p$ is the probability of the class.

    Rewards: maps whose highest pixels the network cannot do without.

    Fooled by: maps of scattered points, which break a network by their grain rather than by their place; and by the
    baseline, which can itself look like a class. `srg` cancels much of the latter.

    Defined: a map of equal values is a random order, which depends on the image and the seed alone.

    Args:
        steps: number of removals; RISE and Opti-CAM take as many pixels at a time as the image is wide.
        baseline: what stands for removed. RISE's code zeroes the normalized image, which is "mean_color"; black,
            white, blur and others give other numbers. A value function of the case's own takes its place.
        players: pixels, patches or superpixels.
        size: side of a patch, or number of superpixels.
        value: probability or logit.
        ties: the order of equal values; "position" from the upper left, as other libraries have it.

    Source: Petsiuk et al. (2018), section 4.
    """

    family: ClassVar[Family] = "ordering"
    higher_is_better: ClassVar[bool | None] = False
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ()
    reads: ClassVar[str] = "order"
    target: ClassVar[Literal["label", "predicted", "any"]] = "predicted"
    paper: ClassVar[str] = "petsiuk2018rise"
    axes: ClassVar[tuple[str, str]] = ("share of pixels removed, highest first", "probability")

    steps: int = 224
    baseline: Baseline = "mean_color"
    players: Division = "pixels"
    size: int = 16
    value: Score = "probability"
    ties: Ties = "random"

    def score(self, case: Case) -> Scores:
        return alike(case, self.players, self.size, lambda part: area(*self._curve(part)))

    def curve(self, case: Case) -> tuple[Sequence[float], Float[Tensor, "n m"]]:
        return EVEN, alike(case, self.players, self.size, lambda part: drawn(*self._curve(part)))

    def _curve(self, case: Case) -> tuple[list[int], Float[Tensor, "n m"]]:
        pair = curves(case, self.players, self.size, self.baseline, self.ties)
        ks = sizes(pair.players.p, self.steps)
        return ks, read_out(case, pair.removed(ks), self.value)


@METRICS.register("insertion")
@dataclass(frozen=True)
class Insertion:
    r"""Insertion: how soon the class's probability rises when the highest pixels appear first.

    $$\mathrm{I} = \int_0^1 p\big(\mathrm{top}(t)\big)\, dt,$$

    by the trapezoid rule over the share $t$ of players that is there.

    Rewards: maps whose highest pixels suffice for the class.

    Fooled by: a baseline that gives the class away (a blurred image often does), and by compact maps: pixels that come
    as one patch tell more than as many that are scattered.

    Defined: a map of equal values is a random order, which depends on the image and the seed alone.

    Args:
        steps: number of insertions.
        baseline: what the image grows from; "rise_blur" is RISE's own blur, whose kernel is nearly flat. A value function
            of the case's own takes its place.
        players: pixels, patches or superpixels.
        size: side of a patch, or number of superpixels.
        value: probability or logit.
        ties: the order of equal values.

    Source: Petsiuk et al. (2018), section 4.
    """

    family: ClassVar[Family] = "ordering"
    higher_is_better: ClassVar[bool | None] = True
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ()
    reads: ClassVar[str] = "order"
    target: ClassVar[Literal["label", "predicted", "any"]] = "predicted"
    paper: ClassVar[str] = "petsiuk2018rise"
    axes: ClassVar[tuple[str, str]] = ("share of pixels shown, highest first", "probability")

    steps: int = 224
    baseline: Baseline = "rise_blur"
    players: Division = "pixels"
    size: int = 16
    value: Score = "probability"
    ties: Ties = "random"

    def score(self, case: Case) -> Scores:
        return alike(case, self.players, self.size, lambda part: area(*self._curve(part)))

    def curve(self, case: Case) -> tuple[Sequence[float], Float[Tensor, "n m"]]:
        return EVEN, alike(case, self.players, self.size, lambda part: drawn(*self._curve(part)))

    def _curve(self, case: Case) -> tuple[list[int], Float[Tensor, "n m"]]:
        pair = curves(case, self.players, self.size, self.baseline, self.ties)
        ks = sizes(pair.players.p, self.steps)
        return ks, read_out(case, pair.kept(ks), self.value)
