"""Occlusion (Zeiler & Fergus, 2014)."""

from dataclasses import dataclass
from math import ceil
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.classifier.precision import Precision
from seewhy.errors import SeewhyError
from seewhy.explainers.base import EXPLAINERS, Family
from seewhy.explainers.classes import column, for_each
from seewhy.explainers.selectors import Selector, select_all
from seewhy.masking.baselines import Baseline, baseline_images
from seewhy.types import Attribution, ClassAttribution, Classes, Images, Targets


@EXPLAINERS.register("occlusion")
@dataclass(frozen=True)
class Occlusion:
    """How much the score falls when a sliding window hides a place, averaged over the windows that cover a pixel. Signed.

    Windows start at every ``stride``-th pixel until one reaches the border; that one is cut there, as in Captum. The paper
    draws the score itself, one value a position of its gray square; here the fall is credited to the pixels.

    Args:
        classifier: what is explained.
        window: side in pixels of the square that is hidden; None is a seventh of the image's shorter side (32 of 224).
        stride: pixels from one window to the next, at most ``window``, so that no pixel is left out; None is half a
            window. The cost is one pass a window: 169 for an image of 224 x 224.
        baseline: what is put into the window (see ``masking.baseline_images``); the paper's is gray.
        selector: the score: the target's "probability", as in the paper, its "logit", "log_probability", "log_odds", or
            "contrast" to the highest other. A probability near 1 hardly falls for any window; a logit does.
        precision: "bf16" runs the network in bfloat16; the map stays in the images' type.
        batch_size: occluded images that are made and run at a time.
    """

    family: ClassVar[Family] = "perturbation"
    class_specific: ClassVar[bool] = True
    paper: ClassVar[str] = "zeiler2014visualizing"

    classifier: Classifier
    window: int | None = None
    stride: int | None = None
    baseline: Baseline | float | Tensor = "black"
    selector: Selector = "probability"
    precision: Precision = "fp32"
    batch_size: int = 32

    def explain(self, images: Images, targets: Targets) -> Attribution:
        return self._maps(images, column(targets))[:, 0]

    def explain_classes(self, images: Images, classes: Classes) -> ClassAttribution:
        return self._maps(images, for_each(images, classes))

    def _maps(self, images: Images, classes: Int[Tensor, "n k"]) -> ClassAttribution:
        """Maps of each image's own classes, from the same occluded passes."""
        self.classifier.check_classes(images, classes)
        images, (window, stride) = images.detach(), self._sizes(images)
        rows, columns = (covers(side, window, stride).to(images) for side in images.shape[-2:])
        removed = baseline_images(self.baseline, self.classifier, images)
        across, each = len(columns), len(rows) * len(columns)
        falls = images.new_zeros(len(images), each, classes.shape[1])
        with self.classifier.running(self.precision):
            whole = torch.cat([self._scores(*some) for some in self._chunks(images, classes)])
            for pairs in torch.arange(len(images) * each, device=images.device).split(self.batch_size):
                i, place = pairs // each, pairs % each
                hidden = rows[place // across, :, None] * columns[place % across, None, :] > 0
                occluded = torch.where(hidden[:, None], removed[i], images[i])
                falls[i, place] = whole[i] - self._scores(occluded, classes[i])
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

    def _chunks(self, images: Images, classes: Int[Tensor, "n k"]) -> list[tuple[Tensor, Tensor]]:
        return list(zip(images.split(self.batch_size), classes.split(self.batch_size), strict=True))

    def _scores(self, images: Images, classes: Int[Tensor, "n k"]) -> Float[Tensor, "n k"]:
        logits = self.classifier.logits(self.classifier.fast_layout(images))
        return select_all(self.classifier, logits, self.selector).gather(1, classes)


def covers(side: int, window: int, stride: int) -> Int[Tensor, "places side"]:
    """1 where a window along one side of the image covers the pixel; the last one is cut at the border."""
    start = torch.arange(ceil((side - window) / stride) + 1)[:, None] * stride
    pixel = torch.arange(side)
    return ((pixel >= start) & (pixel < start + window)).int()
