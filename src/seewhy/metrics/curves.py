"""The engine of ordering metrics: the network's answers while players go one after another, each computed once.

An ordering metric ranks the *players* of an image (pixels, patches or superpixels) by their mean attribution, from the best
to the worst. It keeps or removes the best k players, asks for the class's probability, and makes one number of these
probabilities. Such a metric needs four steps, one function each:

    pair = curves(case, players, size, baseline, ties)   # ranks the players; shared by all metrics with these options
    ks = subset_sizes(pair.players.p, steps)             # for which k the network is asked
    logits = pair.kept(ks)                               # or pair.removed(ks)
    values = target_scores(case, logits, value)          # (n, m) probabilities of the class scored

A metric makes one number of them, and ``resampled`` the curve of the report. Images with different numbers of superpixels
have different sizes, and their rows no common length: ``by_player_count`` runs the four steps for those with equally many.
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.explainers.options import RemovalOption
from seewhy.masking.baselines import Baseline
from seewhy.masking.players import Division, Players, divide
from seewhy.masking.tokens import Removal, must_remove, network_patches
from seewhy.masking.values import Game, HasPlayers
from seewhy.metrics.base import Measure
from seewhy.metrics.case import Case
from seewhy.metrics.options import (
    GameBaselineOption,
    PlayersOption,
    Score,
    SizeOption,
    SizesOption,
    Ties,
    TiesOption,
    ValueOption,
)
from seewhy.types import Logits, Scores


class OverPlayers(Measure, family="ordering", reads="order"):
    """Base of metrics over players that are removed or kept: their common options."""

    players: PlayersOption = "patches"
    size: SizeOption = 16
    baseline: GameBaselineOption = "mean_color"
    value: ValueOption = "probability"
    removal: RemovalOption = "pixels"

    def suits(self, classifier: Classifier) -> None:
        """SeewhyError where the players cannot be removed from the classifier in this way."""
        must_remove(classifier, self.removal, self.players, self.size)


@dataclass(eq=False)
class Curves:
    """Logits with the best k players kept, and with the best k removed, for any k. None is computed twice.

    The two curves meet, since "all kept" is "nothing removed". So deletion, insertion, LIF, MIF, SRG and AOPC over the same
    players and baseline cost one pair of curves.

    players   the division of the images
    order     (n, p) players from the best to the worst
    game      v(S)
    batch     sets at a time
    """

    players: Players
    order: Int[Tensor, "n p"]
    game: Game
    batch: int
    _known: dict[tuple[bool, int], Logits] = field(default_factory=dict)

    def kept(self, ks: Sequence[int]) -> Float[Tensor, "n m k"]:
        """(n, m, k) logits with only the best k players kept, for each k of ``ks``: insertion."""
        return self._logits([(True, k) for k in ks])

    def removed(self, ks: Sequence[int]) -> Float[Tensor, "n m k"]:
        """(n, m, k) logits with the best k players removed, for each k of ``ks``: deletion."""
        return self._logits([(False, k) for k in ks])

    def _logits(self, points: list[tuple[bool, int]]) -> Float[Tensor, "n m k"]:
        """Logits at points (are the best kept or removed?, k): those not known yet are computed ``batch`` at a time."""
        p = self.players.p
        # nothing removed is all kept, all removed is nothing kept
        points = [(True, p - k) if not keep and k in (0, p) else (keep, k) for keep, k in points]
        missing = [point for point in dict.fromkeys(points) if point not in self._known]
        if missing:
            n, rank = len(self.order), self.order.argsort(1)
            each = torch.tensor(missing, device=rank.device).repeat_interleave(n, 0)
            rows = torch.arange(n, device=rank.device).repeat(len(missing))
            parts = zip(rows.split(self.batch), each.split(self.batch), strict=True)
            found = [self.game(part, (rank[part] < wanted[:, 1:]) == (wanted[:, :1] > 0)) for part, wanted in parts]
            self._known.update(zip(missing, torch.cat(found).split(n), strict=True))
        return torch.stack([self._known[point] for point in points], 1)


def curves(
    case: Case, division: Division, size: int, baseline: Baseline, ties: Ties = "random", removal: Removal = "pixels"
) -> Curves:
    """The curves of a case, shared by all metrics with the same players, removal and ties.

    Players of equal worth are in random order ("random") or by their place ("position", as the successors of RISE have
    it). The random order is the image's own, so that a map of zeros is a random order and no scan from the upper left.
    All images of the case must have the same number of players: see ``by_player_count``.
    """

    def make() -> Curves:
        players = divide_case(case, division, size)
        order = ranked(players.means(case.attributions), ties, case.seeds)
        return Curves(players, order, case.value_function(baseline, removal)(case.images, players), case.batch_size)

    return case.share(("curves", division, size, baseline, ties, removal), make)


def divide_case(case: Case, division: Division, size: int) -> Players:
    """The players of a case, computed once.

    A value function that was made for certain players has these in the place of pixels, which it cannot remove one by one.
    """

    def make() -> Players:
        if division == "pixels" and isinstance(case.value, HasPlayers):
            return case.value.players(case.images)
        return divide(case.images, division, size)

    return case.share(("players", division, size), make)


def smallest_side(case: Case, removal: Removal) -> int:
    """Side in pixels of the smallest patch that can be removed: 1 where pixels are, unless the case's own v has players."""
    if isinstance(case.value, HasPlayers):
        ids = case.value.players(case.images[:1]).ids[0]
    elif removal != "pixels" and case.value is None:
        ids = network_patches(removal, case.classifier, case.images[:1]).ids[0]
    else:
        return 1
    return int(max((ids[:, 0] == ids[0, 0]).sum(), (ids[0] == ids[0, 0]).sum()))


def by_player_count(case: Case, division: Division, size: int, score: Callable[[Case], Tensor]) -> Tensor:
    """Applies ``score``, (n,) or (n, m), to groups of images with equally many players: no image depends on its batch."""
    counts = divide_case(case, division, size).counts
    if len(counts.unique()) <= 1:
        return score(case)
    parts, order = [], []
    for count in counts.unique():
        rows = (counts == count).nonzero()[:, 0]
        part = case.share(("rows of", division, size, int(count)), partial(case.rows, rows))
        parts.append(score(part).to(case.attributions))
        order.append(rows)
    return torch.cat(parts)[torch.cat(order).argsort()]


def ranked(worth: Float[Tensor, "n p"], ties: Ties, seeds: Sequence[int]) -> Int[Tensor, "n p"]:
    """(n, p) players from the highest worth to the lowest; equal ones as ``ties`` says, by a seed for each image."""
    if ties == "position":
        return worth.argsort(dim=1, descending=True, stable=True)
    generators = (torch.Generator().manual_seed(seed) for seed in seeds)
    shuffled = torch.stack([torch.randperm(worth.shape[1], generator=g) for g in generators]).to(worth.device)
    return shuffled.gather(1, worth.gather(1, shuffled).argsort(dim=1, descending=True, stable=True))


def subset_sizes(p: int, steps: int) -> list[int]:
    """``steps`` + 1 sizes from 0 to p, as evenly as whole numbers allow; every size where p is smaller."""
    return sorted({round(p * i / steps) for i in range(steps + 1)})


def sizes_from_one(p: int, steps: int) -> list[int]:
    """The sizes 1 to p that Salvage averages over, or ``steps`` of them."""
    return [k for k in subset_sizes(p, steps or p) if k > 0]


def target_scores(case: Case, logits: Float[Tensor, "n m k"], value: Score) -> Float[Tensor, "n m"]:
    """Probability or logit of the class scored."""
    logits = logits if logits.dtype == torch.float64 else logits.float()
    answers = logits if value == "logit" else case.classifier.to_probabilities(logits.flatten(0, 1)).view_as(logits)
    return answers.gather(2, case.scored[:, None, None].expand(-1, logits.shape[1], 1)).squeeze(2)


EVEN = tuple(i / 40 for i in range(41))
"""The shares of players at which the report draws a curve."""


def resampled(ks: Sequence[int], values: Float[Tensor, "n m"]) -> Float[Tensor, "n 41"]:
    """The values at sizes ``ks``, interpolated to ``EVEN`` shares of the players; before the first size, its value."""
    x = np.asarray(ks) / max(ks)
    return torch.from_numpy(np.stack([np.interp(EVEN, x, row) for row in values.double().cpu().numpy()]))


class OneCurve(OverPlayers):
    """Base of metrics of one curve: the values at several sizes while players go, or come, by the order of the map."""

    steps: SizesOption = 0
    ties: TiesOption = "random"

    @abstractmethod
    def sizes(self, p: int) -> list[int]:
        """For which numbers of p players the network is asked."""

    @abstractmethod
    def logits(self, pair: Curves, ks: Sequence[int]) -> Float[Tensor, "n m k"]:
        """The logits at each of the sizes ``ks``."""

    @abstractmethod
    def figure(self, ks: Sequence[int], values: Float[Tensor, "n m"]) -> Scores:
        """One number of the values at the sizes ``ks``."""

    def score(self, case: Case) -> Scores:
        return by_player_count(case, self.players, self.size, lambda part: self.figure(*self.values(part)))

    def curve(self, case: Case) -> tuple[Sequence[float], Float[Tensor, "n m"]]:
        return EVEN, by_player_count(case, self.players, self.size, lambda part: resampled(*self.values(part)))

    def values(self, case: Case) -> tuple[list[int], Float[Tensor, "n m"]]:
        """The sizes, and the values there, for images with equally many players."""
        pair = curves(case, self.players, self.size, self.baseline, self.ties, self.removal)
        ks = self.sizes(pair.players.p)
        return ks, target_scores(case, self.logits(pair, ks), self.value)
