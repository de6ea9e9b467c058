"""Grad-CAM++ (Chattopadhay et al., 2018), equations 10, 18 and 19."""

import torch

from seewhy.explainers.cam.feature_cam import FeatureCAM
from seewhy.types import CoarseMap, FeatureMap


class GradCAMPlusPlus(FeatureCAM, name="grad_cam_pp", family="cam", paper="chattopadhay2018gradcampp"):
    """Grad-CAM with pixel-wise weights of the positive gradients. Not negative.

    As in the paper's own derivation the score is exp(logit). Its higher derivatives are powers of the logit's gradient
    times exp(logit). That last factor is the same for all pixels of an image and is left out.
    """

    def combine(self, features: FeatureMap, gradients: FeatureMap) -> CoarseMap:
        total = features.sum((2, 3), keepdim=True)  # eq. 19 sums the features over the grid
        denominator = 2 * gradients**2 + total * gradients**3
        # eq. 19 is 0/0 where the gradient is 0; such a pixel has no weight
        alpha = torch.where(denominator != 0, gradients**2 / torch.where(denominator != 0, denominator, 1), 0)
        weights = (alpha * gradients.relu()).sum((2, 3), keepdim=True)  # eq. 18
        return (weights * features).sum(1).relu()
