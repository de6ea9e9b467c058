"""RISE (Petsiuk et al., 2018), equation 6."""

from collections.abc import Iterator
from typing import Annotated

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seewhy.errors import SeewhyError
from seewhy.explainers.base import ClassMaps
from seewhy.explainers.classes import as_column
from seewhy.explainers.options import (
    BaselineOption,
    BatchSize,
    PrecisionOption,
    RemovalOption,
    Samples,
    Seed,
    SelectorOption,
)
from seewhy.explainers.perturbation.random_masks import (
    ROUND,
    Border,
    Cells,
    KeepProbability,
    Masks,
    MaskStream,
    Normalization,
    under_masks,
)
from seewhy.explainers.selectors import Wanted, select, with_similar
from seewhy.maps import pearson
from seewhy.masking.baselines import baseline_images
from seewhy.masking.tokens import network_grid, network_patches, value_of
from seewhy.options import AtLeast
from seewhy.types import Attribution, ClassAttribution, Images, Logits, Targets

Sums = Float[Tensor, "k hw"]


class RISE(ClassMaps, name="rise", family="perturbation", paper="petsiuk2018rise"):
    """Mean score of the target over random masks that keep the pixel. Not negative.

    The method asks for logits alone, so it explains any classifier. Every image meets the same masks. Several classes come
    for the passes of one. (With the selector "logit" or "contrast" the map may be negative.)

    With a ``tolerance`` each image, and each class, stops for itself. After every 256 masks the map of the even masks and
    the map of the odd ones are compared; a class is done when their Pearson correlation r is at least 1 - tolerance. The
    map returned is that of all masks seen, whose correlation with another such map is about 2r / (1 + r)
    (Spearman-Brown). ``explain_counted`` also returns how many masks each image took.

    Where paper and code differ: masks act on the normalized image, as in the code (``baseline="mean_color"``); "black" is
    the paper's equation. The code's upsampling mirrors the cells at the border (``border="mirror"``), so that a border
    pixel is a mixture of two cells; here the outer cells reach to the border.

    Args:
        samples: masks, at most. The paper has 4000 for VGG-16 and 8000 for ResNet-50.
        cells: cells along each side of the image, the paper's h = w = 7.
        keep_probability: probability that a mask keeps a cell, the paper's p.
        normalization: divide the sum by the sum of the masks that is "expected", N p (eq. 6), or by each pixel's "own"
            sum. The second is a mean proper: less noise for few masks.
        tolerance: 0 takes all samples. 0.1 stops where the halves correlate by 0.9: most often soon with "own"
            normalization, seldom before 4000 masks with the "expected" one.
        masks: own masks (m, h, w) in [0, 1] in place of random ones. keep_probability is then their mean.
        removal: with "tokens" or "mask_tokens" a mask keeps or removes whole patches of the network, each with the cell at
            its center. Own masks must do so, too.
        border: the outer cells "repeat" to the border, or "mirror" there as in the released code.
        batch_size: masked images that are run at a time. More than 256 have no effect.
    """

    samples: Samples = 4000
    cells: Cells = 7
    keep_probability: KeepProbability = 0.5
    normalization: Normalization = "expected"
    selector: SelectorOption = "probability"
    tolerance: Annotated[float, AtLeast(0)] = 0.0
    masks: Tensor | None = None
    border: Border = "repeat"
    baseline: BaselineOption = "mean_color"
    removal: RemovalOption = "pixels"
    seed: Seed = 0
    precision: PrecisionOption = "fp32"
    batch_size: BatchSize = 32

    def __post_init__(self) -> None:
        masks = self.masks
        if masks is not None and (masks.ndim != 3 or not len(masks) or not 0 <= masks.amin() <= masks.amax() <= 1):
            raise SeewhyError(
                f"masks must be (m, h, w) in [0, 1], got {tuple(masks.shape)}: bring them there, or leave them out"
            )

    def maps(self, images: Images, classes: Tensor) -> ClassAttribution:
        return self._counted(images, classes)[0]

    def explain_counted(self, images: Images, targets: Targets) -> tuple[Attribution, Int[Tensor, "n"]]:
        """The maps, and how many masks each of them took."""
        self.classifier.check(images, targets)
        maps, used = self._counted(images.detach(), as_column(targets))
        return maps[:, 0], used[:, 0]

    def _counted(self, images: Images, classes: Tensor) -> tuple[ClassAttribution, Int[Tensor, "n k"]]:
        if self.masks is not None and self.masks.shape[1:] != images.shape[2:]:
            raise SeewhyError(
                f"masks of {tuple(self.masks.shape[1:])} do not fit images of {tuple(images.shape[2:])}: resize them"
            )
        removed = baseline_images(self.baseline, self.classifier, images)
        wanted = with_similar(self.classifier, images, classes, self.selector, self.batch_size)
        with self.classifier.running(self.precision):
            found = [self._maps_of(*one) for one in zip(images, removed, wanted, strict=True)]
        maps, used = zip(*found, strict=True)
        return torch.stack(maps).to(images.dtype).unflatten(2, images.shape[2:]), torch.stack(used)

    def _maps_of(self, image: Tensor, removed: Tensor, wanted: Wanted) -> tuple[Sums, Int[Tensor, "k"]]:
        """One image: the classes' sums of masks by scores, in halves if these are compared. Done classes take no more."""
        halves, count = 2 if self.tolerance else 1, 0
        dtype = torch.promote_types(image.dtype, torch.float32)  # thousands of terms
        sums = image.new_zeros(halves, len(wanted), image[0].numel(), dtype=dtype)
        weights = image.new_zeros(halves, 1, image[0].numel(), dtype=dtype)
        going, used = torch.ones_like(wanted[:, 0], dtype=torch.bool), torch.zeros_like(wanted[:, 0])

        def finish(done: Tensor) -> None:
            sums[0, done] = sums[:, done].sum(0) / self._total(weights.sum(0), count)

        for masks in self._masks(image):
            scores = (self._scores(image, removed, masks, wanted) * going).to(dtype)
            shown = masks.flatten(1).to(dtype)
            for j in range(halves):
                mine = slice((j - count) % halves, None, halves)
                with torch.autocast(image.device.type, enabled=False):  # sums keep their type while the network does not
                    sums[j].addmm_(scores[mine].T, shown[mine])
                weights[j] += shown[mine].sum(0)
            count += len(masks)
            used += going * len(masks)
            if self.tolerance and count % ROUND == 0:
                even, odd = (sums[j] / self._total(weights[j], count // 2) for j in range(2))
                done = going & (pearson(even, odd) >= 1 - self.tolerance)
                finish(done)
                going = going & ~done
                if not going.any():
                    break
        finish(going)
        return sums[0], used

    def _masks(self, image: Tensor) -> Iterator[Masks]:
        if self.masks is not None:
            rounds = self.masks.split(ROUND)
            return (some.to(image) for drawn in rounds for some in drawn.split(self.batch_size))
        patches = None if self.removal == "pixels" else network_grid(self.removal, self.classifier, image[None])
        stream = MaskStream(self.samples, self.cells, self.keep_probability, self.seed, self.border, patches)
        return stream.batches(image, self.batch_size)

    def _scores(self, image: Tensor, removed: Tensor, masks: Masks, wanted: Wanted) -> Float[Tensor, "m k"]:
        """The score of each class, for the image under each mask."""
        if self.removal == "pixels":
            logits = self.classifier.logits(self.classifier.fast_layout(under_masks(image, masks, removed)))
        else:
            logits = self._logits_without_patches(image, masks)
        return select(self.classifier, logits, wanted.expand(len(logits), -1, -1), self.selector)

    def _logits_without_patches(self, image: Tensor, masks: Masks) -> Logits:
        patches = network_patches(self.removal, self.classifier, image[None])
        rows = torch.zeros(len(masks), dtype=torch.long, device=masks.device)
        kept = torch.stack([patches.means(mask[None])[0] for mask in masks]) > 0.5
        if self.masks is not None and not torch.equal(patches.pixels(rows, kept).to(masks), masks):
            raise SeewhyError(
                f"removal={self.removal} takes masks of 0 and 1 that are the same within each of the {patches.p} patches: "
                "make them so, or give removal=pixels"
            )
        return value_of(self.removal, self.classifier, "black")(image[None], patches)(rows, kept)

    def _total(self, weights: Float[Tensor, "1 hw"], count: int) -> Float[Tensor, "1 hw"] | float:
        """What a sum is divided by: eq. 6; or each pixel's own sum of masks (1 where no mask kept it: the sum is 0)."""
        if self.normalization == "expected":
            return count * self.keep_probability
        return torch.where(weights > 0, weights, 1)
