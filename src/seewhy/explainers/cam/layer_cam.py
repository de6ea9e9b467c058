"""LayerCAM (Jiang et al., 2021), equations 5 to 7."""

from seewhy.explainers.cam.feature_cam import FeatureCAM
from seewhy.types import CoarseMap, FeatureMap


class LayerCAM(FeatureCAM, name="layer_cam", family="cam", paper="jiang2021layercam"):
    """Features weighted by their own positive gradients, pixel by pixel. Not negative."""

    def combine(self, features: FeatureMap, gradients: FeatureMap) -> CoarseMap:
        return (gradients.relu() * features).sum(1).relu()  # eq. 5 to 7
