"""Average drop, average gain and average increase: the class's probability on the image that the map masks."""

from typing import Annotated, Literal

import torch
from torch import Tensor

from seewhy.maps import Reading, read
from seewhy.masking.baselines import Baseline
from seewhy.metrics.base import Measure
from seewhy.metrics.case import Case
from seewhy.metrics.options import BaselineOption
from seewhy.options import AtLeast, Doc
from seewhy.types import Attribution, Logits, Scores

MaskSource = Literal["map", "map_in_region", "map_outside_region", "region", "complement"]
"""The mask: the map; the map cut to the object's region, or to its complement; the region itself, or its complement."""


class MaskedByMap(Measure, family="masking", range=(0.0, 1.0), explains="label"):
    """Base of metrics of the image that its map masks: their common options."""

    baseline: BaselineOption = "black"
    alpha: Annotated[float, AtLeast(0), Doc("The map to this power (selectivity, Opti-CAM appendix F).")] = 1.0
    use: Annotated[
        MaskSource,
        Doc("The source of the mask: see the bounding-box study of Opti-CAM, table 5."),
    ] = "map"
    reads: Annotated[Reading, Doc('How the map becomes a mask; "clipped" for maps that are masks already.')] = "min_max"


class AverageDrop(MaskedByMap, name="average_drop", better="lower", paper="chattopadhay2018gradcampp"):
    r"""Average drop: how much of the class's probability is lost when the image is masked by its map.

    $$\mathrm{AD} = \frac{[p - o]_+}{p},$$

    with $p$ the probability of the class on the image and $o$ on $x \odot m + b \odot (1 - m)$, $m$ the min-max map and
    $b$ the baseline.

    Rewards: maps that keep whatever the class needs.

    Fooled by: keeping everything. `fake_cam`, which hides one pixel, has a drop of nearly 0. Read it with `average_gain`.

    Defined: 0 where $p = 0$. A constant map is a mask of zeros: everything is removed.

    Args:
        baseline: what stands for removed; black, as the code of Opti-CAM has it. Libraries that multiply the normalized
            image by the map use "mean_color".

    Source: Chattopadhay et al. (2018); Opti-CAM, eq. 13.
    """

    def score(self, case: Case) -> Scores:
        return _ratio((-rise(case, self)).clamp_min(0), case.probability(case.logits))


class AverageGain(MaskedByMap, name="average_gain", better="higher", paper="zhang2024opticam"):
    r"""Average gain: how much of the missing probability the class wins when the image is masked by its map.

    $$\mathrm{AG} = \frac{[o - p]_+}{1 - p},$$

    with $p$ and $o$ as in `average_drop`.

    Rewards: maps whose mask makes the network surer than the whole image does.

    Fooled by: masks that are optimized for the network (adversarial ones); it rewards them without saying whether a
    person would see the object. It is 0 for `fake_cam`, which is why Opti-CAM pairs it with average drop.

    Defined: 0 where $p = 1$ exactly. $1 - p$ is computed from the other classes' logits, so a probability that rounds to
    1 is no division by zero.

    Args:
        baseline: what stands for removed, as in `average_drop`.

    Source: Opti-CAM, eq. 15.
    """

    def score(self, case: Case) -> Scores:
        return _ratio(rise(case, self).clamp_min(0), case.complement(case.logits))


class AverageIncrease(MaskedByMap, name="average_increase", better="higher", paper="chattopadhay2018gradcampp"):
    r"""Average increase: on how many images the class's probability rises when the image is masked by its map.

    $$\mathrm{AI} = \mathbb{1}[p < o],$$

    with $p$ and $o$ as in `average_drop`; strictly.

    Rewards: any rise, however small.

    Fooled by: `fake_cam`, which reaches nearly one half: hiding one pixel raises the probability as often as not. Read
    `average_gain`, which says by how much.

    Defined: 0 where nothing changes. Compared as $1 - p$, so that probabilities that round to 1 still differ.

    Args:
        baseline: what stands for removed, as in `average_drop`.

    Source: Chattopadhay et al. (2018); Opti-CAM, eq. 14.
    """

    def score(self, case: Case) -> Scores:
        return (rise(case, self) > 0).to(case.images.dtype)


def rise(case: Case, measure: MaskedByMap) -> Scores:
    """(n,) o - p, of the probabilities where they are small, else of the complements: neither is rounded away."""
    logits, masked = case.logits, logits_under_map(case, measure.baseline, measure.alpha, measure.use, measure.reads)
    p = case.probability(logits)
    return torch.where(p < 0.5, case.probability(masked) - p, case.complement(logits) - case.complement(masked))


def logits_under_map(
    case: Case, baseline: Baseline, alpha: float = 1.0, use: MaskSource = "map", reads: Reading = "min_max"
) -> Logits:
    """(n, k) logits of the masked images, computed once for all metrics with the same options."""
    key = ("masked", use, baseline, reads, alpha)
    return case.share(key, lambda: case.run(case.faded(mask_of(case, use, reads, alpha), baseline)))


def mask_of(case: Case, use: MaskSource, reads: Reading, alpha: float) -> Attribution:
    """(n, h, w) in [0, 1], 1 = keep."""
    soft = read(case.attributions, reads).clamp(0, 1) ** alpha
    if use == "map":
        return soft
    region = case.require("regions", f"use={use!r}").to(soft)
    return {
        "map_in_region": soft * region,
        "map_outside_region": soft * (1 - region),
        "region": region,
        "complement": 1 - region,
    }[use]


def _ratio(change: Tensor, whole: Tensor) -> Scores:
    """change / whole, 0 where whole is 0."""
    return torch.where(whole > 0, change / torch.where(whole > 0, whole, 1), 0).clamp_max(1)
