"""Black and white deletion, and allegiance (Llorente et al., 2023)."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from seewhy.errors import SeewhyError
from seewhy.maps import Reading, read
from seewhy.metrics.base import METRICS, Measure
from seewhy.metrics.case import Case
from seewhy.metrics.options import ReadsOption
from seewhy.options import Above, AtMost, Doc
from seewhy.types import Scores

FRACTIONS = (0.0, 0.03, 0.05, 0.07, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class PaintedPixels(
    Measure,
    family="ordering",
    better="lower",
    range=(0.0, 0.9),
    explains="predicted",
    paper="llorente2023positive",
):
    """Base of black and white deletion: the area under the allegiance while the highest pixels are painted."""

    gray: ClassVar[float]
    """The color, from 0, black, to 1, white."""

    fractions: Annotated[
        tuple[float, ...], Doc("The shares of the pixels that are deleted, each time from the whole image.")
    ] = FRACTIONS
    amount: Annotated[float, Above(0), AtMost(1), Doc("How far toward the color: 1 is the color, 0.5 is half way.")] = 1.0
    reads: ReadsOption = "min_max"

    def __post_init__(self) -> None:
        s = self.fractions
        if len(s) < 2 or list(s) != sorted(set(s)) or not 0 <= s[0] < s[-1] <= 1:
            raise SeewhyError(
                f"{METRICS.name_of(type(self))} cannot take fractions={s}: give two or more from 0 to 1 that grow"
            )

    def score(self, case: Case) -> Scores:
        kept = self.curve(case)[1]
        return torch.trapezoid(kept, kept.new_tensor(self.fractions), dim=1)  # up to 0.9 the largest area is 0.9

    def curve(self, case: Case) -> tuple[Sequence[float], Float[Tensor, "n m"]]:
        return self.fractions, case.share(self, lambda: allegiance(case, self.gray, self.amount, self.fractions, self.reads))


class BlackDeletion(
    PaintedPixels,
    name="black_deletion",
    axes=("share of pixels painted black", "share of images that keep their class"),
):
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
        amount: how far toward black: 1 is black, 0.5 is half as bright.
        reads: how the map is read. The paper's code takes min-max, after which the smallest value is 0 and stays.

    Source: Llorente et al. (2023), section 4.2 and table 2.
    """

    gray: ClassVar[float] = 0.0


class WhiteDeletion(
    PaintedPixels,
    name="white_deletion",
    axes=("share of pixels painted white", "share of images that keep their class"),
):
    r"""White deletion: how long the predicted class stays while the highest pixels are painted white.

    $$\mathrm{WD} = \int_0^{0.9} \mathbb{1}\big[\arg\max f(x^{(s)}) = \arg\max f(x)\big]\, ds,$$

    as `black_deletion`, with white in the place of black.

    Rewards: maps that find the pixels whose darkness holds the class up, as `negative_saliency` and `inactive_saliency`
    claim to.

    Fooled by: as `black_deletion`.

    Defined: as `black_deletion`.

    Args:
        amount: how far toward white: 1 is white, 0.5 is half way.

    Source: Llorente et al. (2023), section 4.2 and table 3.
    """

    gray: ClassVar[float] = 1.0


def allegiance(case: Case, gray: float, amount: float, fractions: tuple[float, ...], reads: Reading) -> Float[Tensor, "n m"]:
    """(n, m) ones and zeros: is the predicted class still the same after each fraction is painted?

    The pixels that are painted have more than the value at place round(fraction * h * w) in descending order, and a value
    that is not 0. Each fraction is painted in one shot, on the whole image.
    """
    maps = read(case.attributions, reads).flatten(1)
    ordered = maps.sort(dim=1, descending=True).values
    places = torch.tensor([min(round(f * maps.shape[1]), maps.shape[1] - 1) for f in fractions], device=maps.device)
    cut = ordered[:, places]
    gone = (maps[:, None] > cut[..., None]) & (maps != 0)[:, None]
    gone[:, [f == 0 for f in fractions]] = False
    changed = case.images + amount * (gray - case.images)
    kept = []
    for j in range(len(fractions)):
        mask = gone[:, j].view(len(maps), 1, *case.images.shape[-2:])
        kept.append(case.run(torch.where(mask, changed, case.images)).argmax(1) == case.logits.argmax(1))
    return torch.stack(kept, 1).to(case.images.dtype)
