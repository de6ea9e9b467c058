"""ADCC (Poppi et al., 2021) and its three parts."""

from typing import Annotated, Literal

import torch

from seewhy.explainers import Explainer
from seewhy.explainers.base import of_rows
from seewhy.maps import min_max
from seewhy.metrics.base import Measure
from seewhy.metrics.case import Case
from seewhy.metrics.confidence import AverageDrop, logits_under_map
from seewhy.metrics.correlation import correlation
from seewhy.metrics.options import BaselineOption
from seewhy.options import Doc
from seewhy.types import Scores


class OfPoppi(Measure, family="masking", range=(0.0, 1.0), reads="min_max", paper="poppi2021revisiting"):
    """Base of ADCC and its parts: their common head."""


class Coherency(OfPoppi, name="adcc_coherency", better="higher", needs=("explainer",), explains="predicted"):
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

    baseline: BaselineOption = "mean_color"

    def score(self, case: Case) -> Scores:
        def make() -> Scores:
            explainer: Explainer = case.require("explainer")
            m = min_max(case.attributions)
            images, classes = case.faded(m, self.baseline), case.explained
            batches = torch.arange(len(images), device=images.device).split(case.batch_size)
            again = torch.cat([of_rows(explainer, i, len(images)).explain(images[i], classes[i]) for i in batches])
            rho, defined = correlation(m.flatten(1), min_max(again).flatten(1))
            return torch.where(defined, (1 + rho) / 2, 0).to(m)

        return case.share(self, make)


class MapComplexity(OfPoppi, name="adcc_complexity", better="lower", explains="any"):
    r"""Complexity in ADCC: the mean of the min-max map.

    $$\mathrm{com} = \frac{1}{hw} \sum_{ij} S_{ij}$$

    Rewards: small maps.

    Fooled by: a map that is zero almost everywhere, wherever its point is.

    Defined: 0 for a constant map.

    Source: Poppi et al. (2021), eq. 5.
    """

    def score(self, case: Case) -> Scores:
        return min_max(case.attributions).mean((1, 2))


class ADCC(OfPoppi, name="adcc", better="higher", needs=("explainer",), explains="predicted"):
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

    baseline: BaselineOption = "mean_color"
    whole: Annotated[Literal["scored", "predicted"], Doc("The class whose probability the drop is measured from.")] = (
        "scored"
    )

    def score(self, case: Case) -> Scores:
        coherency = Coherency(baseline=self.baseline).score(case)
        complexity = MapComplexity().score(case)
        parts = [coherency, 1 - complexity, 1 - self._drop(case)]
        worst = torch.stack(parts).amin(0) <= 0
        return torch.where(worst, 0, 3 / sum(1 / part.clamp_min(torch.finfo(part.dtype).tiny) for part in parts))

    def _drop(self, case: Case) -> Scores:
        if self.whole == "scored":
            return AverageDrop(baseline=self.baseline).score(case)
        p = case.classifier.to_probabilities(case.logits).amax(1)
        o = case.probability(logits_under_map(case, self.baseline))
        return ((p - o) / p).clamp_min(0)
