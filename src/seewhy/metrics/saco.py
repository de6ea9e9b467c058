"""SaCo, the salience-guided faithfulness coefficient (Wu et al., 2024): groups of pixels in pairs."""

from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from seewhy.metrics.case import Case
from seewhy.metrics.correlation import leveled
from seewhy.metrics.curves import OverPlayers, by_player_count, divide_case, ranked, target_scores
from seewhy.metrics.options import PlayersOption, TiesOption
from seewhy.options import AtLeast, Doc
from seewhy.types import Scores


class SaCo(
    OverPlayers, name="saco", better="higher", range=(-1.0, 1.0), reads="raw", explains="predicted", paper="wu2024saco"
):
    r"""SaCo: of every two groups of pixels, does the one with more attribution matter more?

    $$\mathrm{SaCo} = \frac{\sum_{i < j} \sigma_{ij}\, (s_i - s_j)}{\sum_{i < j} |s_i - s_j|}, \qquad
    \sigma_{ij} = \begin{cases} 1 & \Delta_i \ge \Delta_j \\ -1 & \text{otherwise} \end{cases}, \qquad
    \Delta_i = v(N) - v(N \setminus G_i),$$

    where $G_1, \dots, G_K$ are the pixels in the order of the map, cut into $K$ groups of equal size, $s_i$ is the mean
    attribution of group $i$, and each group is removed alone from the whole image.

    Rewards: maps whose differences say which group matters more. A pair counts by its difference in attribution, so a
    wrong claim costs as much as was claimed.

    Fooled by: scattered groups. Pixels of one value from all over the image are removed together, and a network may answer
    to the grain. It needs no surrogate, but a surrogate makes it honest as it does other metrics.

    Defined: 0 for a map of equal values, which claims nothing. Equal pixels are in random order. Two effects that differ by
    less than rounding are equal, and count as right, as in the paper.

    Deviations: only the rule for pairs was compared with algorithm 1 of the paper. The baseline was not compared with the
    authors' code. The mean of each image is taken to be the paper's baseline; "mean_color" is the mean of the training data.

    Args:
        groups: K.
        baseline: what stands for removed.

    Source: Wu et al. (2024), algorithm 1. The paper sums the attribution of a group; its groups are of equal size, so that
    the mean gives the same number.
    """

    players: PlayersOption = "pixels"
    groups: Annotated[int, AtLeast(2), Doc("How many groups of equal size.")] = 10
    ties: TiesOption = "random"

    def score(self, case: Case) -> Scores:
        return by_player_count(case, self.players, self.size, self._score)

    def _score(self, case: Case) -> Scores:
        players = divide_case(case, self.players, self.size)
        worth = players.means(case.attributions)
        count = min(self.groups, players.p)
        group = ranked(worth, self.ties, case.seeds).argsort(1) * count // players.p
        members = group[:, None] == torch.arange(count, device=group.device)[:, None]
        mean = (worth[:, None] * members).sum(2) / members.sum(2)
        game = case.value_function(self.baseline, self.removal)(case.images, players)
        rows = torch.arange(len(worth), device=group.device).repeat_interleave(count + 1)
        kept = torch.cat([~members, torch.ones_like(members[:, :1])], 1).flatten(0, 1)
        parts = zip(rows.split(case.batch_size), kept.split(case.batch_size), strict=True)
        values = target_scores(case, torch.cat([game(r, s) for r, s in parts]).unflatten(0, (-1, count + 1)), self.value)
        return agreement_of_pairs(leveled(mean), leveled(values[:, -1:] - values[:, :-1])).to(worth)


def agreement_of_pairs(claimed: Float[Tensor, "n k"], effect: Float[Tensor, "n k"]) -> Scores:
    """SaCo of groups in the order of the map: what they claim, and what their absence costs; 0 where nothing is claimed."""
    i, j = torch.triu_indices(claimed.shape[1], claimed.shape[1], 1).to(claimed.device)
    weight = claimed[:, i] - claimed[:, j]
    right = torch.where(effect[:, i] >= effect[:, j], 1, -1)
    total = weight.abs().sum(1)
    return (weight * right).sum(1) / torch.where(total > 0, total, 1)
