"""ROAD, remove and debias (Rong et al., 2022): deletion with pixels that are filled in from their neighbors."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import splu
from torch import Tensor

from seewhy.metrics.base import Measure
from seewhy.metrics.case import Case
from seewhy.metrics.curves import ranked
from seewhy.metrics.options import TiesOption
from seewhy.options import AtLeast, Below, Doc
from seewhy.types import Attribution, Scores

NEIGHBORS = {(dy, dx): 1 / 6 if dy == 0 or dx == 0 else 1 / 12 for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx}
"""Weights of the eight neighbors; they sum to 1. At the border, those of existing neighbors are scaled up to sum to 1."""
SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class FilledPixels(
    Measure, family="ordering", range=(0.0, 1.0), reads="order", explains="label", paper="rong2022consistent"
):
    """Base of both ROADs: on how many images the class stays, in the mean over the shares of pixels that are filled in."""

    shares: Annotated[
        tuple[Annotated[float, AtLeast(0), Below(1)], ...], Doc("The shares of the pixels that are removed.")
    ] = SHARES
    noise: Annotated[float, AtLeast(0), Doc("Standard deviation of the noise, in units of the normalized image.")] = 0.01
    ties: TiesOption = "random"

    @abstractmethod
    def worth(self, maps: Attribution) -> Attribution:
        """The pixels of the highest worth are filled in first."""

    def score(self, case: Case) -> Scores:
        return self.curve(case)[1].mean(1)

    def curve(self, case: Case) -> tuple[Sequence[float], Float[Tensor, "n m"]]:
        return self.shares, case.share(self, lambda: self.stays(case))

    def stays(self, case: Case) -> Float[Tensor, "n m"]:
        """(n, m) ones and zeros: is the class still predicted when the pixels of the highest worth are filled in?

        A multi-label classifier predicts every class of a probability above one half.
        """
        rank = ranked(self.worth(case.attributions).flatten(1), self.ties, case.seeds).argsort(1)
        p = rank.shape[1]
        shape, generators = case.images.shape[1:], [torch.Generator().manual_seed(seed) for seed in case.seeds]
        grain = torch.stack([torch.randn(shape, generator=g, dtype=torch.float32) for g in generators]).to(case.images)
        grain = grain * self.noise * case.images.new_tensor(case.classifier.std)[:, None, None]
        found = []
        for share in self.shares:
            gone = (rank < min(round(share * p), p - 1)).view(len(rank), *shape[1:])
            filled = torch.stack([impute(x, g) for x, g in zip(case.images, gone, strict=True)])
            logits = case.run(torch.where(gone[:, None], filled + grain, case.images).clamp(0, 1))
            own = logits.gather(1, case.scored[:, None])[:, 0]
            found.append(own > 0 if case.classifier.multilabel else logits.argmax(1) == case.scored)
        return torch.stack(found, 1).to(case.attributions)


class ROAD(
    FilledPixels,
    name="road",
    better="lower",
    axes=("share of pixels filled in, highest first", "share of images that keep their class"),
):
    r"""ROAD: on how many images the class stays when the highest pixels are filled in from their neighbors.

    $$\mathrm{ROAD} = \frac{1}{m} \sum_{j=1}^{m} \mathbb{1}\big[ \arg\max f(x^{(s_j)}) = c \big],$$

    where $x^{(s)}$ has its highest share $s$ of pixels replaced by noisy linear imputation: each is the weighted mean of
    its eight neighbors, removed or not, which is one sparse linear system, plus a little noise.

    Rewards: maps whose highest pixels hold the class, with no black shape that could itself be a feature.

    Fooled by: large connected areas, which are filled in with a smooth color that is again a shape.

    Defined: exactly the share is removed, ties in random order (other code removes every tied pixel). All pixels removed
    at once cannot be filled in, so a share is below 1. For a multi-label classifier a class stays while its probability is
    above one half.

    Args:
        noise: standard deviation of the noise, in units of the normalized image; drawn from the image's own seed.

    Others call other numbers ROAD. grad-cam 1.5 has how much the score changes, not how often the class stays. Its shares
    are percentiles of the map, so that a map with ties loses more or fewer pixels. Its combined figure is half the
    difference of both ends. Quantus 0.6 has 50 shares, 1 % to 99 %, cut to whole pixels, and compares with the label.
    It computes the figure on the first batch only and fails on color images. In both, noise may leave [0, 1].
    Here there are nine shares, rounded to whole pixels, and filled images are clamped to [0, 1].

    Source: Rong et al. (2022), section 4.2 and its code for the weights.
    """

    def worth(self, maps: Attribution) -> Attribution:
        return maps


class ROADLeast(
    FilledPixels,
    name="road_least",
    better="higher",
    axes=("share of pixels filled in, lowest first", "share of images that keep their class"),
):
    r"""ROAD from the other end: on how many images the class stays when the lowest pixels are filled in.

    $$\mathrm{ROAD}_{\downarrow} = \frac{1}{m} \sum_{j=1}^{m} \mathbb{1}\big[ \arg\max f(x^{(s_j)}) = c \big],$$

    with the lowest share $s$ of the pixels replaced as in `road`.

    Rewards: maps that leave nothing that the class needs among their lowest pixels.

    Fooled by: compact maps, whose few high pixels are the last to go, as one piece.

    Defined: as `road`.

    Source: Rong et al. (2022), section 4.2, "LeRF".
    """

    def worth(self, maps: Attribution) -> Attribution:
        return -maps


def impute(image: Float[Tensor, "c h w"], gone: Bool[Tensor, "h w"]) -> Float[Tensor, "c h w"]:
    """The image whose ``gone`` pixels are each the weighted mean of their neighbors."""
    missing = gone.cpu().numpy()
    if not missing.any() or missing.all():
        return image
    values = image.detach().cpu().double().numpy().copy()  # the image is not ours to change
    at = np.arange(missing.sum())
    number = np.full(missing.shape, -1)
    number[missing] = at
    # a border of one pixel, which has no number and no color
    number, bordered = np.pad(number, 1, constant_values=-2), np.pad(values, ((0, 0), (1, 1), (1, 1)))
    ys, xs = np.nonzero(number >= 0)
    weight_sum = np.zeros(len(at))
    known = np.zeros((len(at), len(values)))
    entries: list[tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]] = []
    for (dy, dx), weight in NEIGHBORS.items():
        other = number[ys + dy, xs + dx]
        unknown = other >= 0
        weight_sum += weight * (other > -2)
        entries.append((at[unknown], other[unknown], np.full(unknown.sum(), -weight)))
        known += np.where(unknown, 0, weight * bordered[:, ys + dy, xs + dx]).T
    entries.append((at, at, weight_sum))
    rows, columns, weights = (np.concatenate(part) for part in zip(*entries, strict=True))
    matrix = coo_matrix((weights, (rows, columns)), shape=(len(ys), len(ys))).tocsc()
    values[:, missing] = splu(matrix).solve(known).T
    return torch.from_numpy(values).to(image)
