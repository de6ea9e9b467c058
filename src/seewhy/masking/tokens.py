"""v(S) of a transformer whose removed patches leave the sequence, or become its mask token: no pixel is painted over."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.classifier.patch_embedding import patch_sides
from seewhy.errors import SeewhyError
from seewhy.masking.baselines import Baseline
from seewhy.masking.players import Division, Players, divide
from seewhy.masking.values import Game, RemovePixels, Value
from seewhy.types import Images

Removal = Literal["pixels", "tokens", "mask_tokens"]
"""What "removed" means: pixels of a baseline; patches that leave the sequence of a transformer; or patches whose embedding
is the network's mask token, or zero where it has none."""


@dataclass(frozen=True)
class RemoveTokens:
    """The classifier on the patches that are kept: the others leave its sequence.

    The logits are those of the network in which the keys of the removed patches get minus infinity in every block, up to
    rounding (see ``Classifier.kept_logits``). A player is a patch of the network, or several whole ones.

    Args:
        classifier: the network that is run. UnsuitedError where its patches cannot be dropped exactly.
    """

    classifier: Classifier

    def __call__(self, images: Images, players: Players) -> Game:
        owner = owners(players, self.classifier.patch_grid(images))

        def logits(rows: Int[Tensor, "r"], kept: Bool[Tensor, "r p"]) -> Float[Tensor, "r k"]:
            shown, row = rows.unique(return_inverse=True)  # the tokens of an image are made once
            with self.classifier.running():
                return self.classifier.kept_logits(images[shown], kept.gather(1, owner[rows]), row)

        return logits


@dataclass(frozen=True)
class MaskTokens:
    """The classifier on images whose removed patches have the network's mask token as their vector, or zeros.

    A removed patch keeps its position. A player is a patch of the network's first layer, or several whole ones.

    Args:
        classifier: the network that is run. UnsuitedError where its patches overlap.
    """

    classifier: Classifier

    def __call__(self, images: Images, players: Players) -> Game:
        owner = owners(players, self.classifier.embedding_grid(images))

        def logits(rows: Int[Tensor, "r"], kept: Bool[Tensor, "r p"]) -> Float[Tensor, "r k"]:
            with self.classifier.running():
                return self.classifier.masked_logits(images, kept.gather(1, owner[rows]), rows)

        return logits


def owners(players: Players, grid: tuple[int, int]) -> Int[Tensor, "n g"]:
    """The player that each patch of the network belongs to; SeewhyError for a player that is a part of a patch."""
    sides = patch_sides(grid, (players.ids.shape[1], players.ids.shape[2]))
    cells = players.ids[:, : grid[0] * sides[0], : grid[1] * sides[1]]
    cells = cells.unflatten(1, (grid[0], sides[0])).unflatten(3, (grid[1], sides[1])).transpose(2, 3).flatten(3)
    first = cells[..., 0]
    if bool((cells != first[..., None]).any()):
        multiple = f"{sides[0]} pixels, or of a multiple" if sides[0] == sides[1] else f"{sides[0]} x {sides[1]} pixels"
        raise SeewhyError(
            f"the network removes whole patches, of {sides[0]} x {sides[1]} pixels: give players=patches and a size (of "
            f"occlusion a window and a stride) of {multiple}; or removal=pixels"
        )
    return first.flatten(1)


def network_grid(removal: Removal, classifier: Classifier, images: Images) -> tuple[int, int]:
    """Rows and columns of the patches that are dropped, or masked."""
    return classifier.patch_grid(images) if removal == "tokens" else classifier.embedding_grid(images)


def network_patches(removal: Removal, classifier: Classifier, images: Images) -> Players:
    """The players that are the patches of the network: those that are dropped, or masked."""
    grid = network_grid(removal, classifier, images)
    size = (images.shape[-2], images.shape[-1])
    sides = patch_sides(grid, size)
    down, along = (torch.arange(pixels, device=images.device) // side for pixels, side in zip(size, sides, strict=True))
    ids = down.clamp(max=grid[0] - 1)[:, None] * grid[1] + along.clamp(max=grid[1] - 1)
    return Players(ids.expand(len(images), -1, -1), torch.full((len(images),), grid[0] * grid[1], device=images.device))


def must_remove(classifier: Classifier, removal: Removal, division: Division = "patches", size: int | None = None) -> None:
    """SeewhyError where players cannot be removed in this way; UnsuitedError where the network is the reason."""
    if removal == "pixels":
        return
    image = torch.zeros(1, len(classifier.mean), *classifier.input_size)
    grid = network_grid(removal, classifier, image)
    if division != "patches":
        owners(divide(image, "pixels"), grid)
    elif size is not None:
        owners(divide(image, "patches", size), grid)


def value_of(removal: Removal, classifier: Classifier, baseline: Baseline | float | Tensor) -> Value:
    """The value function of the classifier; ``baseline`` is for removed pixels."""
    match removal:
        case "tokens":
            return RemoveTokens(classifier)
        case "mask_tokens":
            return MaskTokens(classifier)
        case "pixels":
            return RemovePixels(classifier, baseline)
