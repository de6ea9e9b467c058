"""The engine of every ordering metric: v(S) of nested sets, each computed once, whoever asks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from seewhy.maps import Reading, read
from seewhy.masking.baselines import Baseline
from seewhy.masking.players import Division, Players, divide
from seewhy.masking.values import Game
from seewhy.metrics.case import Case
from seewhy.types import Logits

Score = Literal["probability", "logit"]
Ties = Literal["random", "position"]


@dataclass(eq=False)
class Curves:
    """v(the best k players kept) and v(the best k removed) of a batch, for any k, none computed twice.

    The two curves meet: all kept is nothing removed. So deletion, insertion, LIF, MIF, SRG and AOPC over the same players
    and baseline cost one pair of curves.

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
        p = self.players.p
        # nothing removed is all kept, all removed is nothing kept
        points = [(True, p - k) if not keep and k in (0, p) else (keep, k) for keep, k in points]
        missing = [point for point in dict.fromkeys(points) if point not in self._known]
        n = len(self.order)
        rank = self.order.argsort(1)
        rows = torch.arange(n, device=rank.device).repeat(len(missing))
        found: list[Tensor] = []
        for start in range(0, len(rows), self.batch):
            part = rows[start : start + self.batch]
            asked = [missing[(start + i) // n] for i in range(len(part))]
            limit = torch.tensor([k for _, k in asked], device=rank.device)[:, None]
            keep = torch.tensor([keep for keep, _ in asked], device=rank.device)[:, None]
            found.append(self.game(part, (rank[part] < limit) == keep))
        if missing:
            self._known.update(zip(missing, torch.cat(found).split(n), strict=True))
        return torch.stack([self._known[point] for point in points], 1)


def curves(
    case: Case,
    division: Division,
    size: int,
    baseline: Baseline,
    ties: Ties = "random",
    reads: Reading = "raw",
) -> Curves:
    """The curves of a case, shared by all metrics that ask for the same players, baseline, order and ties.

    Equal values are ordered by chance ("random": a permutation of the image's own, so that a map of zeros is a random
    order and not a scan from the upper left) or by their place ("position": as RISE's successors do). Every image of the
    case must have the same number of players: see ``alike``.
    """

    def make() -> Curves:
        players = divide_case(case, division, size)
        order = ranked(players.means(read(case.attributions, reads)), ties, case.seeds)
        return Curves(players, order, case.value_function(baseline)(case.images, players), case.batch_size)

    return case.share(("curves", division, size, baseline, ties, reads), make)


def divide_case(case: Case, division: Division, size: int) -> Players:
    """The players of a case, made once."""
    return case.share(("players", division, size), lambda: divide(case.images, division, size))


def alike(case: Case, division: Division, size: int, score: Callable[[Case], Tensor]) -> Tensor:
    """``score``, (n,) or (n, m), of images with equal numbers of players at a time: none depends on others of its batch."""
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


def sizes(p: int, steps: int) -> list[int]:
    """``steps`` + 1 sizes from 0 to p, as evenly as whole numbers allow; every size where p is smaller."""
    return sorted({round(p * i / steps) for i in range(steps + 1)})


def read_out(case: Case, logits: Float[Tensor, "n m k"], score: Score) -> Float[Tensor, "n m"]:
    """Probability or logit of the class scored."""
    logits = logits if logits.dtype == torch.float64 else logits.float()
    answers = logits if score == "logit" else case.classifier.to_probabilities(logits.flatten(0, 1)).view_as(logits)
    return answers.gather(2, case.scored[:, None, None].expand(-1, logits.shape[1], 1)).squeeze(2)


def area(ks: Sequence[int], values: Float[Tensor, "n m"]) -> Float[Tensor, "n"]:
    """Trapezoid over the share of players in [0, 1]."""
    x = values.new_tensor(ks) / max(ks)
    return torch.trapezoid(values, x, dim=1)


EVEN = tuple(i / 40 for i in range(41))
"""Shares of the players at which a curve is drawn."""


def drawn(ks: Sequence[int], values: Float[Tensor, "n m"]) -> Float[Tensor, "n 41"]:
    """A curve over ``ks`` players at even shares of them, by straight lines; before the first size, its value."""
    x = np.asarray(ks) / max(ks)
    return torch.from_numpy(np.stack([np.interp(EVEN, x, row) for row in values.double().cpu().numpy()]))
