"""Does the map lie on the object? Mass, rank and maximum of a map against a region."""

from typing import Annotated

import torch
from scipy.ndimage import distance_transform_edt

from seewhy.maps import read
from seewhy.metrics.base import Measure
from seewhy.metrics.case import Case
from seewhy.options import AtLeast, Doc
from seewhy.types import Attribution, Regions, Scores

RegionTolerance = Annotated[
    int,
    AtLeast(0),
    Doc("Pixels beside the region that count as part of it. A map that follows an outline lies half beside the region."),
]


class Localization(Measure, family="localization", range=(0, 1), explains="label"):
    """Base of metrics of the place of the map: their common head."""


class OnRegion(Localization, better="higher", needs=("regions",)):
    """Base of metrics of the map and the region of the object: their common head."""


class RelevanceMass(OnRegion, name="relevance_mass", reads="positive", paper="arras2022clevr"):
    r"""Share of the positive attribution that lies on the object.

    $$\mathrm{RMA} = \frac{\sum_{i \in R} \max(a_i, 0)}{\sum_i \max(a_i, 0)}$$

    Here $a_i$ is the attribution of pixel $i$ and $R$ the region. The map is not shifted: what is negative counts as
    nothing. ``energy_pointing_game`` is the same share of the min-max map, where the most negative pixel becomes 0 and a 0
    becomes positive; the two agree where a map's minimum is 0.

    Rewards: attribution that stays on the object, wherever on it.

    Fooled by: large objects, since an even map scores the share of the image that the region covers (compare with that
    chance level); and by one bright pixel on the object with nothing elsewhere, which scores 1.

    Defined: 0 for a map without positive values, which claims nothing, and for an empty region; 1 for a full region and
    any positive value. The scale of a map does not matter, a shift does.

    Source: Arras et al. 2022, "relevance mass accuracy"; relevance mass in Møller et al. 2025, section 3, who take the
    bounding box for the region.
    """

    tolerance: RegionTolerance = 0

    def score(self, case: Case) -> Scores:
        return relevance_mass(case.attributions, dilate(case.require("regions"), self.tolerance))


class RelevanceRank(OnRegion, name="relevance_rank", reads="order", paper="arras2022clevr"):
    r"""Share of the object's area that the highest pixels, as many as the object has, cover.

    $$\mathrm{RRA} = \frac{|T_k \cap R|}{k}, \qquad k = |R|$$

    Here $T_k$ are the $k$ pixels with the highest attribution and $R$ is the region.

    Rewards: an order in which the pixels of the object come before all others.

    Fooled by: large objects, since a random order scores the share of the image that the region covers. It does not see
    how much higher the pixels of the object are, nor any order within them.

    Defined: pixels of the same value as the last of $T_k$ are drawn by chance, and the score is the mean over all draws:
    the free places times the share of those pixels that is in the region. So a constant map scores the region's share.
    0 for an empty region, 1 for a full one. Any increasing function of the map gives the same score; negative values are
    merely low.

    Source: Arras et al. 2022, "relevance rank accuracy"; Møller et al. 2025 report this figure (their text describes
    ``relevance_iou``).
    """

    def score(self, case: Case) -> Scores:
        return relevance_rank(case.attributions, case.require("regions"))


class RelevanceIoU(OnRegion, name="relevance_iou", reads="order", paper="moller2025nemt"):
    r"""Intersection over union of the object and the highest pixels, as many as the object has.

    $$\mathrm{IoU} = \frac{|T_k \cap R|}{|T_k \cup R|} = \frac{\mathrm{RRA}}{2 - \mathrm{RRA}}, \qquad k = |R|$$

    Here $T_k$ are the $k$ pixels with the highest attribution, $R$ is the region and RRA is ``relevance_rank``. Both metrics
    order the maps of one image alike; the means over images differ.

    Rewards: an order in which the pixels of the object come before all others.

    Fooled by: large objects, as ``relevance_rank``; a random order scores about $s / (2 - s)$ for a region that covers the
    share $s$ of the image.

    Defined: where pixels are tied at the edge of $T_k$, the expected intersection goes into the formula; the mean of the
    ratio over all draws would be slightly higher. 0 for an empty region, 1 for a full one.

    Source: Møller et al. 2025, section 3, "relevancy rank" as the text has it; the released code computes
    ``relevance_rank``.
    """

    def score(self, case: Case) -> Scores:
        rank = relevance_rank(case.attributions, case.require("regions"))
        return rank / (2 - rank)


class PointingGame(OnRegion, name="pointing_game", reads="order", paper="zhang2018topdown"):
    r"""Whether the highest pixel lies on the object, or near it.

    $$\mathrm{PG} = \mathbb{1}\left[\, \arg\max_i a_i \in R_\tau \right]$$

    Here $R_\tau$ is the region together with all pixels whose center is less than $\tau$ pixels from that of a pixel of it.

    Rewards: one pixel in the right place.

    Fooled by: everything but that pixel, which is all it looks at; by objects in the middle, where a map of the center
    scores well; and by large objects.

    Defined: where several pixels share the highest value, the share of them that hits, so a constant map scores the share
    of the image that $R_\tau$ covers. 0 for an empty region. Negative maps have a highest pixel too.

    Args:
        tolerance: $\tau$ in pixels. 0 is the standard pointing game of Opti-CAM's appendix; 15 is TorchRay's, for images
            whose shorter side is 224.

    Source: Zhang et al. 2018, section 4.1; Opti-CAM (Zhang et al. 2024), eq. A6; the tolerance as in TorchRay.
    """

    tolerance: Annotated[int, AtLeast(0), Doc("How many pixels beside the region still count as a hit.")] = 0

    def score(self, case: Case) -> Scores:
        a = case.attributions
        highest = a == a.amax((1, 2), keepdim=True)
        hits = (highest & dilate(case.require("regions"), self.tolerance)).sum((1, 2))
        return hits.to(a.dtype) / highest.sum((1, 2))


class EnergyPointingGame(OnRegion, name="energy_pointing_game", reads="min_max", paper="wang2020scorecam"):
    r"""Share of the energy of the min-max map that lies on the object.

    $$\mathrm{EP} = \frac{\sum_{i \in R} s_i}{\sum_i s_i}, \qquad s = \frac{a - \min a}{\max a - \min a}$$

    ``relevance_mass`` is the same share of the positive part of the raw map. Here a signed map is shifted, so that a
    pixel without any attribution has energy; for a map whose minimum is 0 the two are equal. It is the precision of
    Opti-CAM's appendix (eq. A3).

    Rewards: energy that stays on the object, wherever on it.

    Fooled by: large objects, since an even map scores about the share of the image that the region covers; by one bright
    pixel; and, for signed maps, by the lowest pixel, which decides how much energy all others have.

    Defined: 0 for a constant map, which has no energy after min-max, and for an empty region. Neither scale nor shift of
    a map matter.

    Source: Score-CAM (Wang et al. 2020), section 4.3; Opti-CAM (Zhang et al. 2024), appendix B, eq. A3.
    """

    def score(self, case: Case) -> Scores:
        return relevance_mass(read(case.attributions, "min_max"), case.require("regions"))


def relevance_mass(attributions: Attribution, regions: Regions) -> Scores:
    """Positive attribution inside over all positive attribution; 0 where there is none."""
    a = read(attributions, "positive")
    highest = a.amax((1, 2), keepdim=True)
    a = a / torch.where(highest > 0, highest, 1)  # the sum of a map of any scale is in range
    inside, outside = (a * regions).sum((1, 2)), (a * ~regions).sum((1, 2))
    return inside / torch.where(highest[:, 0, 0] > 0, inside + outside, 1)


def relevance_rank(attributions: Attribution, regions: Regions) -> Scores:
    """Expected share of the k highest pixels that is in the region, k being its area; 0 for an empty region."""
    a, r = attributions.flatten(1), regions.flatten(1)
    k = r.sum(1)
    last = a.sort(1, descending=True).values.gather(1, (k - 1).clamp_min(0)[:, None])
    above, tied = a > last, a == last
    free = (k - above.sum(1)).to(a.dtype)
    hits = (above & r).sum(1) + free * (tied & r).sum(1) / tied.sum(1)
    return torch.where(k > 0, hits / k.clamp_min(1), 0)


def dilate(regions: Regions, radius: int) -> Regions:
    """The regions and all pixels less than ``radius`` pixels away, center to center; an empty region stays empty."""
    if not radius or not regions.any():
        return regions
    away = [distance_transform_edt(~r) < radius if r.any() else r for r in regions.cpu().numpy()]
    return regions | torch.stack([torch.as_tensor(a) for a in away]).to(regions.device)
