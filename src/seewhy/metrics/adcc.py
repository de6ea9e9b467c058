"""ADCC (Poppi et al., 2021) and its three parts."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from seewhy.maps import min_max
from seewhy.masking.baselines import Baseline, baseline_images
from seewhy.metrics.base import METRICS, Family, Need
from seewhy.metrics.case import Case
from seewhy.metrics.confidence import AverageDrop, masked_logits
from seewhy.metrics.correlation import correlation
from seewhy.types import Scores


@METRICS.register("adcc_coherency")
@dataclass(frozen=True)
class Coherency:
    r"""Coherency: does the map stay when the image is masked by it?

    $$\mathrm{coh} = \tfrac12\,(1 + \rho(S(x),\ S(x \odot m))),$$

    with $\rho$ Pearson's correlation over pixels, $S$ the min-max map and $m = S(x)$.

    Rewards: maps that depend only on what they keep.

    Fooled by: maps that ignore the image, such as `center`: they are perfectly coherent.

    Defined: 0 where either map is constant, which is where the released code gives NaN.

    Args:
        baseline: what stands for removed; the released code multiplies the normalized image, which is "mean_color".

    Source: Poppi et al. (2021), eq. 4.
    """

    family: ClassVar[Family] = "masking"
    higher_is_better: ClassVar[bool | None] = True
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ("explainer",)
    reads: ClassVar[str] = "min_max"
    target: ClassVar[Literal["label", "predicted", "any"]] = "predicted"
    paper: ClassVar[str] = "poppi2021revisiting"

    baseline: Baseline = "mean_color"

    def score(self, case: Case) -> Scores:
        def make() -> Scores:
            m = min_max(case.attributions)
            removed = baseline_images(self.baseline, case.classifier, case.images)
            keep = m[:, None].to(case.images)
            masked = keep * case.images + (1 - keep) * removed
            assert case.explainer is not None  # the door has checked
            again = torch.cat(
                [
                    case.explainer.explain(x, c)
                    for x, c in zip(masked.split(case.batch_size), case.explained.split(case.batch_size), strict=True)
                ]
            )
            rho, defined = correlation(m.flatten(1), min_max(again).flatten(1))
            return torch.where(defined, (1 + rho) / 2, 0).to(m)

        return case.share(("coherency", self.baseline), make)


@METRICS.register("adcc_complexity")
@dataclass(frozen=True)
class MapComplexity:
    r"""Complexity in ADCC: the mean of the min-max map.

    $$\mathrm{com} = \frac{1}{hw} \sum_{ij} S_{ij}$$

    Rewards: small maps.

    Fooled by: a map that is zero almost everywhere, wherever its point is.

    Defined: 0 for a constant map.

    Source: Poppi et al. (2021), eq. 5.
    """

    family: ClassVar[Family] = "masking"
    higher_is_better: ClassVar[bool | None] = False
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ()
    reads: ClassVar[str] = "min_max"
    target: ClassVar[Literal["label", "predicted", "any"]] = "any"
    paper: ClassVar[str] = "poppi2021revisiting"

    def score(self, case: Case) -> Scores:
        return min_max(case.attributions).mean((1, 2))


@METRICS.register("adcc")
@dataclass(frozen=True)
class ADCC:
    r"""ADCC: one number for average drop, coherency and complexity, their harmonic mean.

    $$\mathrm{ADCC} = 3 \left( \frac{1}{\mathrm{coh}} + \frac{1}{1 - \mathrm{com}} + \frac{1}{1 - \mathrm{AD}} \right)^{-1}$$

    Rewards: maps that are small, stay when the image is masked by them, and keep the probability.

    Fooled by: nothing cheap in all three at once, but a harmonic mean hides which part is weak: look at the parts. The
    arrow of Opti-CAM's table 4 points down; higher is better.

    Defined: 0 where a part is at its worst (coherency 0, complexity 1 or drop 1).

    Args:
        baseline: what stands for removed, in coherency and drop; "mean_color" in the released code.
        whole: the probability that the drop is measured from: of the class "scored", or of the "predicted" class, as
            the released code has it even where another class is asked for.

    Source: Poppi et al. (2021), eq. 6.
    """

    family: ClassVar[Family] = "masking"
    higher_is_better: ClassVar[bool | None] = True
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ("explainer",)
    reads: ClassVar[str] = "min_max"
    target: ClassVar[Literal["label", "predicted", "any"]] = "predicted"
    paper: ClassVar[str] = "poppi2021revisiting"

    baseline: Baseline = "mean_color"
    whole: Literal["scored", "predicted"] = "scored"

    def score(self, case: Case) -> Scores:
        drop = AverageDrop(self.baseline).score(case)
        if self.whole == "predicted":
            top = case.classifier.to_probabilities(case.logits).amax(1)
            left = case.probability(masked_logits(case, "map", self.baseline, "min_max", 1.0))
            drop = ((top - left) / top).clamp_min(0)
        parts = [Coherency(self.baseline).score(case), 1 - MapComplexity().score(case), 1 - drop]
        worst = torch.stack(parts).amin(0) <= 0
        return torch.where(worst, 0, 3 / sum(1 / part.clamp_min(torch.finfo(part.dtype).tiny) for part in parts))
