"""Maps of players: each image is divided into parts, and each part gets a value from the scores of sets of parts."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import KW_ONLY
from functools import partial
from typing import final

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seewhy.explainers.base import ClassMaps
from seewhy.explainers.classes import as_column, for_each
from seewhy.explainers.options import (
    BaselineOption,
    BatchSize,
    PlayerSize,
    PlayersOption,
    PrecisionOption,
    RemovalOption,
    SelectorOption,
)
from seewhy.explainers.selectors import select, with_similar
from seewhy.masking.baselines import baseline_images
from seewhy.masking.players import Players, divide
from seewhy.masking.shapley import PlayerScores, SetFunction, ShapleyValues, set_function
from seewhy.masking.tokens import value_of
from seewhy.types import Attribution, ClassAttribution, Classes, Images, Targets


class PlayerMaps(ClassMaps):
    """A map that shows the value of each pixel's player. A subclass makes values of p players from a set function.

    Each image is divided, asked and solved alone: its map does not depend on the others'.
    """

    players: PlayersOption = "superpixels"
    size: PlayerSize = 50
    _: KW_ONLY  # the last parameters, behind those of the subclass
    selector: SelectorOption = "logit"
    baseline: BaselineOption = "mean_color"
    removal: RemovalOption = "pixels"
    precision: PrecisionOption = "fp32"
    batch_size: BatchSize = 32

    @abstractmethod
    def values(self, v: SetFunction, p: int) -> PlayerScores:
        """The value of each of p players for each class."""

    def maps(self, images: Images, classes: Int[Tensor, "n k"]) -> ClassAttribution:
        return self._spread(images, classes, self.values)

    def _spread(
        self, images: Images, classes: Int[Tensor, "n k"], numbers: Callable[[SetFunction, int], Float[Tensor, "*some p k"]]
    ) -> Float[Tensor, "n *some k h w"]:
        """The ``numbers`` of the players of each image, on their pixels."""
        division = divide(images, self.players, self.size)
        removed = baseline_images(self.baseline, self.classifier, images)
        wanted = with_similar(self.classifier, images, classes, self.selector, self.batch_size)
        alone = (t.split(1) for t in (images, removed, division.ids, division.counts, wanted))
        maps = []
        for image, gone, ids, count, wanted in zip(*alone, strict=True):
            players = Players(ids, count)
            game = value_of(self.removal, self.classifier, gone)(image, players)
            read = partial(self._read, wanted=wanted)
            with self.classifier.running(self.precision):
                found = numbers(set_function(game, 0, read, self.batch_size, image.device), players.p)
            maps.append(found.mT.to(image)[..., ids[0]])
        return torch.stack(maps)

    def _read(self, logits: Tensor, wanted: Tensor) -> Float[Tensor, "r k"]:
        return select(self.classifier, logits, wanted.expand(len(logits), -1, -1), self.selector)


class ShapleyMaps(PlayerMaps):
    """A map of Shapley values that says how sure it is. A subclass estimates the values of p players."""

    @abstractmethod
    def shapley(self, v: SetFunction, p: int) -> ShapleyValues:
        """The values and their standard errors."""

    @final
    def values(self, v: SetFunction, p: int) -> PlayerScores:
        return self.shapley(v, p).values

    @final
    def explain_with_errors(self, images: Images, targets: Targets) -> tuple[Attribution, Attribution]:
        """The map of each image for its own target, and the standard error of each pixel's value."""
        maps, errors = self._with_errors(images, as_column(targets))
        return maps[:, 0], errors[:, 0]

    @final
    def explain_classes_with_errors(self, images: Images, classes: Classes) -> tuple[ClassAttribution, ClassAttribution]:
        """The maps of the k classes of every image, and the standard error of each pixel's value."""
        return self._with_errors(images, for_each(images, classes))

    def _with_errors(self, images: Images, classes: Int[Tensor, "n k"]) -> tuple[ClassAttribution, ClassAttribution]:
        self.classifier.check_classes(images, classes)
        both = self._spread(images.detach(), classes, self._both)
        return both[:, 0], both[:, 1]

    def _both(self, v: SetFunction, p: int) -> Float[Tensor, "two p k"]:
        found = self.shapley(v, p)
        return torch.stack([found.values, found.errors])
