"""Does a map know when to be silent? Maps of classes that are not in the image, and values that are neither yes nor no."""

from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from seewhy.maps import read
from seewhy.metrics.base import Measure
from seewhy.metrics.case import Case
from seewhy.metrics.class_masks import class_maps_of
from seewhy.metrics.options import ScaleOption
from seewhy.options import AtLeast, Below, Doc
from seewhy.types import Scores

SilenceFigure = Literal["balanced", "silent", "speaking", "absent_area", "present_area"]


class Silence(
    Measure,
    name="silence",
    family="specificity",
    better="higher",
    range=(0, 1),
    needs=("class_maps", "labels"),
    reads="clipped",
    explains="any",
):
    r"""How often the mask of an absent class is empty, and the mask of a present class is not.

    $$S = \frac{|\{(x, j) : j \notin \mathcal{Y}(x),\ \bar m_j(x) \le \tau\}|}{|\{(x, j) : j \notin \mathcal{Y}(x)\}|},
    \qquad
    R = \frac{|\{(x, j) : j \in \mathcal{Y}(x),\ \bar m_j(x) > \tau\}|}{|\{(x, j) : j \in \mathcal{Y}(x)\}|}$$

    Here $\bar m_j(x)$ is the mean over the pixels of the map of class $j$, clipped to $[0, 1]$, $\mathcal{Y}(x)$ the classes
    of image $x$, and $j$ the classes whose maps are asked for. "silent" is $S$, "speaking" is $R$, "balanced" their mean.
    The score of an image is its absent classes, the silent ones of them and the sum of their areas, and the same of present
    classes with those that speak, all over the number of classes.

    Rewards: masks that are empty for what is not there, and only for that.

    Fooled by: "silent" alone by maps of zeros, "speaking" alone by maps of ones; "balanced" gives both one half. Labels that
    do not name all that is in the image count right masks as wrong. An area says nothing of the place: read it beside
    ``class_masks`` or ``relevance_mass``.

    Defined: values below 0 count as 0 and above 1 as 1, since a mask is read as it is: a map of another scale must be
    brought to $[0, 1]$ first, and min-max would let no map be empty. Without an absent class $S$ is 0, without a present
    class $R$ is 0, and "balanced" is the other one; the areas are 0. An image without labels has absent classes alone.

    Args:
        figure: "absent_area" and "present_area" are the mean areas: how much the masks show.
        threshold: $\tau$, the largest mean of a mask that is empty.

    Source: this library. NN-Explainer's non-target mask (Stalder et al. 2022, section 3) is trained to be silent.
    """

    figure: Annotated[
        SilenceFigure,
        Doc('"balanced", "silent" or "speaking" (shares of masks); "absent_area" or "present_area" (mean of the masks).'),
    ] = "balanced"
    threshold: Annotated[float, AtLeast(0), Below(1), Doc("The largest mean of a mask that is empty.")] = 0.01

    def score(self, case: Case) -> Float[Tensor, "n 6"]:
        maps, classes = class_maps_of(case, "silence")
        areas = read(maps.flatten(0, 1), "clipped").mean((1, 2)).view(maps.shape[:2])
        there: Bool[Tensor, "n j"] = case.present_classes()[:, classes]
        empty = areas <= self.threshold
        parts = [(~there, empty), (there, ~empty)]
        columns = [x for of, right in parts for x in (of.sum(1), (of & right).sum(1), (of * areas).sum(1))]
        return torch.stack([column.to(areas.dtype) / len(classes) for column in columns], 1)

    def reduce(self, scores: Tensor) -> float:
        absent, silent, absent_area, present, speaking, present_area = scores.double().sum(0).tolist()
        shares = [part / whole for part, whole in ((silent, absent), (speaking, present)) if whole]
        return {
            "balanced": sum(shares) / max(len(shares), 1),
            "silent": silent / (absent or 1),
            "speaking": speaking / (present or 1),
            "absent_area": absent_area / (absent or 1),
            "present_area": present_area / (present or 1),
        }[self.figure]


class DecidedShare(
    Measure, name="decided_share", family="complexity", better="neither", range=(0, 1), reads="min_max", explains="any"
):
    r"""Share of the values of the mask that are nearly 0 or nearly 1.

    $$B = \frac{1}{hw} \left|\{ i : m_i < 0.1 \text{ or } m_i > 0.9 \}\right|$$

    Here $m$ is the mask in $[0, 1]$. Masks that are "effectively binary" (Stalder et al. 2022, section 4) score 1.

    Rewards: nothing by itself: it says whether a threshold would change the map.

    Fooled by: any threshold, which makes every map binary, right or wrong.

    Defined: 1 for a constant map, which becomes 0 by min-max. Values of exactly 0.1 and 0.9 are undecided.

    Args:
        margin: how far from 0 or 1 a value may be, less than one half.

    Source: this library, after the "values outside 0.1 to 0.9" that describe sharp masks.
    """

    margin: Annotated[float, AtLeast(0), Below(0.5), Doc("How far from 0 or 1 a decided value may be.")] = 0.1
    scale: ScaleOption = "min_max"

    def score(self, case: Case) -> Scores:
        masks = read(case.attributions, self.scale)
        return ((masks < self.margin) | (masks > 1 - self.margin)).to(masks.dtype).mean((1, 2))
