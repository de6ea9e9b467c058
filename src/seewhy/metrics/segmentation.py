"""The map as a segmentation of the object (NN-Explainer, section 4.3)."""

from math import log
from typing import Annotated, Literal, cast

import torch

from seewhy.maps import read
from seewhy.metrics.base import Measure
from seewhy.metrics.case import Case
from seewhy.metrics.options import BaselineOption, MaskScale, ScaleOption
from seewhy.metrics.regions import OnRegion, RegionTolerance, dilate
from seewhy.options import Doc
from seewhy.types import Attribution, Regions, Scores

ReferenceMask = Literal["map", "zeros", "halves", "ones", "region"]
"""The mask that is measured: the map, or one of the paper's four reference masks ("region" is the ground truth)."""
UseOption = Annotated[
    ReferenceMask,
    Doc('"map", or a reference mask instead of it: "zeros", "halves", "ones" or the "region" itself.'),
]


class MaskOnRegion(OnRegion, reads="min_max", paper="stalder2022nnexplainer"):
    """Base of metrics of the mask and the region of the object: their common options."""

    use: UseOption = "map"
    scale: ScaleOption = "min_max"


class MaskAccuracy(MaskOnRegion, name="mask_accuracy"):
    r"""Accuracy of the map as a soft segmentation, pixel by pixel.

    $$\mathrm{Acc} = \frac{1}{hw} \sum_i \left[ m_i g_i + (1 - m_i)(1 - g_i) \right] = 1 - \mathrm{MAE}$$

    Here $m$ is the mask in $[0, 1]$, without a threshold, and $g$ the region, 0 or 1.

    Rewards: 1 on the object and 0 elsewhere, each pixel counting alike.

    Fooled by: small objects, for which a mask of zeros is nearly perfect: always read it beside ``use="zeros"``.

    Defined: a constant map becomes 0 by min-max, so it scores the share of the image outside the region. Empty and full
    regions are scored as any other.

    Source: NN-Explainer (Stalder et al. 2022), section 4.3, Acc in Table 2.
    """

    def score(self, case: Case) -> Scores:
        masks = masks_of(case, self.use, self.scale)
        return torch.where(case.require("regions"), masks, 1 - masks).mean((1, 2))


class MaskMAE(MaskOnRegion, name="mask_mae", better="lower"):
    r"""Mean absolute difference of the map and the object's segmentation.

    $$\mathrm{MAE} = \frac{1}{hw} \sum_i |m_i - g_i|$$

    Here $m$ is the mask in $[0, 1]$ and $g$ the region, 0 or 1. It is $1 -$ ``mask_accuracy``.

    Rewards: 1 on the object and 0 elsewhere, each pixel counting alike.

    Fooled by: small objects, for which a mask of zeros is nearly perfect: always read it beside ``use="zeros"``.

    Defined: a constant map becomes 0 by min-max, so it scores the region's share. Empty and full regions are scored as
    any other.

    Source: NN-Explainer (Stalder et al. 2022), section 4.3, MAE in Table 2.
    """

    def score(self, case: Case) -> Scores:
        masks = masks_of(case, self.use, self.scale)
        return (masks - case.require("regions").to(masks.dtype)).abs().mean((1, 2))


class MaskIoU(MaskOnRegion, name="mask_iou"):
    r"""Intersection over union of the map and the object's segmentation, without a threshold.

    $$\mathrm{IoU} = \frac{\sum_i \min(m_i, g_i)}{\sum_i \max(m_i, g_i)}$$

    Here $m$ is the mask in $[0, 1]$ and $g$ the region, 0 or 1.

    Rewards: 1 on all of the object and 0 elsewhere.

    Fooled by: large objects, for which a mask of ones scores the region's share; maps that are right but pale score low.

    Defined: 0 for an empty region, also under a mask of zeros (as the released code has it), and for a constant map, which
    becomes 0 by min-max.

    Source: NN-Explainer (Stalder et al. 2022), section 4.3, IoU in Table 2.
    """

    tolerance: RegionTolerance = 0

    def score(self, case: Case) -> Scores:
        masks = masks_of(case, self.use, self.scale)
        g = dilate(case.require("regions"), self.tolerance).to(masks.dtype)
        union = torch.maximum(masks, g).sum((1, 2))
        return torch.minimum(masks, g).sum((1, 2)) / torch.where(union > 0, union, 1)


class SaliencyScore(
    Measure,
    name="saliency_score",
    family="masking",
    better="lower",
    range=(log(0.05), torch.inf),
    needs=("labels",),
    reads="min_max",
    explains="label",
    paper="stalder2022nnexplainer",
):
    r"""Area of the mask against what the classifier still sees through it: small and sure is good.

    $$\mathrm{Sal} = \ln \max(\bar m, 0.05) - \ln \sum_{c \in \mathcal{Y}} p_c(x \odot m)$$

    Here $\bar m$ is the mean of the mask, $x \odot m = m x + (1 - m) b$ the image faded to the baseline $b$, $p$ a softmax
    even where the network is multi-label, and $\mathcal{Y}$ the classes that are in the image, each once.

    Rewards: a mask that is small, down to a twentieth of the image, and through which the present classes win.

    Fooled by: fragments: a few pixels that the classifier reads as the class, be they evidence or an adversarial pattern,
    beat the true segmentation, as the paper itself says. It is not a measure of segmentation.

    Defined: the logarithm of the probability is taken from the logits and stays finite. An image in which no class is
    present is scored by the class that the case scores. A constant map becomes 0 by min-max: the image is the baseline.

    Args:
        use: "map", or a reference mask instead of it: "zeros", "halves", "ones" or the "region", which must be known then.
        baseline: what the image fades to. The paper multiplies the normalized image, which fades to the mean color.

    Source: NN-Explainer (Stalder et al. 2022), eq. 9. Their released code counts a class once for every object of it in
    the image; here once.
    """

    use: UseOption = "map"
    scale: ScaleOption = "min_max"
    baseline: BaselineOption = "mean_color"

    def score(self, case: Case) -> Scores:
        masks = masks_of(case, self.use, self.scale)
        case.classifier.must_have_probabilities()
        logs = case.run(case.faded(masks, self.baseline)).log_softmax(1)
        present = case.present_classes()
        alone = torch.arange(logs.shape[1], device=logs.device) == case.scored[:, None]
        present = torch.where(present.any(1, keepdim=True), present, alone)
        sure = logs.masked_fill(~present, -torch.inf).logsumexp(1).clamp_max(0)
        return masks.mean((1, 2)).clamp_min(0.05).log() - sure.to(masks.dtype)


def masks_of(case: Case, use: ReferenceMask, scale: MaskScale) -> Attribution:
    """(n, h, w) the masks in [0, 1] that are measured."""
    maps = case.attributions
    match use:
        case "map":
            return read(maps, scale)
        case "zeros" | "halves" | "ones":
            return torch.full_like(maps, {"zeros": 0.0, "halves": 0.5, "ones": 1.0}[use])
        case "region":
            return cast(Regions, case.require("regions", 'use="region"')).to(maps.dtype)
