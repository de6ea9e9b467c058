"""v(S), the value of a set S of kept players."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.masking.baselines import Baseline, baseline_images
from seewhy.masking.players import Players
from seewhy.types import Images, Logits

Game = Callable[[Int[Tensor, "r"], Bool[Tensor, "r p"]], Logits]
"""v(S) for r sets of players: ``rows`` (r,) has the image of each set, ``kept`` (r, p) the players in it; logits (r, k)."""


@runtime_checkable
class Value(Protocol):
    """Makes the game of a batch: it defines removal, and the network that is run (the classifier or a surrogate)."""

    def __call__(self, images: Images, players: Players) -> Game: ...


@runtime_checkable
class HasPlayers(Value, Protocol):
    """A value function that was made for certain players, as a surrogate is by its training."""

    def players(self, images: Images) -> Players:
        """The players that it was made for."""
        ...


@dataclass(frozen=True)
class RemovePixels:
    """The classifier on images in which removed players have the pixels of a baseline.

    Args:
        classifier: the network that is run.
        baseline: see ``baseline_images``.
    """

    classifier: Classifier
    baseline: Baseline | float | Tensor = "black"

    def __call__(self, images: Images, players: Players) -> Game:
        return removal_game(self.classifier, images, baseline_images(self.baseline, self.classifier, images), players)


def removal_game(classifier: Classifier, images: Images, removed: Images, players: Players) -> Game:
    """The classifier on ``images`` in which removed players have the pixels of ``removed``."""

    def logits(rows: Int[Tensor, "r"], kept: Bool[Tensor, "r p"]) -> Float[Tensor, "r k"]:
        mask = players.pixels(rows, kept)[:, None]
        with classifier.running():
            return classifier.logits(classifier.fast_layout(torch.where(mask, images[rows], removed[rows])))

    return logits
