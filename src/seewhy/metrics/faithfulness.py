"""Faithfulness as a correlation between attribution and the fall of the score."""

from collections.abc import Iterable, Iterator
from typing import Annotated

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.explainers.options import RemovalOption
from seewhy.maps import read
from seewhy.masking.baselines import Baseline
from seewhy.masking.players import Players
from seewhy.masking.tokens import Removal, must_remove
from seewhy.metrics.base import Measure
from seewhy.metrics.case import Case
from seewhy.metrics.correlation import correlation
from seewhy.metrics.curves import by_player_count, divide_case, ranked, target_scores
from seewhy.metrics.options import GameBaselineOption, PlayersOption, ReadsOption, Score, SizeOption, TiesOption, ValueOption
from seewhy.options import AtLeast, Doc
from seewhy.types import Scores

GROUPS = 56
"""Groups of pixels in NEMt: 896 pixels each of 224 x 224."""


class FaithfulnessEstimate(
    Measure,
    name="faithfulness_estimate",
    family="ordering",
    better="higher",
    range=(-1.0, 1.0),
    explains="label",
    paper="alvarezmelis2018robust",
):
    r"""Faithfulness estimate: do groups of pixels matter as much as the map says?

    $$\mathrm{FE} = \rho\Big( \sum_{i \in G_j} a_i,\ f_c(x) - f_c(x \setminus G_j) \Big)_{j},$$

    Pearson's correlation over groups $G_j$ of neighbors in the order of the map, each removed alone. The members are
    players, which are pixels in the paper.

    Rewards: maps whose sums are proportional to the fall of the logit.

    Fooled by: groups that hold pixels of one value from all over the image: removing such a group is mostly noise.

    Defined: 0 where the sums or the falls are all equal, as for a constant map. Equal values are in random order.

    Args:
        features: players in a group; 0 makes 56 groups of any image, which are 896 pixels of 224 x 224, as in NEMt.
        baseline: what stands for removed; "darkest" is Quantus' black. A value function of the case's own takes its place.
        value: logit, as in NEMt, or probability.

    Source: Alvarez-Melis and Jaakkola (2018); settings of NEMt, section 4.3, with whole pixels in all colors. Quantus 0.6
    ranks color channels one by one instead, and gives other numbers.
    """

    features: Annotated[int, AtLeast(0), Doc("Players in a group.")] = 0
    baseline: GameBaselineOption = "darkest"
    value: ValueOption = "logit"
    reads: ReadsOption = "min_max"
    ties: TiesOption = "random"
    players: PlayersOption = "pixels"
    size: SizeOption = 16
    removal: RemovalOption = "pixels"

    def suits(self, classifier: Classifier) -> None:
        """SeewhyError where the players cannot be removed from the classifier in this way."""
        must_remove(classifier, self.removal, self.players, self.size)

    def score(self, case: Case) -> Scores:
        return by_player_count(case, self.players, self.size, self._score)

    def _score(self, case: Case) -> Scores:
        players = divide_case(case, self.players, self.size)
        worth = players.sums(read(case.attributions, self.reads))
        features = self.features or max(1, round(worth.shape[1] / GROUPS))
        group = ranked(worth, self.ties, case.seeds).argsort(1) // features
        groups = torch.arange(-(-worth.shape[1] // features), device=group.device)[:, None]
        sums = torch.zeros(len(worth), len(groups), dtype=worth.dtype, device=worth.device).scatter_add_(1, group, worth)
        falls = _falls(case, players, (one == groups for one in group), self.baseline, self.value, self.removal)
        return correlation(sums, falls)[0].to(worth)


class FaithfulnessCorrelation(
    Measure,
    name="faithfulness_correlation",
    family="ordering",
    better="higher",
    range=(-1.0, 1.0),
    explains="predicted",
    paper="bhatt2020evaluating",
):
    r"""Faithfulness correlation: do random sets of pixels matter as much as the map says?

    $$\mathrm{FC} = \rho_S\Big( \sum_{i \in S} a_i,\ f_c(x) - f_c(x \setminus S) \Big),$$

    Pearson's correlation over random sets $S$ of ``subset_size`` players, which are pixels in the paper.

    Rewards: maps whose numbers add up to effects.

    Fooled by: chance. A random set of few pixels hardly changes the score, so that the correlation is mostly noise around
    0; compare means over many images.

    Defined: 0 where the sums or the falls are all equal. The sets depend on the image and the seed alone.

    Source: Bhatt et al. (2020), eq. 1; 224 pixels and 100 sets are the defaults of Quantus.
    """

    subset_size: Annotated[int, AtLeast(1), Doc("Players in a set.")] = 224
    runs: Annotated[int, AtLeast(1), Doc("Number of sets.")] = 100
    baseline: GameBaselineOption = "darkest"
    value: ValueOption = "probability"
    reads: ReadsOption = "raw"
    players: PlayersOption = "pixels"
    size: SizeOption = 16
    removal: RemovalOption = "pixels"

    def suits(self, classifier: Classifier) -> None:
        """SeewhyError where the players cannot be removed from the classifier in this way."""
        must_remove(classifier, self.removal, self.players, self.size)

    def score(self, case: Case) -> Scores:
        return by_player_count(case, self.players, self.size, self._score)

    def _score(self, case: Case) -> Scores:
        players = divide_case(case, self.players, self.size)
        worth = players.sums(read(case.attributions, self.reads))
        sums = torch.stack([w @ s.to(w).T for w, s in zip(worth, self._sets(case, players.p), strict=True)])
        falls = _falls(case, players, self._sets(case, players.p), self.baseline, self.value, self.removal)
        return correlation(sums, falls)[0].to(worth)

    def _sets(self, case: Case, p: int) -> Iterator[Bool[Tensor, "m p"]]:
        """The random sets of each image, from its own seed. Players in the place of pixels have the same share in a set."""
        pixels, count = case.attributions[0].numel(), self.subset_size
        if self.players == "pixels" and p < pixels:
            count = max(1, round(count * p / pixels))
        for seed in case.seeds:
            chance = torch.rand(self.runs, p, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
            chosen = chance.topk(min(count, p), dim=1).indices
            yield torch.zeros_like(chance, dtype=torch.bool).scatter_(1, chosen, True).to(case.images.device)


def _falls(
    case: Case, players: Players, sets: Iterable[Bool[Tensor, "m p"]], baseline: Baseline, value: Score, removal: Removal
) -> Float[Tensor, "n m"]:
    """How much the score falls when each of an image's sets of players is removed from the whole image."""
    game = case.value_function(baseline, removal)(case.images, players)
    answers = []
    for i, gone in enumerate(sets):
        parts = gone.split(case.batch_size)
        row = torch.full((len(gone),), i, device=gone.device)
        answers.append(torch.cat([game(row[: len(part)], ~part) for part in parts]))
    return target_scores(case, case.logits[:, None], value) - target_scores(case, torch.stack(answers), value)
