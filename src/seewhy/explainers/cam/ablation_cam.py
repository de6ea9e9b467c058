"""Ablation-CAM (Desai & Ramaswamy, 2020)."""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seewhy.classifier.suffix import Suffix, suffix_of
from seewhy.explainers.base import ClassMaps
from seewhy.explainers.options import BatchSize, LayerOption, PrecisionOption, SelectorOption
from seewhy.explainers.selectors import Wanted, finer, less_similar, select, similar_classes
from seewhy.maps import upsample
from seewhy.types import ClassAttribution, FeatureMap, Images, Logits


class AblationCAM(ClassMaps, name="ablation_cam", family="cam", paper="desai2020ablationcam"):
    """Features, each weighted by how much the target's logit falls without it. Not negative.

    A channel is removed by setting its grid to zero, as in the paper. Prefix tokens (class, registers) keep their values,
    since no map is made of them. (grad-cam writes a very low number unless the lowest feature is exactly zero, and into the
    class token too.) Only what follows the layer is run again. Where that is pooling and a linear layer, which is tried and
    not assumed, a fall is the channel's mean times its weight, and no pass is needed.

    Args:
        relative: divide the fall by the score, as published. A negative score then turns the map's sign around. The
            default keeps the fall in units of the score. A score of exactly 0 divides nothing.
        closed_form: use the closed form where it holds: for the selectors "logit" and "finer". The map is the same without,
            to rounding.
        precision: "bf16" runs the network in bfloat16. Falls are small differences, which rounding reaches first: on
            photographs their correlation with those of "fp32" was 0.999 at the end of a MobileNetV2, 0.994 in its middle.
    """

    layer: LayerOption = None
    relative: bool = False
    closed_form: bool = True
    precision: PrecisionOption = "fp32"
    batch_size: BatchSize = 32
    selector: SelectorOption = "logit"

    def maps(self, images: Images, classes: Int[Tensor, "n k"]) -> ClassAttribution:
        """All classes come from the same passes."""
        maps = []
        for some, wanted in zip(images.split(self.batch_size), classes.split(self.batch_size), strict=True):
            weights, features = self.weights(some, wanted)
            coarse = torch.einsum("nkd,ndhw->nkhw", weights, features).relu()  # L = ReLU(sum_k w_k A_k)
            maps.append(upsample(coarse, images.shape[-2:]))
        return torch.cat(maps)

    def weights(self, images: Images, classes: Int[Tensor, "n k"]) -> tuple[Float[Tensor, "n k d"], FeatureMap]:
        """The weight of each channel for each image's own classes, and the features; all images at a time."""
        with self.classifier.running(self.precision):
            suffix = suffix_of(self.classifier, self.classifier.live_layer(self.layer), images)
            adds_up = self.selector == "logit" or finer(self.selector) is not None
            linear = suffix.linear(rough=self.precision == "bf16") if self.closed_form and adds_up else None
            features = suffix.grid(suffix.recorded.features).to(images.dtype)
            wanted = similar_classes(self.classifier, suffix.logits, classes, self.selector)
            if linear is None:
                falls = falls_without(suffix, self.score, wanted, self.batch_size)
            else:  # y_c - y_c^k = W_ck mean(A_k)
                falls = less_similar(linear[wanted], self.selector) * features.mean((2, 3))[:, None]
            score = self.score(suffix.logits, wanted)[:, :, None]
        return falls / torch.where(score == 0, 1, score) if self.relative else falls, features

    def score(self, logits: Logits, wanted: Wanted) -> Float[Tensor, "r j"]:
        """The selected score of each row's own classes."""
        return select(self.classifier, logits, wanted, self.selector)


def falls_without(
    suffix: Suffix, score: Callable[[Logits, Wanted], Tensor], wanted: Wanted, batch_size: int
) -> Float[Tensor, "n k d"]:
    """y_c - y_c^k for every channel k, ``batch_size`` images without one at a time."""
    lean, whole = suffix.without_unread(), suffix.recorded.features
    n, d = suffix.grid(whole).shape[:2]
    falls = []
    for channels in torch.arange(d, device=whole.device).split(max(1, batch_size // n)):
        without = whole.repeat_interleave(len(channels), 0)  # row i * r + j: image i without channel j of r
        suffix.grid(without)[torch.arange(len(without)), channels.repeat(n)] = 0
        logits = lean.run(without)
        if lean is not suffix and not logits.isfinite().all():  # an output is read after all, for this channel
            lean, logits = suffix, suffix.run(without)
        left = score(logits, wanted.repeat_interleave(len(channels), 0)).unflatten(0, (n, -1))
        falls.append(score(suffix.logits, wanted)[:, None] - left)
    return torch.cat(falls, 1).transpose(1, 2)
