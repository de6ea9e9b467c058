"""Fake-CAM (Poppi et al., 2021): the trivial map that average drop and average increase reward."""

from dataclasses import dataclass
from typing import ClassVar

from seewhy.classifier.classifier import Classifier
from seewhy.explainers.base import EXPLAINERS, Family
from seewhy.types import Attribution, Images, Targets


@EXPLAINERS.register("fake_cam")
@dataclass(frozen=True)
class FakeCAM:
    """1 everywhere but in the upper left pixel, which is 0: a mask that changes almost nothing and explains nothing.

    Args:
        classifier: only tells which targets exist.
    """

    family: ClassVar[Family] = "reference"
    class_specific: ClassVar[bool] = False
    paper: ClassVar[str] = "poppi2021revisiting"

    classifier: Classifier

    def explain(self, images: Images, targets: Targets) -> Attribution:
        self.classifier.check(images, targets)
        maps = images.new_ones(len(images), *images.shape[-2:])
        maps[:, 0, 0] = 0
        return maps
