"""Smooth pixel mask: extremal perturbation (Fong, Patrick & Vedaldi, 2019) of one small area."""

from typing import Annotated, ClassVar

from seewhy.explainers.base import Method
from seewhy.explainers.optimized.extremal_perturbation import ExtremalPerturbation
from seewhy.explainers.options import BatchSize, Flip, PrecisionOption, Steps
from seewhy.explainers.selectors import Selector
from seewhy.options import Above, Below
from seewhy.types import Attribution, Images, Targets


class SmoothPixelMask(Method, name="smooth_pixel_mask", family="optimized", paper="fong2019extremal"):
    """The 5 % of the image, as a smooth mask, that keep the target furthest above the other classes. Not negative.

    This is ``extremal_perturbation`` with the contrastive reward and one area, under the name and with the settings by
    which NEMt's paper compares with it.

    Args:
        area: part of the image that is kept, between 0 and 1.
    """

    selector: ClassVar[Selector] = "contrast"

    area: Annotated[float, Above(0), Below(1)] = 0.05
    flip: Flip = True
    steps: Steps = 800
    precision: PrecisionOption = "fp32"
    batch_size: BatchSize = 32

    def explain(self, images: Images, targets: Targets) -> Attribution:
        search = ExtremalPerturbation(
            self.classifier,
            areas=(self.area,),
            selector=self.selector,
            flip=self.flip,
            steps=self.steps,
            precision=self.precision,
            batch_size=self.batch_size,
        )
        return search.explain(images, targets)
