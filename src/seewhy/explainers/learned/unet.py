"""Decoders that make masks of the features of a frozen network: the published one of NEM-U and NEMt, and a light one.

A decoder reads the levels of the explained network (``Classifier.levels``) and the image, as the decoder of a U-Net reads
its encoder. It returns logits of masks. A decoder may be told by a vector for each row what the mask is for: then the vector
scales and shifts the channels of every block (FiLM).
"""

from abc import abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from math import log2
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate

from seewhy.classifier.classifier import Classifier
from seewhy.classifier.levels import Level
from seewhy.types import Images

DecoderKind = Literal["light", "published"]
NARROWEST, WIDEST = 16, 256
"""Channels of the published decoder at the size of the image, and most channels of a block."""
LIGHT_WIDTH, LIGHT_STRIDE = 24, 4
"""Channels of every block of the light decoder, and pixels of a cell of its masks."""


class MaskDecoder(nn.Module):
    """From images in [0, 1] and features, coarse and fine, to logits of masks. A subclass has one hole, ``decode``.

    Args:
        classifier: the network whose features are read; the decoder takes its levels and its normalization.
        masks: of each image.
        condition: length of the vectors that tell what a mask is for; 0 where there are none.
    """

    layers: tuple[str, ...]
    mean: Tensor
    std: Tensor

    def __init__(self, classifier: Classifier, masks: int, condition: int) -> None:
        super().__init__()
        self.masks, self.condition = masks, condition
        self.register_buffer("mean", torch.tensor(classifier.mean, dtype=torch.float32)[:, None, None])
        self.register_buffer("std", torch.tensor(classifier.std, dtype=torch.float32)[:, None, None])

    def forward(
        self, images: Images, *features: Tensor, condition: Float[Tensor, "rn length"] | None = None
    ) -> Float[Tensor, "rn m gh gw"]:
        """Logits of the masks, of features (n, d, gh, gw) of each of ``layers``.

        Rows i*r to i*r + r - 1 belong to image i, where ``condition`` has r rows for each image.
        """
        return self.decode((images - self.mean) / self.std, list(features), condition)

    @abstractmethod
    def decode(self, images: Images, features: list[Tensor], condition: Tensor | None) -> Float[Tensor, "rn m gh gw"]:
        """The logits, of normalized images."""


class Convolutions(nn.Module):
    """3 x 3 convolutions without bias, each with batch normalization and SiLU; the last one is told by the condition."""

    def __init__(self, widths: Sequence[int], condition: int) -> None:
        super().__init__()
        pairs = list(pairwise(widths))
        convolutions = [nn.Conv2d(before, after, 3, padding=1, bias=False) for before, after in pairs]
        for convolution in convolutions:
            nn.init.kaiming_normal_(convolution.weight)
        self.convolutions = nn.ModuleList(convolutions)
        self.norms = nn.ModuleList(nn.BatchNorm2d(after) for _, after in pairs)
        self.film = nn.Linear(condition, 2 * widths[-1]) if condition else None

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        for number, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True), 1):
            x = norm(convolution(x))
            if self.film is not None and number == len(self.norms):
                scale, shift = self.film(condition)[:, :, None, None].chunk(2, 1)
                x = x * (1 + scale) + shift
            x = nn.functional.silu(x)
        return x


class PublishedDecoder(MaskDecoder):
    """The decoder of the code of NEM-U and NEMt (Møller et al., 2024, 2025), for any levels.

    Each block enlarges what is there to the nearest cells, joins the next finer level, and convolves twice; the last block
    joins the normalized image. A level that has no finer grid, as of a vision transformer, is enlarged to twice the grid
    that is there; where the next grid is more than twice as fine, a block joins nothing. On a ResNet-50 the blocks have 256,
    128, 64, 32 and 16 channels: 9,013,377 parameters, and two of the 1 x 1 convolution ("patching") that follows. The masks
    have the image's size.
    """

    def __init__(self, classifier: Classifier, masks: int = 1, condition: int = 0) -> None:
        super().__init__(classifier, masks, condition)
        levels = classifier.levels
        self.layers = tuple(level.name for level in levels)
        self.joins = _joins(levels, min(classifier.input_size))
        widths = [min(NARROWEST * 2**place, WIDEST) for place in reversed(range(len(self.joins) + 1))]
        joined = [0 if place is None else levels[place].channels for place in self.joins] + [len(classifier.mean)]
        before = [levels[-1].channels, *widths[:-1]]
        self.blocks = nn.ModuleList(
            Convolutions((a + b, c, c), condition) for a, b, c in zip(before, joined, widths, strict=True)
        )
        self.head = nn.Conv2d(NARROWEST, masks, 1)
        nn.init.kaiming_normal_(self.head.weight)
        self.patching = nn.Conv2d(masks, masks, 1, groups=masks)

    def decode(self, images: Images, features: list[Tensor], condition: Tensor | None) -> Float[Tensor, "rn m h w"]:
        rows = 1 if condition is None else condition.shape[0] // images.shape[0]
        x = repeated_rows(features[-1], rows)
        joined = [None if place is None else features[place] for place in self.joins]
        for block, part in zip(self.blocks, [*joined, images], strict=True):
            finer = part is not None and part.shape[-2] > x.shape[-2]
            doubled = [min(2 * cells, side) for cells, side in zip(x.shape[-2:], images.shape[-2:], strict=True)]
            size = part.shape[-2:] if part is not None and finer else doubled
            parts = [] if part is None else [repeated_rows(fitted(part, size, "bilinear"), rows)]
            x = block(torch.cat([fitted(x, size), *parts], 1), condition)
        return self.patching(self.head(x))


def _joins(levels: Sequence[Level], side: int) -> list[int | None]:
    """The level that each block but the last joins, from coarse to fine; None where it joins none."""
    cells, joins = min(levels[-1].grid), list[int | None]()
    for place in reversed(range(len(levels) - 1)):
        while min(levels[place].grid) >= 3 * cells:
            cells, joins = 2 * cells, [*joins, None]
        cells = min(levels[place].grid) if min(levels[place].grid) > cells else min(2 * cells, side)
        joins.append(place)
    while side >= 3 * cells:
        cells, joins = 2 * cells, [*joins, None]
    return joins


class LightDecoder(MaskDecoder):
    """A decoder that costs a few hundredths of the network: 24 channels, and masks of a quarter of the image's height.

    Levels with cells of less than four pixels are left out. Each level becomes 24 channels by a 1 x 1 convolution. From
    coarse to fine, what is there is enlarged to the next grid, the levels of this grid are added, and a 3 x 3 convolution
    follows. The image is added to the last grid by a convolution of its 4 x 4 patches, so that fine edges are known also
    where all levels are coarse.
    """

    def __init__(self, classifier: Classifier, masks: int = 1, condition: int = 0) -> None:
        super().__init__(classifier, masks, condition)
        side = min(LIGHT_STRIDE, classifier.levels[-1].stride)
        levels = [level for level in classifier.levels if level.stride >= side]
        self.layers = tuple(level.name for level in levels)
        self.laterals = nn.ModuleList(nn.Conv2d(level.channels, LIGHT_WIDTH, 1) for level in levels)
        self.stem = nn.Conv2d(len(classifier.mean), LIGHT_WIDTH, side, side)
        grids = sorted({level.grid for level in levels})
        self.adds = [[place for place, level in enumerate(levels) if level.grid == grid] for grid in grids]
        self.adds += [[] for _ in range(int(log2(levels[0].stride / side)))]
        self.blocks = nn.ModuleList(Convolutions((LIGHT_WIDTH, LIGHT_WIDTH), condition) for _ in self.adds)
        self.head = nn.Conv2d(LIGHT_WIDTH, masks, 1)

    def decode(self, images: Images, features: list[Tensor], condition: Tensor | None) -> Float[Tensor, "rn m gh gw"]:
        rows = 1 if condition is None else condition.shape[0] // images.shape[0]
        thin = [lateral(grid) for lateral, grid in zip(self.laterals, features, strict=True)]
        parts = [[thin[place] for place in places] for places in self.adds]
        parts[-1].append(self.stem(images))
        x = None
        for block, added in zip(self.blocks, parts, strict=True):
            size = added[-1].shape[-2:] if added or x is None else [2 * cells for cells in x.shape[-2:]]
            total = (
                repeated_rows(torch.stack([fitted(part, size, "bilinear") for part in added]).sum(0), rows) if added else 0
            )
            x = block(total if x is None else fitted(x, size) + total, condition)
        return self.head(x)


def decoder(kind: DecoderKind, classifier: Classifier, masks: int = 1, condition: int = 0) -> MaskDecoder:
    """A new decoder of the classifier's features, with logits of so many ``masks`` for each image."""
    return (LightDecoder if kind == "light" else PublishedDecoder)(classifier, masks, condition)


def fitted(x: Tensor, size: Sequence[int], mode: Literal["nearest", "bilinear"] = "nearest") -> Tensor:
    """The map on a grid of another size; itself where it has this size."""
    return x if tuple(x.shape[-2:]) == tuple(size) else interpolate(x, tuple(size), mode=mode)


def repeated_rows(x: Tensor, times: int) -> Tensor:
    """Each row so many times, one after the other."""
    return x if times == 1 else x.repeat_interleave(times, 0)
