"""U-RELAX (Wickstrøm et al., 2023)."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.classifier.precision import Precision
from seewhy.explainers.base import EXPLAINERS, Family
from seewhy.explainers.perturbation.random_masks import Border, Normalization
from seewhy.explainers.perturbation.relax import Relax
from seewhy.masking.baselines import Baseline
from seewhy.types import Attribution, Images, Targets


@EXPLAINERS.register("u_relax")
@dataclass(frozen=True)
class URelax:
    """RELAX where its uncertainty is not above its own mean over the image, and 0 elsewhere. Not negative.

    The same for every class. What differs from the paper is said at ``relax``.

    Args:
        classifier: what is explained; its ``embed`` is the embedding.
        threshold: of the uncertainty, its "mean" over the image, or its "median" as in the current released code, which
            keeps half of the pixels.
        samples, cells, keep_probability, normalization, border, baseline, seed, precision, batch_size: see ``relax``.
    """

    family: ClassVar[Family] = "perturbation"
    class_specific: ClassVar[bool] = False
    paper: ClassVar[str] = "wickstrom2023relax"

    classifier: Classifier
    threshold: Literal["mean", "median"] = "mean"
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
        _ = self._relax

    def explain(self, images: Images, targets: Targets) -> Attribution:
        importance, uncertainty = self._relax.explain_with_uncertainty(images, targets)
        flat = uncertainty.flatten(1)
        limit = flat.mean(1) if self.threshold == "mean" else flat.median(1).values
        return torch.where(uncertainty <= limit[:, None, None], importance, 0)

    @property
    def _relax(self) -> Relax:
        return Relax(
            self.classifier,
            samples=self.samples,
            cells=self.cells,
            keep_probability=self.keep_probability,
            normalization=self.normalization,
            border=self.border,
            baseline=self.baseline,
            seed=self.seed,
            precision=self.precision,
            batch_size=self.batch_size,
        )
