"""HiResCAM (Draelos & Carin, 2020), equation 4."""

from dataclasses import field
from typing import Literal

from seewhy.explainers.cam.feature_cam import FeatureCAM
from seewhy.types import CoarseMap, FeatureMap


class HiResCAM(FeatureCAM, name="hires_cam", family="cam", paper="draelos2020hirescam"):
    """Features times gradients, element by element, summed over the channels. Signed.

    The paper's map keeps its negative part, which speaks against the class. Other libraries cut it on the layer's grid,
    before the map is enlarged (``negative="cut"``). ``.clamp_min(0)`` of the enlarged map is another picture: beside a
    negative cell it takes away a part of a positive one, up to a third of the map's range on a photograph.

    Args:
        negative: "keep" the negative part, or "cut" it on the grid.
    """

    negative: Literal["keep", "cut"] = field(default="keep", kw_only=True)

    def combine(self, features: FeatureMap, gradients: FeatureMap) -> CoarseMap:
        coarse = (gradients * features).sum(1)  # eq. 4
        return coarse.relu() if self.negative == "cut" else coarse
