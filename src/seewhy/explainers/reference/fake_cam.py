"""Fake-CAM (Poppi et al., 2021): the trivial map that average drop and average increase reward."""

from seewhy.explainers.base import Method
from seewhy.types import Attribution, Images, Targets


class FakeCAM(Method, name="fake_cam", family="reference", paper="poppi2021revisiting", class_specific=False):
    """1 everywhere but in the upper left pixel, which is 0: a mask that changes almost nothing and explains nothing."""

    def explain(self, images: Images, targets: Targets) -> Attribution:
        self.classifier.check(images, targets)
        maps = images.new_ones(len(images), *images.shape[-2:])
        maps[:, 0, 0] = 0
        return maps
