"""Average drop, average gain and average increase: the class's probability on the image that the map masks."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from seewhy.errors import SeewhyError
from seewhy.maps import Reading, read
from seewhy.masking.baselines import Baseline, baseline_images
from seewhy.metrics.base import METRICS, Family, Need
from seewhy.metrics.case import Case
from seewhy.types import Attribution, Logits, Scores

Use = Literal["map", "map_in_region", "map_outside_region", "region", "complement"]
"""The mask: the map; the map cut to the object's region, or to its complement; the region itself, or its complement."""


def mask(case: Case, use: Use, reads: Reading, alpha: float) -> Attribution:
    """(n, h, w) in [0, 1], 1 = keep."""
    if use != "map" and case.regions is None:
        raise SeewhyError(f"use={use!r} needs the region of the object, which {case.source} does not have")
    soft = read(case.attributions, reads).clamp(0, 1) ** alpha
    if use == "map" or case.regions is None:
        return soft
    region = case.regions.to(soft)
    return {
        "map_in_region": soft * region,
        "map_outside_region": soft * (1 - region),
        "region": region,
        "complement": 1 - region,
    }[use]


def masked_logits(case: Case, use: Use, baseline: Baseline, reads: Reading, alpha: float) -> Logits:
    """(n, k) of the masked images; made once for all metrics of the same options."""

    def make() -> Logits:
        m = mask(case, use, reads, alpha)[:, None].to(case.images)
        return case.run(m * case.images + (1 - m) * baseline_images(baseline, case.classifier, case.images))

    return case.share(("masked", use, baseline, reads, alpha), make)


@METRICS.register("average_drop")
@dataclass(frozen=True)
class AverageDrop:
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
        alpha: the map to this power (selectivity, Opti-CAM appendix F).
        use: what masks; see the bounding-box study of Opti-CAM, table 5.
        reads: how the map becomes a mask; "clipped" for maps that are masks already.

    Source: Chattopadhay et al. (2018); Opti-CAM, eq. 13.
    """

    family: ClassVar[Family] = "masking"
    higher_is_better: ClassVar[bool | None] = False
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ()
    target: ClassVar[Literal["label", "predicted", "any"]] = "label"
    paper: ClassVar[str] = "chattopadhay2018gradcampp"

    baseline: Baseline = "black"
    alpha: float = 1.0
    use: Use = "map"
    reads: Reading = "min_max"

    def score(self, case: Case) -> Scores:
        masked = masked_logits(case, self.use, self.baseline, self.reads, self.alpha)
        return _ratio((-rise(case, masked)).clamp_min(0), case.probability(case.logits))


@METRICS.register("average_gain")
@dataclass(frozen=True)
class AverageGain:
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
        alpha: the map to this power.
        use: what masks.
        reads: how the map becomes a mask.

    Source: Opti-CAM, eq. 15.
    """

    family: ClassVar[Family] = "masking"
    higher_is_better: ClassVar[bool | None] = True
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ()
    target: ClassVar[Literal["label", "predicted", "any"]] = "label"
    paper: ClassVar[str] = "zhang2024opticam"

    baseline: Baseline = "black"
    alpha: float = 1.0
    use: Use = "map"
    reads: Reading = "min_max"

    def score(self, case: Case) -> Scores:
        masked = masked_logits(case, self.use, self.baseline, self.reads, self.alpha)
        return _ratio(rise(case, masked).clamp_min(0), case.doubt(case.logits))


@METRICS.register("average_increase")
@dataclass(frozen=True)
class AverageIncrease:
    r"""Average increase: on how many images the class's probability rises when the image is masked by its map.

    $$\mathrm{AI} = \mathbb{1}[p < o],$$

    with $p$ and $o$ as in `average_drop`; strictly.

    Rewards: any rise, however small.

    Fooled by: `fake_cam`, which reaches nearly one half: hiding one pixel raises the probability as often as not. Read
    `average_gain`, which says by how much.

    Defined: 0 where nothing changes. Compared as $1 - p$, so that probabilities that round to 1 still differ.

    Args:
        baseline: what stands for removed, as in `average_drop`.
        alpha: the map to this power.
        use: what masks.
        reads: how the map becomes a mask.

    Source: Chattopadhay et al. (2018); Opti-CAM, eq. 14.
    """

    family: ClassVar[Family] = "masking"
    higher_is_better: ClassVar[bool | None] = True
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ()
    target: ClassVar[Literal["label", "predicted", "any"]] = "label"
    paper: ClassVar[str] = "chattopadhay2018gradcampp"

    baseline: Baseline = "black"
    alpha: float = 1.0
    use: Use = "map"
    reads: Reading = "min_max"

    def score(self, case: Case) -> Scores:
        masked = masked_logits(case, self.use, self.baseline, self.reads, self.alpha)
        return (rise(case, masked) > 0).to(case.images.dtype)


def rise(case: Case, masked: Logits) -> Scores:
    """(n,) o - p, from the probabilities where they are small and from 1 - p where that is: neither is rounded away."""
    whole = case.probability(case.logits)
    return torch.where(whole < 0.5, case.probability(masked) - whole, case.doubt(case.logits) - case.doubt(masked))


def _ratio(change: Tensor, whole: Tensor) -> Scores:
    """change / whole, 0 where whole is 0."""
    return torch.where(whole > 0, change / torch.where(whole > 0, whole, 1), 0).clamp_max(1)
