"""Score-CAM (Wang et al., 2020): the channel-wise increase of confidence, and the paper's algorithm."""

from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import interpolate

from seewhy.explainers.base import ClassMaps
from seewhy.explainers.options import BaselineOption, BatchSize, LayerOption, PrecisionOption, SelectorOption
from seewhy.explainers.selectors import Wanted, scores_of, with_similar
from seewhy.maps import min_max, upsample
from seewhy.masking.baselines import baseline_images, blend
from seewhy.options import AtLeast
from seewhy.types import ClassAttribution, FeatureMap, Images


class ScoreCAM(ClassMaps, name="score_cam", family="cam", paper="wang2020scorecam"):
    """Features, each weighted by the score of the image that it masks. Not negative.

    The published forms differ. The paper's algorithm takes a softmax over the channels of what each adds to the score, which
    is done here with logits, as in grad-cam and torchcam. Its text prefers probabilities, and its released code weighs by
    them as they are (``selector="probability", weights="released"``): probabilities under the softmax differ by a factor of
    e at most, and the map of any class is then close to the sum of all channels. grad-cam masks the *normalized* image
    (``baseline="mean_color"``) and enlarges masks otherwise (``align_corners=True``): with both the maps are equal.

    Args:
        weights: weights of the channels, from u = f(image under its mask) - f(removed image), with f the score: the
            "softmax" of u over the channels, "raw" u itself, or, "released", f(image under its mask) alone, and 0 for a
            constant channel.
        channels: number of channels that are run, those of the highest variance on the grid. The others are left out: an
            approximation, for so many passes. None is all channels, which is exact.
        align_corners: enlarge the masks so that the corners of grid and image meet. The map is enlarged without.
    """

    layer: LayerOption = None
    selector: SelectorOption = "logit"
    weights: Literal["softmax", "raw", "released"] = "softmax"
    channels: Annotated[int, AtLeast(1)] | None = None
    baseline: BaselineOption = "black"
    align_corners: bool = False
    precision: PrecisionOption = "fp32"
    batch_size: BatchSize = 32

    def maps(self, images: Images, classes: Int[Tensor, "n k"]) -> ClassAttribution:
        """All classes come from the same masked passes."""
        removed = baseline_images(self.baseline, self.classifier, images)
        wanted = with_similar(self.classifier, images, classes, self.selector, self.batch_size)
        parts = [t.split(self.batch_size) for t in (images, removed, wanted)]
        maps = []
        for some, without, wanted in zip(*parts, strict=True):
            with self.classifier.running(self.precision):
                features = self._features(some)
                weights = self._weights(some, without, features, wanted)
            coarse = torch.einsum("nkd,ndhw->nkhw", weights, features).relu()
            maps.append(upsample(coarse, images.shape[-2:]))
        return torch.cat(maps)

    def _features(self, images: Images) -> FeatureMap:
        layer = self.layer or self.classifier.layer
        with self.classifier.capture(layer) as outputs:
            self.classifier.logits(self.classifier.fast_layout(images))
        return self.classifier.as_grid(outputs[layer], images, layer).to(images.dtype)

    def _weights(self, images: Images, removed: Images, features: FeatureMap, wanted: Wanted) -> Float[Tensor, "n k d"]:
        """The weight of each channel for each class, ``batch_size`` masked images at a time."""
        chosen, varies = self._chosen(features), not_constant(features)
        without = scores_of(self.classifier, removed, wanted, self.selector)
        scores = without[:, :, None].repeat(1, 1, features.shape[1])  # a constant channel's mask is 0 everywhere
        image, channel = (chosen & varies).nonzero(as_tuple=True)
        for i, d in zip(image.split(self.batch_size), channel.split(self.batch_size), strict=True):
            if not len(i):
                break  # no channel varies
            maps = features[i, d][:, None]
            large = interpolate(maps, images.shape[-2:], mode="bilinear", align_corners=self.align_corners)[:, 0]
            masked = blend(images[i], min_max(large), removed[i])  # X o H, H = s(Up(A))
            scores[i, :, d] = scores_of(self.classifier, masked, wanted[i], self.selector)
        if self.weights == "released":
            return scores * (chosen & varies)[:, None]
        increase = scores - without[:, :, None]  # C(A) = f(X o H) - f(X_b)
        if self.weights == "raw":
            return increase * chosen[:, None]
        return increase.masked_fill(~chosen[:, None], -torch.inf).softmax(2)

    def _chosen(self, features: FeatureMap) -> Bool[Tensor, "n d"]:
        """The channels that are run: those of the highest variance."""
        variance = features.flatten(2).var(2, correction=0)
        rank = variance.argsort(dim=1, descending=True, stable=True).argsort(1)
        return rank < (self.channels or features.shape[1])


def not_constant(features: FeatureMap) -> Bool[Tensor, "n d"]:
    """Is there more than rounding in a channel?"""
    flat = features.flatten(2)
    return flat.amax(2) - flat.amin(2) > 16 * torch.finfo(flat.dtype).eps * flat.abs().amax(2)
