"""HiResCAM (Draelos & Carin, 2020), equation 4."""

from seewhy.explainers.cam.feature_cam import FeatureCAM
from seewhy.types import CoarseMap, FeatureMap


class HiResCAM(FeatureCAM, name="hires_cam", family="cam", paper="draelos2020hirescam"):
    """Features times gradients, element by element, summed over the channels. Signed.

    The paper's map keeps its negative part, which speaks against the class. ``.clamp_min(0)`` of the map is the picture
    that other libraries show.
    """

    def combine(self, features: FeatureMap, gradients: FeatureMap) -> CoarseMap:
        return (gradients * features).sum(1)  # eq. 4
