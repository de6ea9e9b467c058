"""v(S), the value of a set of players that are kept."""

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
"""v(S) of some images: rows (r,) says which image, kept (r, p) which of its players stay; logits (r, k) come out."""


@runtime_checkable
class Value(Protocol):
    """Makes the game of a batch: what removal means, and which network is asked (the classifier or a surrogate)."""

    def __call__(self, images: Images, players: Players) -> Game: ...


@dataclass(frozen=True)
class RemovePixels:
    """The classifier on the image in which the pixels of removed players are those of a baseline.

    Args:
        classifier: what is asked.
        baseline: see ``baseline_images``.
    """

    classifier: Classifier
    baseline: Baseline | float | Tensor = "black"

    def __call__(self, images: Images, players: Players) -> Game:
        return removing(self.classifier, images, baseline_images(self.baseline, self.classifier, images), players)


def removing(classifier: Classifier, images: Images, removed: Images, players: Players) -> Game:
    """The classifier on ``images`` in which the pixels of removed players are those of ``removed``."""

    def logits(rows: Int[Tensor, "r"], kept: Bool[Tensor, "r p"]) -> Float[Tensor, "r k"]:
        mask = players.pixels(rows, kept)[:, None]
        with classifier.running():
            return classifier.logits(classifier.fast_layout(torch.where(mask, images[rows], removed[rows])))

    return logits
