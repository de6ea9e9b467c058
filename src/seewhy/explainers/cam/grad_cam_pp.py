"""Grad-CAM++ (Chattopadhay et al., 2018), equations 10, 18 and 19."""

import torch

from seewhy.explainers.cam.feature_cam import FeatureCAM
from seewhy.types import CoarseMap, FeatureMap


class GradCAMPlusPlus(FeatureCAM, name="grad_cam_pp", family="cam", paper="chattopadhay2018gradcampp"):
    """Grad-CAM with pixel-wise weights of the positive gradients. Not negative.

    As in the paper's own derivation the score is exp(logit). Its higher derivatives are powers of the logit's gradient
    times exp(logit). That last factor is the same for all pixels of an image and is left out.

    Others compute equation 19 otherwise. grad-cam adds 1e-6 to the denominator, so that gradients below about 1e-3 hardly
    count. torchcam sums the product of the features and the cubed gradients over the grid, in place of the features alone,
    and adds 1e-8. The authors' released code divides the alphas of a channel by their sum. Where gradients are about 1e-3
    or more the maps agree; where they are far smaller, as in most transformers, the maps need not resemble each other.
    """

    def combine(self, features: FeatureMap, gradients: FeatureMap) -> CoarseMap:
        total = features.sum((2, 3), keepdim=True)  # eq. 19 sums the features over the grid
        denominator = 2 * gradients**2 + total * gradients**3
        # eq. 19 is 0/0 where the gradient is 0; such a pixel has no weight
        alpha = torch.where(denominator != 0, gradients**2 / torch.where(denominator != 0, denominator, 1), 0)
        weights = (alpha * gradients.relu()).sum((2, 3), keepdim=True)  # eq. 18
        return (weights * features).sum(1).relu()
