"""LIF, MIF and their difference SRG, over players that are ranked by the map (Salvage, algorithm 1)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from seewhy.errors import SeewhyError
from seewhy.masking.baselines import Baseline
from seewhy.masking.players import Division
from seewhy.metrics.base import METRICS, Family, Need
from seewhy.metrics.case import Case
from seewhy.metrics.curves import EVEN, Score, Ties, alike, curves, drawn, read_out, sizes
from seewhy.types import Scores


@dataclass(frozen=True)
class Order:
    """Which sets of players are looked at, and how: the options of LIF, MIF and SRG."""

    division: Division
    size: int
    steps: int
    baseline: Baseline
    value: Score
    ties: Ties

    def values(self, case: Case, best: bool) -> tuple[list[int], Float[Tensor, "n m"]]:
        """v of the best (LIF) or worst (MIF) i players, i = 1, ..., p, or ``steps`` sizes of these."""
        pair = curves(case, self.division, self.size, self.baseline, self.ties)
        p = pair.players.p
        ks = [k for k in (sizes(p, self.steps) if self.steps else range(p + 1)) if k > 0]
        # the worst i are what is left when the best p - i are removed
        logits = pair.kept(ks) if best else pair.removed([p - k for k in ks])
        return ks, read_out(case, logits, self.value)

    def mean(self, case: Case, best: bool) -> Scores:
        return alike(case, self.division, self.size, lambda part: self.values(part, best)[1].mean(1))

    def curve(self, case: Case, best: bool) -> Float[Tensor, "n m"]:
        return alike(case, self.division, self.size, lambda part: drawn(*self.values(part, best)))


@METRICS.register("lif")
@dataclass(frozen=True)
class LIF:
    r"""LIF, least influential first: the mean value while the least important players are removed first.

    $$\mathrm{LIF} = \frac{1}{p} \sum_{i=1}^{p} v(\text{the best } i)$$

    Rewards: maps whose best players suffice.

    Fooled by: compact maps and telling baselines, as `insertion`.

    Defined: equal players are in random order, which depends on the image and the seed alone. The empty set does not
    count, the whole does.

    Args:
        players: patches, pixels or superpixels.
        size: side of a patch, or number of superpixels.
        steps: how many of the sizes 1 to p are evaluated; 0 is each.
        baseline: what stands for removed, unless the case has a value function of its own (a surrogate with its tokens
            masked, as in the paper).
        value: probability or logit.
        ties: the order of equal values.

    Source: Salvage, algorithm 1. It differs from `insertion` in players, baseline and rule: the mean over sizes 1 to p
    instead of the trapezoid over 0 to 1.
    """

    family: ClassVar[Family] = "ordering"
    higher_is_better: ClassVar[bool | None] = True
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ()
    reads: ClassVar[str] = "order"
    target: ClassVar[Literal["label", "predicted", "any"]] = "label"
    paper: ClassVar[str] = "salvage2025"
    axes: ClassVar[tuple[str, str]] = ("share of players left, least important removed first", "probability")

    players: Division = "patches"
    size: int = 16
    steps: int = 0
    baseline: Baseline = "mean_color"
    value: Score = "probability"
    ties: Ties = "random"

    def score(self, case: Case) -> Scores:
        return self._order.mean(case, True)

    def curve(self, case: Case) -> tuple[Sequence[float], Float[Tensor, "n m"]]:
        return EVEN, self._order.curve(case, True)

    @property
    def _order(self) -> Order:
        return Order(self.players, self.size, self.steps, self.baseline, self.value, self.ties)


@METRICS.register("mif")
@dataclass(frozen=True)
class MIF:
    r"""MIF, most influential first: the mean value while the most important players are removed first.

    $$\mathrm{MIF} = \frac{1}{p} \sum_{i=1}^{p} v(\text{the worst } i)$$

    Rewards: maps whose best players the network cannot do without.

    Fooled by: scattered players and hostile baselines, as `deletion`.

    Defined: as `lif`.

    Args:
        players: patches, pixels or superpixels.
        size: side of a patch, or number of superpixels.
        steps: how many of the sizes 1 to p are evaluated; 0 is each.
        baseline: what stands for removed, unless the case has a value function of its own.
        value: probability or logit.
        ties: the order of equal values.

    Source: Salvage, algorithm 1.
    """

    family: ClassVar[Family] = "ordering"
    higher_is_better: ClassVar[bool | None] = False
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ()
    reads: ClassVar[str] = "order"
    target: ClassVar[Literal["label", "predicted", "any"]] = "label"
    paper: ClassVar[str] = "salvage2025"
    axes: ClassVar[tuple[str, str]] = ("share of players left, most important removed first", "probability")

    players: Division = "patches"
    size: int = 16
    steps: int = 0
    baseline: Baseline = "mean_color"
    value: Score = "probability"
    ties: Ties = "random"

    def score(self, case: Case) -> Scores:
        return self._order.mean(case, False)

    def curve(self, case: Case) -> tuple[Sequence[float], Float[Tensor, "n m"]]:
        return EVEN, self._order.curve(case, False)

    @property
    def _order(self) -> Order:
        return Order(self.players, self.size, self.steps, self.baseline, self.value, self.ties)


@METRICS.register("srg")
@dataclass(frozen=True)
class SRG:
    r"""SRG, symmetric relevance gain: what the order of the map gains over its reverse.

    $$\mathrm{SRG} = \mathrm{LIF} - \mathrm{MIF}$$

    Rewards: maps that put what the network uses first and what it does not use last.

    Fooled by: less than its parts. What a baseline does to every order alike cancels, so that rankings of methods agree
    between baselines (Bluecher et al., 2024); a random order scores 0.

    Defined: 0 in the mean for a map of equal values.

    Args:
        players: patches, pixels or superpixels.
        size: side of a patch, or number of superpixels.
        steps: how many of the sizes 1 to p are evaluated; 0 is each.
        baseline: what stands for removed, unless the case has a value function of its own.
        value: probability or logit.
        ties: the order of equal values.

    Source: Bluecher et al. (2024); Salvage, eq. 7. `pixel_flipping` is the form of the former: superpixels and the area
    over the share of pixels.
    """

    family: ClassVar[Family] = "ordering"
    higher_is_better: ClassVar[bool | None] = True
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ()
    reads: ClassVar[str] = "order"
    target: ClassVar[Literal["label", "predicted", "any"]] = "label"
    paper: ClassVar[str] = "bluecher2024decoupling"
    axes: ClassVar[tuple[str, str]] = ("share of players left", "gain in probability of the order over its reverse")

    players: Division = "patches"
    size: int = 16
    steps: int = 0
    baseline: Baseline = "mean_color"
    value: Score = "probability"
    ties: Ties = "random"

    def score(self, case: Case) -> Scores:
        return self._order.mean(case, True) - self._order.mean(case, False)

    def curve(self, case: Case) -> tuple[Sequence[float], Float[Tensor, "n m"]]:
        return EVEN, self._order.curve(case, True) - self._order.curve(case, False)

    @property
    def _order(self) -> Order:
        return Order(self.players, self.size, self.steps, self.baseline, self.value, self.ties)


@METRICS.register("pixel_flipping")
@dataclass(frozen=True)
class PixelFlipping:
    r"""Pixel flipping: SRG over superpixels, as the area between two curves over the share of pixels that is removed.

    $$\mathrm{SRG} = \int_0^1 \big( p(\text{worst removed first}) - p(\text{best removed first}) \big)\, ds,$$

    by the trapezoid rule at the sizes that are evaluated; $s$ is the share of pixels, not of superpixels.

    Rewards: what `srg` rewards, on parts that follow the image.

    Fooled by: superpixels that are so large that every map orders them alike.

    Defined: equal superpixels are in random order.

    Args:
        players: superpixels (SLICO), patches or pixels; each is ranked by its mean attribution.
        size: number of superpixels, or side of a patch.
        points: how many sizes are evaluated beside none and all; geometrically spaced, dense where little is removed.
        baseline: what stands for removed, unless the case has a value function of its own.
        value: probability or logit.
        ties: the order of equal values.

    Source: Bluecher et al. (2024), section 3; 25 superpixels and 15 points are its code's, whose SLIC with
    compactness 1 leaves far fewer of them on photographs: here its compactness adapts.
    """

    family: ClassVar[Family] = "ordering"
    higher_is_better: ClassVar[bool | None] = True
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ()
    reads: ClassVar[str] = "order"
    target: ClassVar[Literal["label", "predicted", "any"]] = "label"
    paper: ClassVar[str] = "bluecher2024decoupling"

    players: Division = "superpixels"
    size: int = 25
    points: int = 15
    baseline: Baseline = "mean_color"
    value: Score = "probability"
    ties: Ties = "random"

    def __post_init__(self) -> None:
        if self.points < 2:
            raise SeewhyError(f"pixel_flipping: points is {self.points}; give at least 2")

    def score(self, case: Case) -> Scores:
        return alike(case, self.players, self.size, self._score)

    def _score(self, case: Case) -> Scores:
        pair = curves(case, self.players, self.size, self.baseline, self.ties)
        p = pair.players.p
        ks = [0, *sorted({round(p ** (i / (self.points - 1))) for i in range(self.points)})]
        owned = pair.players.sizes().gather(1, pair.order).cumsum(1)  # pixels of the best k
        owned = torch.cat([owned.new_zeros(len(owned), 1), owned], 1)
        left = [p - k for k in ks]  # removing the worst k leaves the best p - k
        best_first, worst_first = (read_out(case, logits, self.value) for logits in (pair.removed(ks), pair.kept(left)))
        return _area(owned[:, -1:] - owned[:, left], worst_first) - _area(owned[:, ks], best_first)


def _area(pixels: Tensor, values: Tensor) -> Scores:
    return torch.trapezoid(values, (pixels / pixels[:, -1:]).to(values), dim=1)
