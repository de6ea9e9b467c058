"""R-LIF, R-MIF and R-SRG: players drawn with the map as weights, so that relative size counts (Salvage, algorithm 2)."""

from collections.abc import Sequence
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from seewhy.masking.coalitions import drawing_keys
from seewhy.metrics.case import Case
from seewhy.metrics.curves import EVEN, OverPlayers, by_player_count, divide_case, resampled, sizes_from_one, target_scores
from seewhy.metrics.options import SizesOption
from seewhy.options import AtLeast, Doc
from seewhy.types import Scores


class DrawnSets(OverPlayers, range=(0.0, 1.0), reads="min_max", explains="label", paper="salvage2025"):
    """Base of metrics over sets of players that are drawn: their common options."""

    steps: SizesOption = 0
    n_draws: Annotated[int, AtLeast(1), Doc("Sets for each size.")] = 128

    def of_drawn(self, case: Case, best: bool) -> Float[Tensor, "n m"]:
        """Mean of v over sizes and draws, and then its curve over the sizes, each a mean over draws.

        The weights are the min-max scores of the players, or 1 minus these scores.
        """

        def mean(part: Case) -> Float[Tensor, "n m"]:
            players = divide_case(part, self.players, self.size)
            worth = players.means(part.attributions)
            low, high = worth.amin(1, keepdim=True), worth.amax(1, keepdim=True)
            norm = torch.where(high > low, (worth - low) / torch.where(high > low, high - low, 1), 0)
            weights = norm if best else 1 - norm
            game = part.value_function(self.baseline, self.removal)(part.images, players)
            generators = [torch.Generator().manual_seed(2 * seed + best) for seed in part.seeds]
            rows = torch.arange(len(worth), device=worth.device).repeat_interleave(self.n_draws)
            means = []
            ks = sizes_from_one(players.p, self.steps)
            for k in ks:
                kept = torch.cat([draw_players(w, k, self.n_draws, g) for w, g in zip(weights, generators, strict=True)])
                pairs = zip(rows.split(part.batch_size), kept.split(part.batch_size), strict=True)
                logits = torch.cat([game(r, s) for r, s in pairs])
                means.append(target_scores(part, logits.unflatten(0, (-1, self.n_draws)), self.value).mean(1))
            values = torch.stack(means, 1)
            return torch.cat([values.mean(1, keepdim=True), resampled(ks, values).to(values)], 1)

        return case.share(self, lambda: by_player_count(case, self.players, self.size, mean))


class RLIF(DrawnSets, name="r_lif", better="higher", axes=("share of players left, drawn by the map", "probability")):
    r"""R-LIF: the mean value of sets that are drawn with the map as weights.

    $$\mathrm{R\text{-}LIF} = \frac{1}{p} \sum_{i=1}^{p} \mathbb{E}\, v(S_i),$$

    $S_i$ being $i$ players drawn without replacement in proportion to the min-max scores of the players.

    Rewards: maps whose numbers, not only their order, say how much a player matters.

    Fooled by: any stretching of the map: a power of it scores differently, though the order is the same.

    Defined: a constant map draws uniformly. Players of weight 0 are drawn last, in random order.

    Args:
        n_draws: sets for each size. With 196 patches each figure takes 25,088 forward passes an image; fewer draws and
            steps give the same mean with more noise.

    Source: Salvage, algorithm 2.
    """

    def score(self, case: Case) -> Scores:
        return self.of_drawn(case, best=True)[:, 0]

    def curve(self, case: Case) -> tuple[Sequence[float], Float[Tensor, "n m"]]:
        return EVEN, self.of_drawn(case, best=True)[:, 1:]


class RMIF(DrawnSets, name="r_mif", better="lower", axes=("share of players left, drawn against the map", "probability")):
    r"""R-MIF: the mean value of sets that are drawn with 1 minus the map as weights.

    $$\mathrm{R\text{-}MIF} = \frac{1}{p} \sum_{i=1}^{p} \mathbb{E}\, v(S_i),$$

    $S_i$ being $i$ players drawn without replacement in proportion to 1 minus the min-max scores.

    Rewards: maps that leave nothing telling among what they call unimportant.

    Fooled by: as `r_lif`.

    Defined: as `r_lif`.

    Source: Salvage, algorithm 2.
    """

    def score(self, case: Case) -> Scores:
        return self.of_drawn(case, best=False)[:, 0]

    def curve(self, case: Case) -> tuple[Sequence[float], Float[Tensor, "n m"]]:
        return EVEN, self.of_drawn(case, best=False)[:, 1:]


class RSRG(
    DrawnSets,
    name="r_srg",
    better="higher",
    range=(-1.0, 1.0),
    axes=("share of players left", "gain in probability of drawing by the map"),
):
    r"""R-SRG: what drawing by the map gains over drawing against it.

    $$\mathrm{R\text{-}SRG} = \mathrm{R\text{-}LIF} - \mathrm{R\text{-}MIF}$$

    Rewards: maps whose relative sizes are right; see `r_lif`.

    Fooled by: a stretched map, as `r_lif`; a baseline cancels as in `srg`.

    Defined: 0 in the mean for a constant map.

    Source: Salvage, eq. 8.
    """

    def score(self, case: Case) -> Scores:
        lif, mif = RLIF(**vars(self)), RMIF(**vars(self))
        return lif.score(case) - mif.score(case)

    def curve(self, case: Case) -> tuple[Sequence[float], Float[Tensor, "n m"]]:
        lif, mif = RLIF(**vars(self)), RMIF(**vars(self))
        return EVEN, lif.curve(case)[1] - mif.curve(case)[1]


def draw_players(weights: Float[Tensor, "p"], size: int, n_draws: int, generator: torch.Generator) -> Bool[Tensor, "m p"]:
    """``n_draws`` sets of ``size`` players, drawn one after another without replacement in proportion to ``weights``.

    Players of weight 0 come when no others are left, in random order.
    """
    logs = weights.cpu().double().log().clamp_min(-1e6)  # far below any weight
    chosen = drawing_keys(logs.expand(n_draws, -1), generator).topk(size, dim=1).indices
    return torch.zeros(n_draws, len(weights), dtype=torch.bool).scatter_(1, chosen, True).to(weights.device)
