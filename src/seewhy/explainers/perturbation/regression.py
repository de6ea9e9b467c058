"""Linear models of what players do to the scores: LIME and KernelSHAP, for all classes at once, in float64."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.explainers.selectors import Selector, select_all
from seewhy.masking.players import Division, Players, divide
from seewhy.masking.values import Game, removal_game
from seewhy.types import ClassAttribution, Classes, Images

MOST_PLAYERS = 2048

Kept = Bool[Tensor, "m p"]
"""Coalitions: which players stay."""
CoalitionScores = Float[Tensor, "m k"]


def players_of_each(images: Images, division: Division, size: int) -> list[Players]:
    """The players of each image alone, so that its regression does not depend on the others'."""
    players = divide(images, division, size)
    if players.p > MOST_PLAYERS:
        raise SeewhyError(f"{players.p} players are too many for a regression (at most {MOST_PLAYERS}): take larger ones")
    return [Players(ids[None], count[None]) for ids, count in zip(players.ids, players.counts, strict=True)]


@dataclass(frozen=True)
class Values:
    """Scores of coalitions of one image's players; equal coalitions are asked once.

    Args:
        classifier: what is asked.
        selector: which number of the logits is the score.
        batch_size: masked images that are run at a time.
    """

    classifier: Classifier
    selector: Selector
    batch_size: int

    def __call__(self, image: Images, removed: Images, players: Players, kept: Kept, classes: Classes) -> CoalitionScores:
        """In float64 on the CPU, where the small regressions are made. Call it within ``classifier.running``."""
        game = removal_game(self.classifier, image, removed, players)
        different, back = kept.unique(dim=0, return_inverse=True)
        parts = [self._scores(game, some.to(image.device))[:, classes] for some in different.split(self.batch_size)]
        return torch.cat(parts).cpu().double()[back]

    def _scores(self, game: Game, kept: Kept) -> CoalitionScores:
        rows = torch.zeros(len(kept), dtype=torch.long, device=kept.device)
        return select_all(self.classifier, game(rows, kept), self.selector)


def least_squares(
    x: Float[Tensor, "m p"], weights: Float[Tensor, "m"], y: CoalitionScores, ridge: float = 0.0
) -> Float[Tensor, "p k"]:
    """argmin over b of sum_i w_i (y_i - x_i b)^2 + ridge |b|^2, one factorization for all classes.

    Of several solutions it is the shortest.
    """
    normal = (x.T * weights) @ x + ridge * torch.eye(x.shape[1], dtype=x.dtype)
    return torch.linalg.pinv(normal, hermitian=True, rtol=1e-12) @ ((x.T * weights) @ y)


def paint(players: Players, values: Float[Tensor, "p k"], image: Images) -> ClassAttribution:
    """Each player's values on its pixels of the one image, in its type."""
    return values.T.to(image)[:, players.ids[0]][None]
