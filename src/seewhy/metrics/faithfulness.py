"""Faithfulness as a correlation between attribution and the fall of the score."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from seewhy.maps import Reading, read
from seewhy.masking import Baseline
from seewhy.metrics.base import METRICS, Case, Family, Need
from seewhy.metrics.curves import Score, Ties, divide_case, ranked, read_out
from seewhy.metrics.statistics import correlation
from seewhy.types import Scores


def _falls(case: Case, gone: Bool[Tensor, "n m p"], baseline: Baseline, value: Score) -> Float[Tensor, "n m"]:
    """How much the score falls when each set of pixels is removed from the whole image."""
    game = case.value_function(baseline)(case.images, divide_case(case, "pixels", 1))
    n, m, _ = gone.shape
    rows = torch.arange(n, device=gone.device).repeat_interleave(m)
    parts = zip(rows.split(case.batch_size), gone.flatten(0, 1).split(case.batch_size), strict=True)
    logits = torch.cat([game(r, ~g) for r, g in parts]).unflatten(0, (n, m))
    return read_out(case, case.logits[:, None], value) - read_out(case, logits, value)


@METRICS.register("faithfulness_estimate")
@dataclass(frozen=True)
class FaithfulnessEstimate:
    r"""Faithfulness estimate: do groups of pixels matter as much as the map says?

    $$\mathrm{FE} = \rho\Big( \sum_{i \in G_j} a_i,\ f_c(x) - f_c(x \setminus G_j) \Big)_{j},$$

    Pearson's correlation over groups $G_j$ of neighbors in the order of the map, each removed alone.

    Rewards: maps whose sums are proportional to the fall of the logit.

    Fooled by: groups that hold pixels of one value from all over the image: removing such a group is mostly noise.

    Defined: 0 where the sums or the falls are all equal, as for a constant map. Equal values are in random order.

    Args:
        features: pixels in a group; 896 makes 56 groups of an image of 224 x 224, as in NEMt.
        baseline: what stands for removed; "darkest" is Quantus' black.
        value: logit, as in NEMt, or probability.
        reads: how the map is read.
        ties: the order of equal values.

    Source: Alvarez-Melis and Jaakkola (2018); settings of NEMt, section 4.3, with whole pixels in all colors. Quantus 0.6
    ranks color channels one by one instead, and gives other numbers.
    """

    family: ClassVar[Family] = "ordering"
    higher_is_better: ClassVar[bool | None] = True
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ()
    target: ClassVar[Literal["label", "predicted", "any"]] = "label"
    paper: ClassVar[str] = "alvarezmelis2018robust"

    features: int = 896
    baseline: Baseline = "darkest"
    value: Score = "logit"
    reads: Reading = "min_max"
    ties: Ties = "random"

    def score(self, case: Case) -> Scores:
        players = divide_case(case, "pixels", 1)
        worth = players.means(read(case.attributions, self.reads))
        rank = ranked(players, worth, self.ties, case.seed).argsort(1)
        groups = torch.arange(-(-players.p // self.features), device=rank.device)
        gone = (rank // self.features)[:, None] == groups[:, None]
        sums = (gone * worth[:, None]).sum(2)
        return correlation(sums, _falls(case, gone, self.baseline, self.value))[0].to(worth)


@METRICS.register("faithfulness_correlation")
@dataclass(frozen=True)
class FaithfulnessCorrelation:
    r"""Faithfulness correlation: do random sets of pixels matter as much as the map says?

    $$\mathrm{FC} = \rho_S\Big( \sum_{i \in S} a_i,\ f_c(x) - f_c(x \setminus S) \Big),$$

    Pearson's correlation over random sets $S$ of ``subset_size`` pixels.

    Rewards: maps whose numbers add up to effects.

    Fooled by: chance. A random set of few pixels hardly changes the score, so that the correlation is mostly noise around
    0; compare means over many images.

    Defined: 0 where the sums or the falls are all equal. The sets are the same for every image.

    Args:
        subset_size: pixels in a set.
        runs: number of sets.
        baseline: what stands for removed.
        value: probability or logit.
        reads: how the map is read.

    Source: Bhatt et al. (2020), eq. 1; 224 pixels and 100 sets are the defaults of Quantus.
    """

    family: ClassVar[Family] = "ordering"
    higher_is_better: ClassVar[bool | None] = True
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ()
    target: ClassVar[Literal["label", "predicted", "any"]] = "predicted"
    paper: ClassVar[str] = "bhatt2020evaluating"

    subset_size: int = 224
    runs: int = 100
    baseline: Baseline = "darkest"
    value: Score = "probability"
    reads: Reading = "raw"

    def score(self, case: Case) -> Scores:
        maps = read(case.attributions, self.reads).flatten(1)
        generator = torch.Generator().manual_seed(case.seed)
        chance = torch.rand(self.runs, maps.shape[1], generator=generator).to(maps.device)
        chosen = chance.topk(min(self.subset_size, maps.shape[1]), dim=1).indices
        gone = torch.zeros_like(chance, dtype=torch.bool).scatter_(1, chosen, True)
        falls = _falls(case, gone.expand(len(maps), -1, -1), self.baseline, self.value)
        return correlation(maps @ gone.to(maps).T, falls)[0].to(maps)
