"""RELAX (Wickstrøm et al., 2023): the importance R and its uncertainty U."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import cosine_similarity

from seewhy.classifier.classifier import Classifier
from seewhy.classifier.precision import Precision
from seewhy.explainers.base import EXPLAINERS, Family
from seewhy.explainers.perturbation.random_masks import Border, MaskStream, Normalization, masked
from seewhy.masking.baselines import Baseline, baseline_images
from seewhy.types import Attribution, Images, Targets


@EXPLAINERS.register("relax")
@dataclass(frozen=True)
class Relax:
    """Mean similarity of the embedding to the whole image's, over random masks that keep the pixel. Not negative.

    It explains the embedding, so the map is the same for every class. (Where embeddings may be negative, as those of a
    transformer, so may a cosine be, and the map.)

    With masks m_i and s_i the cosine of the embeddings of x ⊙ m_i and x: the importance R is the mean of s_i weighted by
    m_i, and the uncertainty U the mean of (s_i - R)^2 so weighted; ``explain_with_uncertainty`` returns both. These are the
    running estimates of the released code, whose U is not divided by the sum of the masks. The paper divides by the number
    of masks: for R that is ``normalization="expected"``, up to the constant p; its U is then taken around p R.

    Deviations: masks fade to the mean color, as the released code's do; it stretches 7 x 7 cells to the image and moves them
    by up to 6 pixels, here the masks are RISE's.

    Args:
        classifier: what is explained; its ``embed`` is the embedding.
        samples: masks, the released 30 batches of 100.
        cells: along each side of the image.
        keep_probability: of a cell, in (0, 1].
        normalization: divide sums by each pixel's "own" sum of masks, or by what it is "expected" to be, N p.
        border: see ``rise``.
        baseline: what removed pixels become (see ``masking.baseline_images``).
        seed: of the masks.
        precision: "bf16" runs the network in bfloat16; sums are in float64.
        batch_size: masked images that are run at a time; more than 256 have no effect.
    """

    family: ClassVar[Family] = "perturbation"
    class_specific: ClassVar[bool] = False
    paper: ClassVar[str] = "wickstrom2023relax"

    classifier: Classifier
    samples: int = 3000
    cells: int = 7
    keep_probability: float = 0.5
    normalization: Normalization = "own"
    border: Border = "repeat"
    baseline: Baseline | float | Tensor = "mean_color"
    seed: int = 0
    precision: Precision = "fp32"
    batch_size: int = 32

    def __post_init__(self) -> None:
        _ = self._stream

    def explain(self, images: Images, targets: Targets) -> Attribution:
        return self.explain_with_uncertainty(images, targets)[0]

    def explain_with_uncertainty(self, images: Images, targets: Targets) -> tuple[Attribution, Attribution]:
        """The importance R and its uncertainty U."""
        self.classifier.check(images, targets)
        images = images.detach()
        removed = baseline_images(self.baseline, self.classifier, images)
        with self.classifier.running(self.precision):
            both = torch.stack([self._maps_of(*pair) for pair in zip(images, removed, strict=True)], 1)
        importance, uncertainty = both.to(images.dtype)
        return importance, uncertainty

    @property
    def _stream(self) -> MaskStream:
        return MaskStream(self.samples, self.cells, self.keep_probability, self.seed, self.border)

    def _maps_of(self, image: Float[Tensor, "c h w"], removed: Float[Tensor, "c h w"]) -> Float[Tensor, "two h w"]:
        """R and U of one image, from the sums of m, s m and s^2 m."""
        sums = torch.zeros(3, image[0].numel(), dtype=torch.float64, device=image.device)
        whole = self.classifier.embed(self.classifier.fast_layout(image[None])).double()
        for masks in self._stream.batches(image, self.batch_size):
            seen = self.classifier.fast_layout(masked(image, masks, removed))
            s = cosine_similarity(self.classifier.embed(seen).double(), whole)
            sums.addmm_(torch.stack([torch.ones_like(s), s, s**2]), masks.flatten(1).double())
        weight, first, second = sums
        total = self.samples * self.keep_probability if self.normalization == "expected" else weight.clamp_min(1e-12)
        importance = first / total
        uncertainty = (second - 2 * importance * first + importance**2 * weight) / total
        rounding = 1e-12 * second / total  # of the cosines, in float32, and of the difference of sums
        return torch.stack([importance, torch.where(uncertainty > rounding, uncertainty, 0)]).unflatten(1, image.shape[1:])
