"""CAMs of gradients: features and gradients of one layer become a map on its grid, which is upsampled to the image."""

from abc import abstractmethod
from contextlib import closing
from dataclasses import field
from typing import final

import torch

from seewhy.explainers.base import Method
from seewhy.explainers.classes import for_each
from seewhy.explainers.gradients import feature_gradients, feature_jacobian
from seewhy.explainers.options import BatchSize, LayerOption, LibraOption, SelectorOption
from seewhy.maps import upsample
from seewhy.types import Attribution, ClassAttribution, Classes, CoarseMap, FeatureMap, Images, Targets


class FeatureCAM(Method):
    """A CAM of gradients. A subclass says how features and gradients become a map, in ``combine``.

    With ``selector="finer"`` the map is that of Finer-CAM (Zhang et al., 2025): the gradient is that of the target's logit
    less a part of the mean logit of the most similar classes. No pass is added.
    """

    layer: LayerOption = None
    batch_size: BatchSize = 32
    selector: SelectorOption = field(default="logit", kw_only=True)  # the last parameters, behind those of the subclass
    libra: LibraOption = field(default=False, kw_only=True)

    @abstractmethod
    def combine(self, features: FeatureMap, gradients: FeatureMap) -> CoarseMap:
        """The map on the layer's grid."""

    @final
    def explain(self, images: Images, targets: Targets) -> Attribution:
        """One forward pass of the images, and one backward pass of what follows the layer."""
        self.classifier.check(images, targets)
        layer = self.classifier.live_layer(self.layer)
        with self.classifier.balanced(self.libra):
            maps = [
                self.combine(*feature_gradients(self.classifier, some, wanted, layer, self.selector))
                for some, wanted in zip(images.split(self.batch_size), targets.split(self.batch_size), strict=True)
            ]
        return upsample(torch.cat(maps), images.shape[-2:])

    @final
    def explain_classes(self, images: Images, classes: Classes) -> ClassAttribution:
        """One forward pass for all classes, and their batched vector-Jacobian products over what follows the layer."""
        self.classifier.check_classes(images, for_each(images, classes))
        layer = self.classifier.live_layer(self.layer)
        maps = []
        for some in images.split(self.batch_size):
            pairs = feature_jacobian(self.classifier, some, classes, layer, self.batch_size, self.selector)
            with self.classifier.balanced(self.libra), closing(pairs):
                maps.append(torch.stack([self.combine(*pair) for pair in pairs], 1))
        return upsample(torch.cat(maps), images.shape[-2:])
