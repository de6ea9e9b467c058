"""RELAX (Wickstrøm et al., 2023): the importance R and its uncertainty U."""

from dataclasses import KW_ONLY

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cosine_similarity

from seewhy.explainers.base import Method
from seewhy.explainers.options import BaselineOption, BatchSize, PrecisionOption, Samples, Seed
from seewhy.explainers.perturbation.random_masks import (
    Border,
    Cells,
    KeepProbability,
    MaskStream,
    Normalization,
    under_masks,
)
from seewhy.masking.baselines import baseline_images
from seewhy.types import Attribution, Images, Targets


class RelaxMaps(Method):
    """Base of RELAX and U-RELAX: their common options, and the importance R with its uncertainty U."""

    _: KW_ONLY  # the last parameters, behind those of the subclass
    samples: Samples = 3000
    cells: Cells = 7
    keep_probability: KeepProbability = 0.5
    normalization: Normalization = "own"
    border: Border = "repeat"
    baseline: BaselineOption = "mean_color"
    seed: Seed = 0
    precision: PrecisionOption = "fp32"
    batch_size: BatchSize = 32

    def explain_with_uncertainty(self, images: Images, targets: Targets) -> tuple[Attribution, Attribution]:
        """The importance R and its uncertainty U."""
        self.classifier.check(images, targets)
        images = images.detach()
        removed = baseline_images(self.baseline, self.classifier, images)
        with self.classifier.running(self.precision):
            both = torch.stack([self._maps_of(*pair) for pair in zip(images, removed, strict=True)], 1)
        importance, uncertainty = both.to(images.dtype)
        return importance, uncertainty

    def _maps_of(self, image: Float[Tensor, "c h w"], removed: Float[Tensor, "c h w"]) -> Float[Tensor, "two h w"]:
        """R and U of one image, from the sums of m, s m and s^2 m."""
        sums = torch.zeros(3, image[0].numel(), dtype=torch.float64, device=image.device)
        whole = self.classifier.embed(self.classifier.fast_layout(image[None])).double()
        stream = MaskStream(self.samples, self.cells, self.keep_probability, self.seed, self.border)
        for masks in stream.batches(image, self.batch_size):
            seen = self.classifier.fast_layout(under_masks(image, masks, removed))
            s = cosine_similarity(self.classifier.embed(seen).double(), whole)
            sums.addmm_(torch.stack([torch.ones_like(s), s, s**2]), masks.flatten(1).double())
        weight, first, second = sums
        total = self.samples * self.keep_probability if self.normalization == "expected" else weight.clamp_min(1e-12)
        importance = first / total
        uncertainty = (second - 2 * importance * first + importance**2 * weight) / total
        rounding = 1e-12 * second / total  # of the cosines, in float32, and of the difference of sums
        return torch.stack([importance, torch.where(uncertainty > rounding, uncertainty, 0)]).unflatten(1, image.shape[1:])


class Relax(RelaxMaps, name="relax", family="perturbation", paper="wickstrom2023relax", class_specific=False):
    """Mean similarity of the embedding to the whole image's, over random masks that keep the pixel. Not negative.

    It explains the embedding, so the map is the same for every class. (Where embeddings may be negative, as those of a
    transformer, so may a cosine be, and the map.)

    The masks are m_i, and s_i is the cosine of the embeddings of x ⊙ m_i and x. The importance R is the mean of s_i weighted
    by m_i, and the uncertainty U the mean of (s_i - R)^2 so weighted; ``explain_with_uncertainty`` returns both. These are
    the running estimates of the released code, whose U is not divided by the sum of the masks. The paper divides by the
    number of masks: for R that is ``normalization="expected"``, up to the constant p; its U is then taken around p R.

    Deviations: masks fade to the mean color, as the released code's do. That code stretches 7 x 7 cells to the image and
    moves them by up to 6 pixels; here the masks are RISE's.

    Args:
        samples: masks, the released 30 batches of 100.
        batch_size: masked images that are run at a time. More than 256 have no effect.
    """

    def explain(self, images: Images, targets: Targets) -> Attribution:
        return self.explain_with_uncertainty(images, targets)[0]
