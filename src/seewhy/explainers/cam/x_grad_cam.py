"""XGrad-CAM (Fu et al., 2020), equations 7 and 8."""

import torch

from seewhy.explainers.cam.feature_cam import FeatureCAM
from seewhy.types import CoarseMap, FeatureMap


class XGradCAM(FeatureCAM, name="x_grad_cam", family="cam", paper="fu2020axiom"):
    """Grad-CAM whose channel weights are the gradients' mean weighted by the features themselves. Not negative."""

    def combine(self, features: FeatureMap, gradients: FeatureMap) -> CoarseMap:
        total = features.sum((2, 3), keepdim=True)
        # a channel whose features sum to 0 has no share to weigh by
        share = torch.where(total != 0, features / torch.where(total != 0, total, 1), 0)
        weights = (share * gradients).sum((2, 3), keepdim=True)  # eq. 8
        return (weights * features).sum(1).relu()  # eq. 7
