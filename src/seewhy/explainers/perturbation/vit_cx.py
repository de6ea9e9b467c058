"""ViT-CX (Xie et al., 2023): features of a layer are masks, and a mask counts by its causal impact on the score."""

from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.cluster.hierarchy import fcluster, linkage
from torch import Tensor

from seewhy.explainers.base import ClassMaps
from seewhy.explainers.options import (
    BaselineOption,
    BatchSize,
    LayerOption,
    PrecisionOption,
    RemovalOption,
    Seed,
    SelectorOption,
)
from seewhy.explainers.perturbation.random_masks import Masks, under_masks
from seewhy.explainers.selectors import Wanted, scores_of, select, with_similar
from seewhy.maps import min_max, upsample
from seewhy.masking.baselines import baseline_images
from seewhy.masking.tokens import must_remove, network_patches, value_of
from seewhy.options import AtLeast, AtMost
from seewhy.types import ClassAttribution, Images


class ViTCX(ClassMaps, name="vit_cx", family="perturbation", paper="xie2023vitcx"):
    """Features as masks, alike ones merged, each weighted by its causal impact on the score. Seldom negative.

    Every channel of the layer is enlarged to the image and scaled to [0, 1]: that is a mask. Masks whose cosine distance is
    below ``threshold`` are clustered (agglomerative, complete linkage). The sum of a cluster's masks, scaled to [0, 1], is
    one mask M. Its causal impact is f(x ⊙ M + z) - f(x + z) + f(x), where f is the target's score and z is Gaussian noise
    times 1 - M: the second term takes away what the noise alone does. The map is the mean of the impacts, weighted at each
    pixel by the masks there. The division by the sum of the masks is the paper's correction of coverage.

    The method was made for vision transformers. It takes the features of any network, also of a convolutional one. A channel
    that is constant masks nothing and is left out (the released code makes NaN of it). A pixel that no mask keeps is 0. The
    released code also divides the map by the number of masks, a constant of each image.

    One image takes 1 + 2 m passes for m clusters, 1 + m without noise. Several classes come for the passes of one.

    Args:
        threshold: cosine distance below which masks are merged. 0 merges equal masks only.
        noise: standard deviation of the noise, in units of the normalized image, as published. 0 leaves the noise out.
        baseline: the paper masks the normalized image, which is "mean_color".
        removal: with "tokens" or "mask_tokens" a mask keeps the patches of the network of which it keeps more than half, and
            the one of which it keeps most. Nothing is painted over, so there is no noise, and C = f(kept patches).
        batch_size: masked copies of an image that are run at a time.
    """

    layer: LayerOption = None
    threshold: Annotated[float, AtLeast(0), AtMost(1)] = 0.1
    noise: Annotated[float, AtLeast(0)] = 0.1
    selector: SelectorOption = "probability"
    baseline: BaselineOption = "mean_color"
    removal: RemovalOption = "pixels"
    seed: Seed = 0
    precision: PrecisionOption = "fp32"
    batch_size: BatchSize = 32

    def __post_init__(self) -> None:
        must_remove(self.classifier, self.removal)

    def maps(self, images: Images, classes: Int[Tensor, "n k"]) -> ClassAttribution:
        """The clusters of an image come from a pass of this image alone, so that no other image moves a channel."""
        removed = baseline_images(self.baseline, self.classifier, images)
        wanted = with_similar(self.classifier, images, classes, self.selector, self.batch_size)
        return torch.stack([self._maps_of(*one) for one in zip(images, removed, wanted, strict=True)])

    def _maps_of(
        self, image: Float[Tensor, "c h w"], removed: Float[Tensor, "c h w"], wanted: Wanted
    ) -> Float[Tensor, "k h w"]:
        features, score = self._features(image, wanted)
        masks = cluster_masks(upsample(features, image.shape[1:]), self.threshold)
        impacts, total = self._impacts(image, removed, masks, wanted, score), masks.sum(0)
        return torch.einsum("mk,mhw->khw", impacts, masks) / torch.where(total > 0, total, 1)

    def _features(
        self, image: Float[Tensor, "c h w"], wanted: Wanted
    ) -> tuple[Float[Tensor, "d gh gw"], Float[Tensor, "one k"]]:
        """The layer's features on their grid, and the score f(x) of each class."""
        layer, one = self.layer or self.classifier.layer, image[None]
        with self.classifier.running(self.precision), self.classifier.capture(layer) as outputs:
            score = self._scores(one, wanted)
            return self.classifier.as_grid(outputs[layer], one, layer)[0].to(image.dtype), score

    def _impacts(
        self,
        image: Float[Tensor, "c h w"],
        removed: Float[Tensor, "c h w"],
        masks: Masks,
        wanted: Wanted,
        score: Float[Tensor, "one k"],
    ) -> Float[Tensor, "m k"]:
        """f(x ⊙ M + z) - f(x + z) + f(x) of each class for each mask M. ``score`` is f(x)."""
        std = self.noise * image.new_tensor(self.classifier.std)[:, None, None]
        generator = torch.Generator().manual_seed(self.seed)
        impacts = []
        with self.classifier.running(self.precision):
            for some in masks.split(self.batch_size):
                if self.removal != "pixels":
                    impacts.append(self._without_patches(image[None], some, wanted))
                    continue
                seen, beside = under_masks(image, some, removed), score
                if self.noise:
                    drawn = torch.stack([torch.randn(image.shape, generator=generator, dtype=torch.float32) for _ in some])
                    z = std * drawn.to(image) * (1 - some)[:, None]
                    seen, beside = seen + z, self._scores(image + z, wanted)
                impacts.append(self._scores(seen, wanted) - beside + score)
        return torch.cat(impacts)

    def _without_patches(self, image: Float[Tensor, "one c h w"], masks: Masks, wanted: Wanted) -> Float[Tensor, "m k"]:
        """The score of each class on the patches that each mask keeps."""
        patches = network_patches(self.removal, self.classifier, image)
        means = torch.stack([patches.means(mask[None])[0] for mask in masks])
        kept = (means > 0.5) | (means == means.amax(1, keepdim=True))
        rows = torch.zeros(len(masks), dtype=torch.long, device=masks.device)
        logits = value_of(self.removal, self.classifier, self.baseline)(image, patches)(rows, kept)
        return select(self.classifier, logits, wanted.expand(len(masks), -1, -1), self.selector)

    def _scores(self, images: Images, wanted: Wanted) -> Float[Tensor, "n k"]:
        return scores_of(self.classifier, images, wanted.expand(len(images), -1, -1), self.selector)


def cluster_masks(maps: Float[Tensor, "d h w"], threshold: float) -> Masks:
    """The masks of one image: maps scaled to [0, 1], those within a cosine distance of ``threshold`` summed, scaled again.

    Constant maps are left out; where there are no others, the one mask is 0 everywhere. The clusters are in the order of
    their first maps.
    """
    masks = min_max(maps)
    varies = masks.amax((1, 2)) > 0
    masks = masks if varies.all() else masks[varies] if varies.any() else masks[:1]
    flat = masks.flatten(1)
    products = flat @ flat.T
    length = products.diagonal().sqrt().clamp_min(torch.finfo(flat.dtype).tiny)
    labels = complete_linkage(1 - products / torch.outer(length, length), threshold)
    sums = flat.new_zeros(int(labels.max()) + 1, flat.shape[1]).index_add_(0, labels, flat)
    return min_max(sums.unflatten(1, maps.shape[1:]))


def complete_linkage(distances: Float[Tensor, "d d"], threshold: float) -> Int[Tensor, "d"]:
    """The cluster of each item, where the two items of a cluster that are farthest apart are within ``threshold``.

    Agglomerative: the two nearest clusters are merged first. Clusters are numbered in the order of their first items.
    """
    if len(distances) < 2:
        return torch.zeros(len(distances), dtype=torch.long, device=distances.device)
    first, second = torch.triu_indices(len(distances), len(distances), offset=1)
    pairs = distances[first, second].double().clamp_min(0)
    found = fcluster(linkage(pairs.cpu().numpy(), "complete"), threshold, "distance")
    _, earliest, member = np.unique(found, return_index=True, return_inverse=True)
    return torch.from_numpy(earliest.argsort().argsort()[member]).to(distances.device)
