"""Occlusion (Zeiler & Fergus, 2014)."""

from math import ceil, gcd
from typing import Annotated

import torch
from jaxtyping import Int
from torch import Tensor

from seewhy.errors import SeewhyError
from seewhy.explainers.base import ClassMaps
from seewhy.explainers.options import BaselineOption, BatchSize, PrecisionOption, RemovalOption, SelectorOption
from seewhy.explainers.selectors import scores_of, select, with_similar
from seewhy.masking.players import divide
from seewhy.masking.tokens import value_of
from seewhy.options import AtLeast
from seewhy.types import ClassAttribution, Images


class Occlusion(ClassMaps, name="occlusion", family="perturbation", paper="zeiler2014visualizing"):
    """How much the score falls when a sliding window hides a place, averaged over the windows that cover a pixel. Signed.

    Windows start at every ``stride``-th pixel until one reaches the border, where it is cut, as in Captum. The paper draws
    the score itself, one value for each position of its gray square; here the fall is credited to the pixels.

    Args:
        window: side in pixels of the square that is hidden. None is a seventh of the image's shorter side (32 of 224).
        removal: "tokens" and "mask_tokens" hide whole patches of the network, of which window and stride are multiples.
        stride: pixels from one window to the next, at most ``window``, so that no pixel is left out. None is half a
            window. The cost is one pass a window: 169 for an image of 224 x 224.
        baseline: content of the window (see ``masking.baselines.baseline_images``). The paper's is gray.
        selector: the score: the target's "probability", as in the paper, its "logit", "log_probability", "log_odds",
            "contrast" to the highest other, or "finer". A probability near 1 hardly falls for any window; a logit does.
    """

    window: Annotated[int, AtLeast(1)] | None = None
    stride: Annotated[int, AtLeast(1)] | None = None
    baseline: BaselineOption = "black"
    removal: RemovalOption = "pixels"
    selector: SelectorOption = "probability"
    precision: PrecisionOption = "fp32"
    batch_size: BatchSize = 32

    def maps(self, images: Images, classes: Int[Tensor, "n k"]) -> ClassAttribution:
        """All classes come from the same occluded passes."""
        window, stride = self._sizes(images)
        rows, columns = (covers(side, window, stride).to(images) for side in images.shape[-2:])
        part = gcd(window, stride)  # a window holds whole squares of this side
        game = value_of(self.removal, self.classifier, self.baseline)(images, divide(images, "patches", part))
        across, each = len(columns), len(rows) * len(columns)
        wanted = with_similar(self.classifier, images, classes, self.selector, self.batch_size)
        falls = images.new_zeros(len(images), each, classes.shape[1])
        with self.classifier.running(self.precision):
            some = zip(images.split(self.batch_size), wanted.split(self.batch_size), strict=True)
            whole = torch.cat([scores_of(self.classifier, *pair, self.selector) for pair in some])
            for pairs in torch.arange(len(images) * each, device=images.device).split(self.batch_size):
                i, place = pairs // each, pairs % each
                hidden = rows[place // across, :, None] * columns[place % across, None, :] > 0
                logits = game(i, ~hidden[:, ::part, ::part].flatten(1))
                falls[i, place] = whole[i] - select(self.classifier, logits, wanted[i], self.selector)
        # a pixel's windows are those of its row times those of its column: their mean is a product of two means
        down, along = rows / rows.sum(0), columns / columns.sum(0)
        return torch.einsum("nabk,ah,bw->nkhw", falls.unflatten(1, (-1, across)), down, along)

    def _sizes(self, images: Images) -> tuple[int, int]:
        """Window and stride in pixels, for images of this size."""
        shorter = min(images.shape[-2:])
        window = max(1, shorter // 7) if self.window is None else self.window
        stride = max(1, window // 2) if self.stride is None else self.stride
        if not 1 <= window <= shorter:
            raise SeewhyError(f"occlusion cannot hide window={window} of {shorter} pixels: give 1 to {shorter}")
        if not 1 <= stride <= window:
            raise SeewhyError(f"occlusion with stride={stride} and a window of {window} skips pixels: give 1 to {window}")
        return window, stride


def covers(side: int, window: int, stride: int) -> Int[Tensor, "places side"]:
    """1 where a window along one side of the image covers the pixel; the last one is cut at the border."""
    start = torch.arange(ceil((side - window) / stride) + 1)[:, None] * stride
    pixel = torch.arange(side)
    return ((pixel >= start) & (pixel < start + window)).int()
