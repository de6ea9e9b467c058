"""IDSDS, the in-domain single-deletion score (Hesse et al., 2024): does the map rank patches as their absence does?"""

from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.explainers.options import RemovalOption
from seewhy.maps import read
from seewhy.masking.tokens import must_remove
from seewhy.metrics.base import Measure
from seewhy.metrics.case import Case
from seewhy.metrics.correlation import rank_correlation_of_rows
from seewhy.metrics.curves import by_player_count, divide_case, smallest_side, target_scores
from seewhy.metrics.options import GameBaselineOption, PlayersOption, ReadsOption, ValueOption
from seewhy.options import AtLeast, Doc
from seewhy.types import Scores

GRID = 4
"""Patches along the shorter side, in the paper."""


class SingleDeletion(
    Measure,
    name="single_deletion",
    family="ordering",
    better="higher",
    range=(-1.0, 1.0),
    explains="label",
    paper="hesse2024benchmarking",
):
    r"""Single deletion: does the map rank the patches as their absence, one at a time, ranks them?

    $$\mathrm{SD} = \rho_{\text{rank}}\Big( \sum_{i \in P_j} a_i,\ v(N) - v(N \setminus P_j) \Big)_{j = 1, \dots, 16},$$

    Spearman's correlation over the patches $P_j$ of a grid of 4 x 4, each removed alone from the whole image.

    Rewards: maps whose sums over patches have the order of the effects. The sign counts: a patch that speaks against the
    class comes last.

    Fooled by: patches that matter only together. If two patches say the same, neither matters alone. A network that has
    never seen a gap may answer to the gap: give a surrogate, which was trained with gaps, as the paper does.

    Defined: 0 where all sums or all effects are equal, as for a constant map. Equal values share the mean of their ranks;
    effects that differ by less than rounding are equal.

    Args:
        size: side of a patch. 0 makes 4 patches along the shorter side, each of whole patches of the network where tokens
            are removed, and of whole players of the surrogate.
        baseline: what stands for removed; the paper fine-tunes with zeros of the normalized image, which is "mean_color".
        value: the logit, as in the paper's code, or the probability.

    Source: Hesse et al. (2024), section 3. Its score is that of a network that was fine-tuned with deleted patches, and is
    comparable between networks. A surrogate is such a network: `seewhy evaluate --surrogate`.
    """

    players: PlayersOption = "patches"
    size: Annotated[int, AtLeast(0), Doc("Side of a patch, or number of superpixels; 0 makes 4 patches a side.")] = 0
    baseline: GameBaselineOption = "mean_color"
    value: ValueOption = "logit"
    reads: ReadsOption = "raw"
    removal: RemovalOption = "pixels"

    def suits(self, classifier: Classifier) -> None:
        """SeewhyError where the players cannot be removed from the classifier in this way."""
        must_remove(classifier, self.removal, self.players, self.size or None)

    def score(self, case: Case) -> Scores:
        size = self.size or self._quarter(case)
        return by_player_count(case, self.players, size, lambda part: self._score(part, size))

    def _quarter(self, case: Case) -> int:
        """The side of about a quarter of the image that is a multiple of the smallest removable side."""
        if self.players == "superpixels":
            return GRID**2
        least = smallest_side(case, self.removal)
        return least * -(-min(case.images.shape[-2:]) // (GRID * least))

    def _score(self, case: Case, size: int) -> Scores:
        players = divide_case(case, self.players, size)
        sums = players.sums(read(case.attributions, self.reads))
        return rank_correlation_of_rows(sums, self._effects(case, size)).to(sums)

    def _effects(self, case: Case, size: int) -> Float[Tensor, "n p"]:
        """How much the score falls when each player is removed alone."""
        players = divide_case(case, self.players, size)
        game = case.value_function(self.baseline, self.removal)(case.images, players)
        n, p = len(case.images), players.p
        kept = torch.cat([~torch.eye(p, dtype=torch.bool), torch.ones(1, p, dtype=torch.bool)]).to(case.images.device)
        rows = torch.arange(n, device=kept.device).repeat_interleave(p + 1)
        parts = zip(rows.split(case.batch_size), kept.repeat(n, 1).split(case.batch_size), strict=True)
        logits = torch.cat([game(r, s) for r, s in parts]).unflatten(0, (n, p + 1))
        values = target_scores(case, logits, self.value)
        return values[:, -1:] - values[:, :-1]
