"""Linear models of what players do to the scores: LIME and KernelSHAP, for all classes at once, in float64."""

from abc import abstractmethod
from dataclasses import KW_ONLY

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seewhy.errors import SeewhyError
from seewhy.explainers.base import ClassMaps
from seewhy.explainers.options import (
    BaselineOption,
    BatchSize,
    PlayerSize,
    PlayersOption,
    PrecisionOption,
    RemovalOption,
    Samples,
    Seed,
    SelectorOption,
)
from seewhy.explainers.selectors import Wanted, select, with_similar
from seewhy.masking.baselines import baseline_images
from seewhy.masking.players import Players, divide
from seewhy.masking.tokens import value_of
from seewhy.types import ClassAttribution, Images

MOST_PLAYERS = 2048

Kept = Bool[Tensor, "m p"]
"""Coalitions: which players stay."""
Weights = Float[Tensor, "m"]
CoalitionScores = Float[Tensor, "m k"]
"""In float64 on the CPU, where the small regressions are made."""


class PlayerRegression(ClassMaps):
    """A regression of the scores on the players that are kept. A subclass draws the coalitions and solves the regression.

    Each image is divided, asked and solved alone: its map does not depend on the others'.
    """

    players: PlayersOption = "superpixels"
    size: PlayerSize = 50
    samples: Samples = 1000
    _: KW_ONLY  # the last parameters, behind those of the subclass
    selector: SelectorOption = "logit"
    baseline: BaselineOption = "mean_color"
    removal: RemovalOption = "pixels"
    seed: Seed = 0
    precision: PrecisionOption = "fp32"
    batch_size: BatchSize = 32

    @abstractmethod
    def coalitions(self, p: int) -> tuple[Kept, Weights]:
        """Which of p players are kept, and the weights of the regression."""

    @abstractmethod
    def solved(self, kept: Kept, weights: Weights, scores: CoalitionScores) -> Float[Tensor, "p k"]:
        """The value of each player for each class."""

    def maps(self, images: Images, classes: Int[Tensor, "n k"]) -> ClassAttribution:
        division = divide(images, self.players, self.size)
        if division.p > MOST_PLAYERS:
            raise SeewhyError(
                f"{division.p} players are too many for a regression (at most {MOST_PLAYERS}): take larger ones"
            )
        removed = baseline_images(self.baseline, self.classifier, images)
        wanted = with_similar(self.classifier, images, classes, self.selector, self.batch_size)
        alone = (t.split(1) for t in (images, removed, division.ids, division.counts, wanted))
        maps = []
        for image, gone, ids, count, wanted in zip(*alone, strict=True):
            players = Players(ids, count)
            kept, weights = self.coalitions(players.p)
            values = self.solved(kept, weights, self._scores(image, gone, players, kept, wanted))
            maps.append(values.T.to(image)[:, ids[0]])
        return torch.stack(maps)

    def _scores(self, image: Images, removed: Images, players: Players, kept: Kept, wanted: Wanted) -> CoalitionScores:
        """Scores of one image's coalitions; equal coalitions are asked once."""
        game = value_of(self.removal, self.classifier, removed)(image, players)
        different, back = kept.unique(dim=0, return_inverse=True)
        scores = []
        with self.classifier.running(self.precision):
            for some in different.to(image.device).split(self.batch_size):
                logits = game(torch.zeros(len(some), dtype=torch.long, device=some.device), some)
                scores.append(select(self.classifier, logits, wanted.expand(len(logits), -1, -1), self.selector))
        return torch.cat(scores).cpu().double()[back]


def least_squares(x: Float[Tensor, "m p"], weights: Weights, y: CoalitionScores, ridge: float = 0.0) -> Float[Tensor, "p k"]:
    """argmin over b of sum_i w_i (y_i - x_i b)^2 + ridge |b|^2, one factorization for all classes.

    Of several solutions it is the shortest.
    """
    normal = (x.T * weights) @ x + ridge * torch.eye(x.shape[1], dtype=x.dtype)
    return torch.linalg.pinv(normal, hermitian=True, rtol=1e-12) @ ((x.T * weights) @ y)
