"""Black and white deletion, and allegiance (Llorente et al., 2023)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from seewhy.errors import SeewhyError
from seewhy.maps import Reading, read
from seewhy.metrics.base import METRICS, Family, Need
from seewhy.metrics.case import Case
from seewhy.types import Scores

FRACTIONS = (0.0, 0.03, 0.05, 0.07, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def allegiance(
    case: Case, color: Literal["black", "white"], amount: float, fractions: tuple[float, ...], reads: Reading
) -> Float[Tensor, "n m"]:
    """(n, m) ones and zeros: is the predicted class still the same after each fraction is deleted?

    Deleted are the pixels above the value at place round(fraction * h * w) in descending order, never those of value 0,
    all in one shot from the whole image.
    """

    def make() -> Float[Tensor, "n m"]:
        maps = read(case.attributions, reads).flatten(1)
        ordered = maps.sort(dim=1, descending=True).values
        places = torch.tensor([min(round(f * maps.shape[1]), maps.shape[1] - 1) for f in fractions], device=maps.device)
        cut = ordered[:, places]
        gone = (maps[:, None] > cut[..., None]) & (maps != 0)[:, None]
        gone[:, [f == 0 for f in fractions]] = False
        target = 0.0 if color == "black" else 1.0
        changed = case.images + amount * (target - case.images)
        kept = []
        for j in range(len(fractions)):
            mask = gone[:, j].view(len(maps), 1, *case.images.shape[-2:])
            kept.append(case.run(torch.where(mask, changed, case.images)).argmax(1) == case.logits.argmax(1))
        return torch.stack(kept, 1).to(case.images.dtype)

    return case.share(("allegiance", color, amount, fractions, reads), make)


def _area(kept: Float[Tensor, "n m"], fractions: tuple[float, ...]) -> Scores:
    """Trapezoid over the fractions as they are: from 0 to 0.9 the largest area is 0.9."""
    return torch.trapezoid(kept, kept.new_tensor(fractions), dim=1)


def _check(name: str, fractions: tuple[float, ...], amount: float) -> None:
    if len(fractions) < 2 or list(fractions) != sorted(set(fractions)) or not 0 <= fractions[0] < fractions[-1] <= 1:
        raise SeewhyError(f"{name} cannot take fractions={fractions}: give two or more from 0 to 1 that grow")
    if not 0 < amount <= 1:
        raise SeewhyError(f"{name} cannot take amount={amount}: give a number above 0, up to 1")


@METRICS.register("black_deletion")
@dataclass(frozen=True)
class BlackDeletion:
    r"""Black deletion: how long the predicted class stays while the highest pixels are painted black.

    $$\mathrm{BD} = \int_0^{0.9} \mathbb{1}\big[\arg\max f(x^{(s)}) = \arg\max f(x)\big]\, ds,$$

    by the trapezoid rule over 13 fractions $s$ of the pixels, dense where little is deleted. The indicator is called
    allegiance. True labels play no part.

    Rewards: maps that find the pixels whose brightness holds the class up, as `positive_saliency` and `active_saliency`
    claim to.

    Fooled by: scattered points, which break a network by their grain; and maps that are zero in most places, of which
    little can be deleted and whose area therefore stays large.

    Defined: pixels of value 0, and those tied with the threshold, are never deleted: a constant map deletes nothing and
    has area 0.9. The area is not divided by 0.9.

    Args:
        fractions: what share of the pixels is deleted, each time from the whole image.
        amount: how far toward black: 1 is black, 0.5 is half as bright.
        reads: how the map is read. The paper's code takes min-max, after which the smallest value is 0 and stays.

    Source: Llorente et al. (2023), section 4.2 and table 2.
    """

    family: ClassVar[Family] = "ordering"
    higher_is_better: ClassVar[bool | None] = False
    range: ClassVar[tuple[float, float]] = (0.0, 0.9)
    needs: ClassVar[tuple[Need, ...]] = ()
    target: ClassVar[Literal["label", "predicted", "any"]] = "predicted"
    paper: ClassVar[str] = "llorente2023positive"
    axes: ClassVar[tuple[str, str]] = ("share of pixels painted black", "share of images that keep their class")

    fractions: tuple[float, ...] = FRACTIONS
    amount: float = 1.0
    reads: Reading = "min_max"

    def __post_init__(self) -> None:
        _check("black_deletion", self.fractions, self.amount)

    def score(self, case: Case) -> Scores:
        return _area(self.curve(case)[1], self.fractions)

    def curve(self, case: Case) -> tuple[Sequence[float], Float[Tensor, "n m"]]:
        return self.fractions, allegiance(case, "black", self.amount, self.fractions, self.reads)


@METRICS.register("white_deletion")
@dataclass(frozen=True)
class WhiteDeletion:
    r"""White deletion: how long the predicted class stays while the highest pixels are painted white.

    $$\mathrm{WD} = \int_0^{0.9} \mathbb{1}\big[\arg\max f(x^{(s)}) = \arg\max f(x)\big]\, ds,$$

    as `black_deletion`, with white in the place of black.

    Rewards: maps that find the pixels whose darkness holds the class up, as `negative_saliency` and `inactive_saliency`
    claim to.

    Fooled by: as `black_deletion`.

    Defined: as `black_deletion`.

    Args:
        fractions: what share of the pixels is deleted, each time from the whole image.
        amount: how far toward white: 1 is white, 0.5 is half way.
        reads: how the map is read.

    Source: Llorente et al. (2023), section 4.2 and table 3.
    """

    family: ClassVar[Family] = "ordering"
    higher_is_better: ClassVar[bool | None] = False
    range: ClassVar[tuple[float, float]] = (0.0, 0.9)
    needs: ClassVar[tuple[Need, ...]] = ()
    target: ClassVar[Literal["label", "predicted", "any"]] = "predicted"
    paper: ClassVar[str] = "llorente2023positive"
    axes: ClassVar[tuple[str, str]] = ("share of pixels painted white", "share of images that keep their class")

    fractions: tuple[float, ...] = FRACTIONS
    amount: float = 1.0
    reads: Reading = "min_max"

    def __post_init__(self) -> None:
        _check("white_deletion", self.fractions, self.amount)

    def score(self, case: Case) -> Scores:
        return _area(self.curve(case)[1], self.fractions)

    def curve(self, case: Case) -> tuple[Sequence[float], Float[Tensor, "n m"]]:
        return self.fractions, allegiance(case, "white", self.amount, self.fractions, self.reads)
