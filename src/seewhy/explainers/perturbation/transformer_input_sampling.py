"""Transformer input sampling, TIS (Englebert et al., 2023): scores of sets of patches that its own features make."""

from typing import Annotated

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seewhy.errors import UnsuitedError, cause
from seewhy.explainers.base import ClassMaps
from seewhy.explainers.options import BatchSize, PrecisionOption, Seed, SelectorOption
from seewhy.explainers.selectors import Wanted, select, with_similar
from seewhy.maps import upsample
from seewhy.options import Above, AtLeast, AtMost
from seewhy.types import ClassAttribution, Images

LLOYD_ROUNDS = 100
"""Rounds of k-means, at most."""

ChannelPoints = Float[Tensor, "d p"]


class TransformerInputSampling(
    ClassMaps, name="transformer_input_sampling", family="perturbation", paper="englebert2023tis"
):
    """Mean score of the target over sets of patches that keep the patch; the others leave the sequence. Not negative.

    A channel of the output of any block is a point, with a coordinate for each patch. K-means finds centers of all channels
    of all blocks. Each center is a set: the patches where it is highest. The network runs on each set alone: the other
    patches are dropped, and nothing is painted over. The map is the mean score of the sets that have the patch, which
    corrects for how often it is in a set, and is enlarged to the image. (With the selector "logit" it may be negative.)

    One image takes one pass, and for each set a pass over a ``keep_ratio`` of the patches. Several classes come for the
    passes of one. A network with fewer channels than ``masks`` has as many sets as channels.

    Defined for transformers whose patches can be dropped. The released code scales the map to [0, 1].

    Args:
        masks: number of sets, the paper's 1024.
        keep_ratio: share of the patches that a set keeps, the paper's 0.5.
        seed: draws the channels with which k-means begins.
        batch_size: sets that are run at a time.
    """

    masks: Annotated[int, AtLeast(1)] = 1024
    keep_ratio: Annotated[float, Above(0), AtMost(1)] = 0.5
    selector: SelectorOption = "probability"
    seed: Seed = 0
    precision: PrecisionOption = "fp32"
    batch_size: BatchSize = 32

    def __post_init__(self) -> None:
        try:
            _ = self.classifier.token_dropping
        except UnsuitedError as error:
            why = cause(error).removesuffix(": use removal=pixels")
            raise UnsuitedError(
                f"{why}: transformer_input_sampling is not defined for it. rise, vit_cx, occlusion and other methods are"
            ) from error

    def maps(self, images: Images, classes: Int[Tensor, "n k"]) -> ClassAttribution:
        """The sets of an image come from a pass of this image alone, so that no other image moves a center."""
        wanted = with_similar(self.classifier, images, classes, self.selector, self.batch_size)
        coarse = [self._patches(*one) for one in zip(images.split(1), wanted, strict=True)]
        grid = self.classifier.patch_grid(images)
        return upsample(torch.stack(coarse).unflatten(2, grid), images.shape[-2:])

    def _patches(self, image: Float[Tensor, "one c h w"], wanted: Wanted) -> Float[Tensor, "k p"]:
        """The value of each patch, for each class."""
        kept = highest(k_means(self._activations(image), self.masks, self.seed), self.keep_ratio)
        with self.classifier.running(self.precision):
            scores = torch.cat([self._scores(image, some, wanted) for some in kept.split(self.batch_size)])
        shown = kept.to(scores)
        return scores.T @ shown / shown.sum(0).clamp_min(1)

    def _activations(self, image: Float[Tensor, "one c h w"]) -> ChannelPoints:
        """What the blocks return for the patches: a point for each channel of each block."""
        dropping = self.classifier.token_dropping
        with self.classifier.running(self.precision), self.classifier.capture(*dropping.blocks) as outputs:
            self.classifier.logits(image)
        return torch.cat([outputs[name][0, dropping.reading.prefix :].T.to(image) for name in dropping.blocks])

    def _scores(self, image: Float[Tensor, "one c h w"], kept: Bool[Tensor, "m p"], wanted: Wanted) -> Float[Tensor, "m k"]:
        """The score of each class on each set of patches alone."""
        rows = torch.zeros(len(kept), dtype=torch.long, device=kept.device)
        logits = self.classifier.kept_logits(image, kept, rows)
        return select(self.classifier, logits, wanted.expand(len(kept), -1, -1), self.selector)


def k_means(points: ChannelPoints, k: int, seed: int) -> Float[Tensor, "k p"]:
    """Centers that are the means of the points nearest to them, by Lloyd's rounds from k of the points, drawn by the seed.

    A center that no point is nearest to stays where it is. Fewer points than k are the centers themselves.
    """
    drawn = torch.randperm(len(points), generator=torch.Generator().manual_seed(seed))[:k].to(points.device)
    centers, before = points[drawn], None
    for _ in range(LLOYD_ROUNDS):
        nearest = (centers.square().sum(1) - 2 * points @ centers.T).argmin(1)
        if before is not None and torch.equal(nearest, before):
            break
        sums = torch.zeros_like(centers).index_add_(0, nearest, points)
        counts = nearest.bincount(minlength=len(centers))[:, None]
        centers, before = torch.where(counts > 0, sums / counts.clamp_min(1), centers), nearest
    return centers


def highest(centers: Float[Tensor, "m p"], keep_ratio: float) -> Bool[Tensor, "m p"]:
    """For each center the share of the patches where it is highest, one at least; of equal ones the first."""
    count = max(1, int(keep_ratio * centers.shape[1]))
    order = centers.argsort(dim=1, descending=True, stable=True)[:, :count]
    return torch.zeros_like(centers, dtype=torch.bool).scatter_(1, order, True)
