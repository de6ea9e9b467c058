"""Grad-CAM (Selvaraju et al., 2017), equations 1 and 2."""

from seewhy.explainers.cam.feature_cam import FeatureCAM
from seewhy.types import CoarseMap, FeatureMap


class GradCAM(FeatureCAM, name="grad_cam", family="cam", paper="selvaraju2017gradcam"):
    """Features weighted by the spatial mean of the target's gradient, summed, negative sums cut. Not negative."""

    def combine(self, features: FeatureMap, gradients: FeatureMap) -> CoarseMap:
        weights = gradients.mean((2, 3), keepdim=True)  # eq. 1
        return (weights * features).sum(1).relu()  # eq. 2
