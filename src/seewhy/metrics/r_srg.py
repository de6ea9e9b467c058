"""R-LIF, R-MIF and R-SRG: players drawn with the map as weights, so that relative size counts (Salvage, algorithm 2)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from seewhy.masking.baselines import Baseline
from seewhy.masking.players import Division
from seewhy.metrics.base import METRICS, Family, Need
from seewhy.metrics.case import Case
from seewhy.metrics.curves import Score, alike, divide_case, read_out, sizes
from seewhy.types import Scores


def draw(weights: Float[Tensor, "p"], size: int, n_draws: int, generator: torch.Generator) -> Bool[Tensor, "m p"]:
    """``n_draws`` sets of ``size`` players, drawn one after another without replacement in proportion to ``weights``.

    By the Gumbel trick (Efraimidis and Spirakis, 2006): the largest of log w - log(-log u). Players of weight 0 come when
    no others are left, in random order.
    """
    uniform = torch.rand(n_draws, len(weights), generator=generator, dtype=torch.float64).clamp_min(1e-300)
    logs = weights.cpu().double().log().clamp_min(-1e6)  # far below any weight
    chosen = (logs - (-uniform.log()).log()).topk(size, dim=1).indices
    return torch.zeros(n_draws, len(weights), dtype=torch.bool).scatter_(1, chosen, True).to(weights.device)


def mean_drawn(
    case: Case, best: bool, division: Division, size: int, steps: int, n_draws: int, baseline: Baseline, value: Score
) -> Scores:
    """Mean of v over sizes and draws; weights are the min-max scores of the players, or 1 minus these."""

    def mean(part: Case) -> Scores:
        players = divide_case(part, division, size)
        worth = players.means(part.attributions)
        low, high = worth.amin(1, keepdim=True), worth.amax(1, keepdim=True)
        norm = torch.where(high > low, (worth - low) / torch.where(high > low, high - low, 1), 0)
        weights = norm if best else 1 - norm
        game = part.value_function(baseline)(part.images, players)
        generators = [torch.Generator().manual_seed(2 * seed + best) for seed in part.seeds]
        rows = torch.arange(len(worth), device=worth.device).repeat_interleave(n_draws)
        means = []
        for k in sizes(players.p, steps) if steps else range(players.p + 1):
            if k:
                kept = torch.cat([draw(w, k, n_draws, g) for w, g in zip(weights, generators, strict=True)])
                pairs = zip(rows.split(part.batch_size), kept.split(part.batch_size), strict=True)
                logits = torch.cat([game(r, s) for r, s in pairs])
                means.append(read_out(part, logits.unflatten(0, (-1, n_draws)), value).mean(1))
        return torch.stack(means, 1).mean(1)

    key = ("drawn", best, division, size, steps, n_draws, baseline, value)
    return case.share(key, lambda: alike(case, division, size, mean))


@METRICS.register("r_lif")
@dataclass(frozen=True)
class RLIF:
    r"""R-LIF: the mean value of sets that are drawn with the map as weights.

    $$\mathrm{R\text{-}LIF} = \frac{1}{p} \sum_{i=1}^{p} \mathbb{E}\, v(S_i),$$

    $S_i$ being $i$ players drawn without replacement in proportion to the min-max scores of the players.

    Rewards: maps whose numbers, not only their order, say how much a player matters.

    Fooled by: any stretching of the map: a power of it scores differently, though the order is the same.

    Defined: a constant map draws uniformly. Players of weight 0 are drawn last, in random order.

    Args:
        players: patches, pixels or superpixels.
        size: side of a patch, or number of superpixels.
        steps: how many of the sizes 1 to p are evaluated; 0 is each.
        n_draws: sets for each size. With 196 patches each figure takes 25,088 forward passes an image; fewer draws and
            steps give the same mean with more noise.
        baseline: what stands for removed, unless the case has a value function of its own.
        value: probability or logit.

    Source: Salvage, algorithm 2.
    """

    family: ClassVar[Family] = "ordering"
    higher_is_better: ClassVar[bool | None] = True
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ()
    reads: ClassVar[str] = "min_max"
    target: ClassVar[Literal["label", "predicted", "any"]] = "label"
    paper: ClassVar[str] = "salvage2025"

    players: Division = "patches"
    size: int = 16
    steps: int = 0
    n_draws: int = 128
    baseline: Baseline = "mean_color"
    value: Score = "probability"

    def score(self, case: Case) -> Scores:
        return mean_drawn(case, True, self.players, self.size, self.steps, self.n_draws, self.baseline, self.value)


@METRICS.register("r_mif")
@dataclass(frozen=True)
class RMIF:
    r"""R-MIF: the mean value of sets that are drawn with 1 minus the map as weights.

    $$\mathrm{R\text{-}MIF} = \frac{1}{p} \sum_{i=1}^{p} \mathbb{E}\, v(S_i),$$

    $S_i$ being $i$ players drawn without replacement in proportion to 1 minus the min-max scores.

    Rewards: maps that leave nothing telling among what they call unimportant.

    Fooled by: as `r_lif`.

    Defined: as `r_lif`.

    Args:
        players: patches, pixels or superpixels.
        size: side of a patch, or number of superpixels.
        steps: how many of the sizes 1 to p are evaluated; 0 is each.
        n_draws: sets for each size.
        baseline: what stands for removed, unless the case has a value function of its own.
        value: probability or logit.

    Source: Salvage, algorithm 2.
    """

    family: ClassVar[Family] = "ordering"
    higher_is_better: ClassVar[bool | None] = False
    range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ()
    reads: ClassVar[str] = "min_max"
    target: ClassVar[Literal["label", "predicted", "any"]] = "label"
    paper: ClassVar[str] = "salvage2025"

    players: Division = "patches"
    size: int = 16
    steps: int = 0
    n_draws: int = 128
    baseline: Baseline = "mean_color"
    value: Score = "probability"

    def score(self, case: Case) -> Scores:
        return mean_drawn(case, False, self.players, self.size, self.steps, self.n_draws, self.baseline, self.value)


@METRICS.register("r_srg")
@dataclass(frozen=True)
class RSRG:
    r"""R-SRG: what drawing by the map gains over drawing against it.

    $$\mathrm{R\text{-}SRG} = \mathrm{R\text{-}LIF} - \mathrm{R\text{-}MIF}$$

    Rewards: maps whose relative sizes are right; see `r_lif`.

    Fooled by: a stretched map, as `r_lif`; a baseline cancels as in `srg`.

    Defined: 0 in the mean for a constant map.

    Args:
        players: patches, pixels or superpixels.
        size: side of a patch, or number of superpixels.
        steps: how many of the sizes 1 to p are evaluated; 0 is each.
        n_draws: sets for each size.
        baseline: what stands for removed, unless the case has a value function of its own.
        value: probability or logit.

    Source: Salvage, eq. 8.
    """

    family: ClassVar[Family] = "ordering"
    higher_is_better: ClassVar[bool | None] = True
    range: ClassVar[tuple[float, float]] = (-1.0, 1.0)
    needs: ClassVar[tuple[Need, ...]] = ()
    reads: ClassVar[str] = "min_max"
    target: ClassVar[Literal["label", "predicted", "any"]] = "label"
    paper: ClassVar[str] = "salvage2025"

    players: Division = "patches"
    size: int = 16
    steps: int = 0
    n_draws: int = 128
    baseline: Baseline = "mean_color"
    value: Score = "probability"

    def score(self, case: Case) -> Scores:
        options = (self.players, self.size, self.steps, self.n_draws, self.baseline, self.value)
        lif, mif = (mean_drawn(case, best, *options) for best in (True, False))
        return lif - mif
