"""How the output of a layer is read as a grid: by its shape, or by how its cells answer to the halves of a picture."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor

from seewhy.errors import SeewhyError

MAX_PREFIX_TOKENS = 16
"""Up to this many tokens before the patches are tried."""
FOLLOWS = 0.6
"""From this agreement of cells and places on (see ``follows``), a grid is believed. A sequence taken for one has less."""
FOLLOWS_BY_ITSELF = 0.8
"""The same for tokens whose number is not that of square patches."""


@dataclass(frozen=True)
class GridReading:
    """How a layer's output is read as a grid: maps (n, d, gh, gw) or (n, gh, gw, d), or tokens (n, prefix + gh*gw, d).

    grid  rows and columns in a picture of ``size`` pixels (height, width)
    """

    grid: tuple[int, int]
    size: tuple[int, int]
    channels_last: bool = False
    prefix: int = 0

    def __call__(self, features: Tensor, size: tuple[int, int], layer: str | None = None) -> Tensor:
        """The features (n, d, gh, gw) of pictures of ``size``; SeewhyError, which names ``layer``, if they form no grid."""
        if features.ndim == 4:
            return features.permute(0, 3, 1, 2) if self.channels_last else features
        if features.ndim == 3 and (grid := self.cells(features.shape[1] - self.prefix, size)):
            return features[:, self.prefix :].transpose(1, 2).unflatten(2, grid)
        raise no_grid(features, size, self.prefix, layer)

    def cells(self, tokens: int, size: tuple[int, int]) -> tuple[int, int] | None:
        """Rows and columns of so many tokens: cells have as many pixels as in the picture of the trial, up to a rest."""
        rows, columns = (cells * new / old for cells, new, old in zip(self.grid, size, self.size, strict=True))
        pairs = [(gh, tokens // gh) for gh in range(1, tokens + 1) if tokens % gh == 0]
        nearest = min(pairs, key=lambda pair: abs(pair[0] - rows) + abs(pair[1] - columns), default=None)
        if nearest and abs(nearest[0] - rows) < 1 and abs(nearest[1] - columns) < 1:
            return nearest
        return self.grid if self.grid[0] * self.grid[1] == tokens else None  # the network resizes its pictures itself


def by_shape(features: Tensor, size: tuple[int, int], n_prefix_tokens: int | None) -> GridReading | None:
    """The reading where the shape of the features leaves no choice, or the user says the number of prefix tokens.

    Else None: for tokens, and for maps of which neither or both layouts have the picture's aspect ratio.
    """
    if features.ndim == 3 and n_prefix_tokens is not None:
        tokens = features.shape[1] - n_prefix_tokens
        grids = [*_patches(tokens, size, whole=True), *_patches(tokens, size, whole=False)]
        return GridReading(grids[0], size, prefix=n_prefix_tokens) if grids else None
    if features.ndim == 4:
        first, last = (_fits(shape, size) for shape in (features.shape[2:], features.shape[1:3]))
        return None if first == last else GridReading(_two(features.shape[2 - last :]), size, channels_last=last)
    return None


def channels_first(features: Tensor, size: tuple[int, int]) -> GridReading | None:
    """The usual reading of maps of which no trial knows better; None for tokens."""
    return GridReading(_two(features.shape[2:]), size) if features.ndim == 4 else None


def _fits(shape: torch.Size, size: tuple[int, int]) -> bool:
    """Has a grid the aspect ratio of the picture, up to the rounding to whole cells?"""
    return abs(log(shape[0] / shape[1]) - log(size[0] / size[1])) <= 1 / min(shape)


def no_grid(features: Tensor, size: tuple[int, int], prefix: int | None, layer: str | None = None) -> SeewhyError:
    """What is wrong with features that cannot be read as a grid, in one line."""
    whose = "a layer" if layer is None else f"layer {layer!r}"
    if features.ndim != 3:
        return SeewhyError(f"{whose} of shape {tuple(features.shape)} has no grid; choose one with (n, c, h, w) or tokens")
    after = f" after {prefix} prefix tokens" if prefix else ""
    return SeewhyError(
        f"{whose} has {features.shape[1]} tokens, which{after} form no grid for an image of {size[0]} x {size[1]}: "
        "name another layer, or set n_prefix_tokens"
    )


def read_grid(ratios: list[Tensor], size: tuple[int, int], n_prefix_tokens: int | None) -> GridReading | None:
    """The reading whose cells follow the places of the picture best; None if no reading does."""
    if ratios[0].ndim == 3:
        layouts = [(GridReading(_two(r.shape[1:]), size, channels_last=last == 1), r) for last, r in enumerate(ratios)]
        return _best(layouts, FOLLOWS)
    tokens = ratios[0].shape[1]
    prefixes = range(min(MAX_PREFIX_TOKENS + 1, tokens)) if n_prefix_tokens is None else [n_prefix_tokens]
    squares = [GridReading(grid, size, prefix=p) for p in prefixes for grid in _patches(tokens - p, size, whole=True)]
    if n_prefix_tokens is None:  # the last four of sixteen tokens follow some picture by chance
        squares = [r for r in squares if 2 * r.prefix <= tokens]
    others = [GridReading(grid, size, prefix=p) for p in prefixes[:2] for grid in _rectangles(tokens - p)]
    # nearly every number of tokens is some grid: one that does not divide the picture into squares has more to show
    for readings, least in ((squares, FOLLOWS), (others, FOLLOWS_BY_ITSELF)):
        if found := _best([(r, ratios[0][:, r.prefix :].unflatten(1, r.grid)) for r in readings], least):
            return found
    return None


def _best(readings: list[tuple[GridReading, Tensor]], least: float) -> GridReading | None:
    scores = [follows(ratios) if min(reading.grid) >= 2 else 0.0 for reading, ratios in readings]
    best = max(range(len(scores)), key=lambda i: scores[i], default=None)
    return None if best is None or scores[best] < least else readings[best][0]


def follows(ratios: Tensor) -> float:
    """How well cells follow the places, in [-1, 1]: upper cells change with the upper half, left cells with the left.

    The lower of two cosines. ``ratios`` (2, gh, gw) are those of ``_answers``.
    """
    scores = []
    for ratio in (ratios[0], ratios[1].T):
        cells = len(ratio)
        half = torch.arange(cells - 1, -cells, -2, dtype=ratio.dtype, device=ratio.device).sign()
        wanted = half[:, None].expand_as(ratio)
        length = ratio.norm() * wanted.norm()
        scores.append(float((ratio * wanted).sum() / length) if length > 0 else 0.0)
    return min(scores)


def alike_readings(
    ratios: Mapping[str, list[Tensor]], found: Mapping[str, GridReading], size: tuple[int, int]
) -> dict[str, GridReading]:
    """Readings of maps with a grid that maps in ``found`` have, or half of it; without those that the trial contradicts."""
    grids = {(r.channels_last, r.grid) for name, r in found.items() if ratios[name][0].ndim == 3}
    halves = {(last, ((gh + odd) // 2, (gw + odd) // 2)) for last, (gh, gw) in grids for odd in (0, 1)}
    alike: dict[str, GridReading] = {}
    for name, layouts in ratios.items():
        for last, ratio in enumerate(layouts if layouts[0].ndim == 3 and name not in found else ()):
            grid = _two(ratio.shape[1:])
            upside_down, mirrored = follows(-ratio), follows(ratio.flip(0))
            if (last == 1, grid) in grids | halves and min(grid) >= 2 and max(upside_down, mirrored) < FOLLOWS:
                alike.setdefault(name, GridReading(grid, size, channels_last=last == 1))
    return alike


def _patches(tokens: int, size: tuple[int, int], whole: bool) -> Iterator[tuple[int, int]]:
    """Grids (gh, gw) of ``tokens`` square patches in a picture of ``size``; without a rest if ``whole``."""
    for side in range(1, max(size) + 1):
        for gh, gw in {(size[0] // side, size[1] // side), (-(-size[0] // side), -(-size[1] // side))}:
            if gh * gw == tokens > 0 and (not whole or (gh * side, gw * side) == size):
                yield gh, gw


def _rectangles(tokens: int) -> Iterator[tuple[int, int]]:
    return ((gh, tokens // gh) for gh in range(2, tokens // 2 + 1) if tokens % gh == 0)


def _two(shape: torch.Size) -> tuple[int, int]:
    return shape[0], shape[1]
