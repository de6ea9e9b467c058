"""Smooth pixel mask: extremal perturbation (Fong, Patrick & Vedaldi, 2019) of one small area."""

from dataclasses import dataclass
from typing import ClassVar

from seewhy.classifier.classifier import Classifier
from seewhy.classifier.precision import Precision
from seewhy.explainers.base import EXPLAINERS, Family
from seewhy.explainers.optimized.extremal_perturbation import ExtremalPerturbation
from seewhy.types import Attribution, Images, Targets


@EXPLAINERS.register("smooth_pixel_mask")
@dataclass(frozen=True)
class SmoothPixelMask:
    """The 5 % of the image, as a smooth mask, that keep the target furthest above the other classes. Not negative.

    This is ``extremal_perturbation`` with the contrastive reward and one area, under the name and with the settings by
    which NEMt's paper compares with it.

    Args:
        classifier: what is explained.
        area: part of the image that is kept, between 0 and 1.
        flip: mirror the blurred image left to right at every second step.
        steps: of gradient descent.
        precision: "bf16" runs the network in bfloat16; the mask stays in the images' type.
        batch_size: images that are optimized at a time.
    """

    family: ClassVar[Family] = "optimized"
    class_specific: ClassVar[bool] = True
    paper: ClassVar[str] = "fong2019extremal"

    classifier: Classifier
    area: float = 0.05
    flip: bool = True
    steps: int = 800
    precision: Precision = "fp32"
    batch_size: int = 32

    def __post_init__(self) -> None:
        self._search()  # a wrong area is refused here

    def explain(self, images: Images, targets: Targets) -> Attribution:
        return self._search().explain(images, targets)

    def _search(self) -> ExtremalPerturbation:
        return ExtremalPerturbation(
            self.classifier,
            areas=(self.area,),
            selector="contrast",
            flip=self.flip,
            steps=self.steps,
            precision=self.precision,
            batch_size=self.batch_size,
        )
