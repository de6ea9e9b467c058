"""How simple is the map? Entropy, Gini index, pixels in use, and how far a map has an order at all."""

from math import log
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from seewhy.maps import read
from seewhy.metrics.base import Measure
from seewhy.metrics.case import Case
from seewhy.options import AtLeast, Doc
from seewhy.types import Attribution, Scores


class OfMapAlone(Measure, family="complexity", range=(0, 1), explains="any"):
    """Base of metrics that look at the map alone: their common head."""


class Complexity(
    OfMapAlone, name="complexity", better="lower", range=(0, torch.inf), reads="absolute", paper="bhatt2020evaluating"
):
    r"""Entropy of the shares that the pixels have in the map.

    $$C = -\sum_i q_i \ln q_i, \qquad q_i = \frac{|a_i|}{\sum_j |a_j|}$$

    $e^C$ is the number of pixels of an even map that would be as complex. The highest value is $\ln(hw)$, so maps of
    different sizes do not compare.

    Rewards: attribution on few pixels.

    Fooled by: any sparse map, right or wrong: a single pixel scores 0 wherever it is. Read it beside a metric that asks the
    classifier.

    Defined: $\ln(hw)$, the worst, for a constant map and also for a map of zeros: it is the limit of ever paler even maps
    and singles out no pixel. One pixel scores 0. Signs and scale do not matter.

    Source: Bhatt et al. 2020, definition of complexity (section 3.3).
    """

    def score(self, case: Case) -> Scores:
        a = sizes(case.attributions)
        return torch.special.entr(a / a.sum(1, keepdim=True)).sum(1).clamp(0, log(a.shape[1]))


class Sparseness(OfMapAlone, name="sparseness", better="higher", reads="absolute", paper="chalasani2020concise"):
    r"""Gini index of the map: how unevenly attribution is spread over the pixels.

    $$G = \frac{\sum_{i=1}^{d} (2i - d - 1)\, b_i}{d \sum_{i=1}^{d} b_i}$$

    Here $b_1 \le \dots \le b_d$ are the sorted absolute values of the $d = hw$ pixels.

    Rewards: attribution on few pixels.

    Fooled by: any sparse map, right or wrong: a single pixel scores the highest, $1 - 1/d$. Raising a map to a power
    makes it sparser without any new insight.

    Defined: 0 for a constant map and for a map of zeros. Equal values may be sorted in any order. Signs and scale do not
    matter.

    Source: Chalasani et al. 2020, section 4 (Gini index).
    """

    def score(self, case: Case) -> Scores:
        a = sizes(case.attributions).sort(1).values
        d = a.shape[1]
        weights = torch.arange(1 - d, d, 2, device=a.device).to(a.dtype) / d
        # the weights of i and d + 1 - i cancel: a map and its mirror are paired, so that a constant map gives exactly 0
        return ((a - a.flip(1)) * weights).sum(1) / (2 * a.sum(1))


class EffectiveSize(OfMapAlone, name="effective_size", better="lower", reads="absolute", paper="nguyen2020quantitative"):
    r"""Share of the pixels that the map uses at all.

    $$E = \frac{1}{hw} \left|\left\{ i : |a_i| > \varepsilon \max_j |a_j| \right\}\right|$$

    Rewards: maps that are exactly, or nearly, zero almost everywhere.

    Fooled by: a threshold: any value can be pushed below it. Noise that a viewer cannot see counts as much as the object.

    Defined: 1 for a constant map and also for a map of zeros, which singles out no pixel (as ``complexity`` has it). A
    single pixel scores $1 / hw$. Signs and scale do not matter, since the threshold is relative to the map itself.

    Args:
        threshold: $\varepsilon$. Quantus' EffectiveComplexity counts pixels above 1e-5 of maps that it divides by the
            maximum of the whole batch; here each map has its own maximum.

    Source: Nguyen and Martínez 2020, effective complexity, as simplified in Quantus.
    """

    threshold: Annotated[float, AtLeast(0), Doc("The share of the map's maximum above which a pixel counts.")] = 1e-5

    def score(self, case: Case) -> Scores:
        return (sizes(case.attributions) > self.threshold).to(case.attributions.dtype).mean(1)


class TieShare(OfMapAlone, name="tie_share", better="neither", reads="raw"):
    r"""Share of the pixels whose exact value another pixel of the same map has too.

    $$T = \frac{1}{hw} \left|\left\{ i : a_j = a_i \text{ for some } j \ne i \right\}\right|$$

    A diagnosis, not a merit: where it is high, a map has no order of its pixels, and whatever sorts pixels (deletion,
    insertion, rank accuracy) says as much about its way with ties as about the map. Maps with a ReLU, and maps stored with
    eight bits, are such maps.

    Rewards: nothing; neither high nor low is better.

    Fooled by: noise far below what can be seen, which breaks all ties.

    Defined: 1 for a constant map and for zeros of either sign, 0 if no value occurs twice. No tolerance: values that
    differ in the last bit differ. Depends on the precision of the map for that reason.

    Source: this library; the quantization of maps that it shows is that of Møller et al. 2025.
    """

    def score(self, case: Case) -> Scores:
        a = case.attributions.flatten(1).sort(1).values
        same = a[:, 1:] == a[:, :-1]
        none = same.new_zeros(len(a), 1)
        return (torch.cat([none, same], 1) | torch.cat([same, none], 1)).to(a.dtype).mean(1)


def sizes(attributions: Attribution) -> Float[Tensor, "n d"]:
    """(n, d) |a| in units of its maximum; a map of zeros becomes a map of ones, the even map."""
    a = read(attributions, "absolute").flatten(1)
    highest = a.amax(1, keepdim=True)
    return torch.where(highest > 0, a / torch.where(highest > 0, highest, 1), 1)
