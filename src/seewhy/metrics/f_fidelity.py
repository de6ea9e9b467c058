"""F-Fidelity (Zheng et al., 2025): a random part of the best players goes, so that no image is out of distribution."""

from dataclasses import replace
from typing import Annotated, Literal

import torch
from jaxtyping import Bool
from torch import Tensor

from seewhy.metrics.case import Case
from seewhy.metrics.curves import OverPlayers, by_player_count, divide_case, ranked, target_scores
from seewhy.metrics.options import TiesOption
from seewhy.options import Above, AtLeast, AtMost, Below, Doc
from seewhy.types import Scores

FidelityFigure = Literal["difference", "plus", "minus"]
TENTHS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


class FFidelity(
    OverPlayers, name="f_fidelity", better="higher", range=(-2.0, 2.0), explains="label", paper="zheng2025ffidelity"
):
    r"""F-Fidelity: what a few of the best players cost, and what as few of the others cost.

    $$\mathrm{FFid}^+ = \operatorname{mean}_s \mathbb{E}\,\big[ v(N) - v(N \setminus R^+_s) \big], \qquad
    \mathrm{FFid}^- = \operatorname{mean}_s \mathbb{E}\,\big[ v(N) - v(N \setminus R^-_s) \big],$$

    where the explanation of size $s$ is the best $k = s p$ of $p$ players, $R^+_s$ is a random set of
    $\min(\alpha k, \beta p)$ of them, and $R^-_s$ a random set of $\min(\alpha (p - k), \beta p)$ of the others. The default
    figure is $\mathrm{FFid}^+ - \mathrm{FFid}^-$.

    Rewards: maps whose best players matter whichever few of them go, while the others do not matter.

    Fooled by: networks that answer from what is left. No more than the share $\beta$ is ever removed, so an effect that
    needs more is not seen. Without a surrogate the network has not seen such gaps, and the score is no better than others.

    Defined: 0 in the mean for a map of equal values, whose order is random. At least one player is removed, and the
    explanation has at least one player and lacks at least one. The draws depend on the image and the seed alone.

    Deviations: only the abstract of the paper was at hand. The formula, $\alpha$, $\beta$ and the cap $\beta p$ follow the
    abstract. Neither they nor the defaults were compared with the equations of the paper or with the authors' code, so
    scores may differ from published ones.

    Args:
        figure: "plus" is better when it is high, "minus" when it is low, their "difference" when it is high.
        alpha: the share of the best players, or of the others, that is removed.
        beta: the largest share of all players that is removed: the surrogate must have seen so many gaps.
        shares: the sizes s of the explanation.

    Source: Zheng et al. (2025), abstract. The value function of the paper is a network that was fine-tuned on randomly
    masked images, here a surrogate: `seewhy evaluate --surrogate`.
    """

    figure: Annotated[FidelityFigure, Doc('"difference", "plus" (best players go) or "minus" (others go).')] = "difference"
    alpha: Annotated[float, Above(0), AtMost(1), Doc("The share of the best, or of the others, that is removed.")] = 0.5
    beta: Annotated[float, Above(0), AtMost(1), Doc("The largest share of all players that is removed.")] = 0.1
    shares: Annotated[
        tuple[Annotated[float, AtLeast(0), Below(1)], ...], Doc("The sizes of the explanation, as shares of the players.")
    ] = TENTHS
    n_draws: Annotated[int, AtLeast(1), Doc("Sets for each size.")] = 16
    ties: TiesOption = "random"

    def score(self, case: Case) -> Scores:
        return by_player_count(case, self.players, self.size, self._score)

    def _score(self, case: Case) -> Scores:
        plus, minus = case.share(replace(self, figure="difference"), lambda: self._falls(case))  # for all figures
        return {"plus": plus, "minus": minus, "difference": plus - minus}[self.figure]

    def _falls(self, case: Case) -> tuple[Scores, Scores]:
        """FFid+ and FFid-."""
        players = divide_case(case, self.players, self.size)
        n, p = len(case.images), players.p
        game = case.value_function(self.baseline, self.removal)(case.images, players)
        rank = ranked(players.means(case.attributions), self.ties, case.seeds).argsort(1)
        generators = [torch.Generator().manual_seed(seed) for seed in case.seeds]

        def value(kept: Bool[Tensor, "n m p"]) -> Scores:
            m = kept.shape[1]
            rows = torch.arange(n, device=kept.device).repeat_interleave(m)
            parts = zip(rows.split(case.batch_size), kept.flatten(0, 1).split(case.batch_size), strict=True)
            logits = torch.cat([game(r, s) for r, s in parts]).unflatten(0, (n, m))
            return target_scores(case, logits, self.value).mean(1)

        most = max(1, int(self.beta * p))
        plus: list[Scores] = []
        minus: list[Scores] = []
        for share in self.shares:
            k = min(max(1, round(share * p)), p - 1)
            best = rank < k
            gone = min(max(1, round(self.alpha * k)), most), min(max(1, round(self.alpha * (p - k))), most)
            for found, group, count in ((plus, best, gone[0]), (minus, ~best, gone[1])):
                kept = torch.stack([~some_of(g, count, self.n_draws, x) for g, x in zip(group, generators, strict=True)])
                found.append(value(kept))
        whole = value(torch.ones(n, 1, p, dtype=torch.bool, device=case.images.device))
        return whole - torch.stack(plus, 1).mean(1), whole - torch.stack(minus, 1).mean(1)


def some_of(group: Bool[Tensor, "p"], count: int, n_draws: int, generator: torch.Generator) -> Bool[Tensor, "m p"]:
    """``n_draws`` uniform sets of ``count`` members of ``group``, which has at least as many."""
    members = group.cpu().nonzero()[:, 0]
    chance = torch.rand(n_draws, len(members), generator=generator, dtype=torch.float32)
    chosen = members[chance.topk(min(count, len(members)), dim=1).indices]
    return torch.zeros(n_draws, len(group), dtype=torch.bool).scatter_(1, chosen, True).to(group.device)
