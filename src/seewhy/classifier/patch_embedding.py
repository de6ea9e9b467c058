"""The layer that makes a vector of each patch, and patches whose vector becomes the mask token of the network, or zero."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor, nn

from seewhy.classifier.borrow import find_layer, frozen, logits_in, run, trace_calls
from seewhy.classifier.grid_reading import GridReading

TRIED = 3
"""So many of the first layers with weights are tried."""


@dataclass(frozen=True)
class PatchEmbedding:
    """The layer that makes the patches.

    reading     how its output is read as a grid
    mask_token  name of the parameter that stands for a removed patch in the network's training; None stands for zeros
    """

    layer: str
    reading: GridReading
    mask_token: str | None = None

    @contextmanager
    def masked(self, module: nn.Module, kept: Bool[Tensor, "r g"], size: tuple[int, int]) -> Generator[None]:
        """Inside the block, the patches of images of ``size`` that are not ``kept`` are mask tokens; a row for each."""

        def mask(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
            masked = output.clone()
            grid = self.reading(masked, size, self.layer)  # a view
            token = output.new_zeros(grid.shape[1]) if self.mask_token is None else module.get_parameter(self.mask_token)
            stay = kept.view(len(kept), 1, *grid.shape[2:])
            grid.copy_(torch.where(stay, grid.clone(), token.to(output).view(1, -1, 1, 1)))
            return masked

        with find_layer(module, self.layer).register_forward_hook(mask):
            yield


@torch.no_grad()
def find_patch_embedding(
    module: nn.Module, image: Tensor, reading: Callable[[str, Tensor], GridReading | None]
) -> PatchEmbedding | None:
    """The first layer that makes patches of which none sees the pixels of another; None if there is none.

    With half of the patches masked, the logits must not change when the pixels of this half do.
    """
    size = (image.shape[-2], image.shape[-1])
    calls, _ = trace_calls(module, image)
    layers = [call for call in calls if isinstance(call.module, nn.Conv2d | nn.Linear)][:TRIED]
    for layer in layers:
        if (found := reading(layer.name, layer.output)) is None or found.prefix:
            continue
        channels = found(layer.output, size).shape[1]
        tokens = (name for name, p in module.named_parameters() if name.endswith("mask_token") and p.numel() == channels)
        embedding = PatchEmbedding(layer.name, found, next(tokens, None))
        gh, gw = found.grid
        kept = (torch.arange(gh * gw, device=image.device) % 2 == 0)[None]
        other = torch.where(pixels_of(kept, found.grid, size), image, image.flip(1, 2, 3) + 1)
        with frozen(module), embedding.masked(module, kept, size):
            before, after = (logits_in(run(module, x)) for x in (image, other))
        if torch.allclose(before, after, rtol=1e-4, atol=1e-5 * float(before.abs().max())):
            return embedding
    return None


def pixels_of(kept: Bool[Tensor, "r g"], grid: tuple[int, int], size: tuple[int, int]) -> Bool[Tensor, "r 1 h w"]:
    """The pixels of patches, for images of ``size``; a rest at the right and the bottom belongs to none."""
    sides = patch_sides(grid, size)
    down, along = (torch.arange(pixels, device=kept.device) // side for pixels, side in zip(size, sides, strict=True))
    inside = (down[:, None] < grid[0]) & (along < grid[1])
    patch = down.clamp(max=grid[0] - 1)[:, None] * grid[1] + along.clamp(max=grid[1] - 1)
    return (kept[:, patch] & inside)[:, None]


def patch_sides(grid: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of a patch in pixels; patches are squares where squares are possible."""
    high, wide = size[0] // grid[0], size[1] // grid[1]
    side = min(high, wide)
    return (side, side) if (size[0] // side, size[1] // side) == grid else (high, wide)
