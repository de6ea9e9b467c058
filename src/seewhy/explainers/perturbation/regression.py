"""Linear models of what players do to the scores: LIME and KernelSHAP, for all classes at once, in float64."""

from abc import abstractmethod
from dataclasses import KW_ONLY
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from seewhy.errors import SeewhyError
from seewhy.explainers.options import Samples, Seed
from seewhy.explainers.perturbation.player_maps import PlayerMaps
from seewhy.masking.shapley import PlayerScores, SetFunction

MOST_PLAYERS = 2048

Kept = Bool[Tensor, "m p"]
"""Coalitions: which players stay."""
Weights = Float[Tensor, "m"]
CoalitionScores = Float[Tensor, "m k"]
"""In float64 on the CPU, where the small regressions are made."""


class PlayerRegression(PlayerMaps):
    """A regression of the scores on the players that are kept. A subclass draws the coalitions and solves the regression."""

    samples: Samples = 1000
    _: KW_ONLY  # the last parameters, behind those of the subclass
    seed: Seed = 0

    @abstractmethod
    def coalitions(self, p: int) -> tuple[Kept, Weights]:
        """Which of p players are kept, and the weights of the regression."""

    @abstractmethod
    def solved(self, kept: Kept, weights: Weights, scores: CoalitionScores) -> Float[Tensor, "p k"]:
        """The value of each player for each class."""

    @final
    def values(self, v: SetFunction, p: int) -> PlayerScores:
        if p > MOST_PLAYERS:
            raise SeewhyError(f"{p} players are too many for a regression (at most {MOST_PLAYERS}): take larger ones")
        kept, weights = self.coalitions(p)
        return self.solved(kept, weights, v(kept))


def least_squares(x: Float[Tensor, "m p"], weights: Weights, y: CoalitionScores, ridge: float = 0.0) -> Float[Tensor, "p k"]:
    """argmin over b of sum_i w_i (y_i - x_i b)^2 + ridge |b|^2, one factorization for all classes.

    Of several solutions it is the shortest.
    """
    normal = (x.T * weights) @ x + ridge * torch.eye(x.shape[1], dtype=x.dtype)
    return torch.linalg.pinv(normal, hermitian=True, rtol=1e-12) @ ((x.T * weights) @ y)
