"""Eigen-CAM (Muhammad & Yeasin, 2020)."""

import torch

from seewhy.classifier.classifier import frozen
from seewhy.explainers.base import Method
from seewhy.explainers.options import BatchSize, LayerOption
from seewhy.maps import upsample
from seewhy.types import Attribution, CoarseMap, FeatureMap, Images, Targets


class EigenCAM(Method, name="eigen_cam", family="cam", paper="muhammad2020eigencam", class_specific=False):
    """Projection of the features onto their first principal component. Signed; the same for every class.

    A singular vector has no sign of its own. The sign is chosen so that the map is high where the features are large.

    Args:
        center: subtract each channel's mean first (a principal component proper). The paper's equation does not.
    """

    layer: LayerOption = None
    center: bool = False
    batch_size: BatchSize = 32

    def explain(self, images: Images, targets: Targets) -> Attribution:
        self.classifier.check(images, targets)
        layer = self.layer or self.classifier.layer
        maps = []
        with frozen(self.classifier.module), torch.no_grad(), self.classifier.capture(layer) as outputs:
            for some in images.split(self.batch_size):
                self.classifier.logits(some)
                maps.append(eigen_cam(self.classifier.as_grid(outputs[layer], some, layer), self.center))
        return upsample(torch.cat(maps), images.shape[-2:])


def eigen_cam(features: FeatureMap, center: bool) -> CoarseMap:
    """The map on the layer's grid: O v1, with O = U S V' and v1 the first column of V."""
    dtype = torch.promote_types(features.dtype, torch.float32)  # half precision has no singular value decomposition
    flat = features.flatten(2).transpose(1, 2).to(dtype)  # (n, positions, channels)
    length = flat.norm(dim=2)
    flat = flat - flat.mean(1, keepdim=True) if center else flat
    _, _, vh = torch.linalg.svd(flat, full_matrices=False)
    projection = (flat @ vh[:, 0, :, None]).squeeze(2)
    sign = torch.where((projection * length).sum(1, keepdim=True) < 0, -1.0, 1.0).to(projection)
    return (sign * projection).to(features.dtype).unflatten(1, features.shape[2:])
