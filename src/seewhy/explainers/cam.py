"""CAM (Zhou et al., 2016), equation 2."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from seewhy.errors import SeewhyError
from seewhy.explainers.base import EXPLAINERS, Family
from seewhy.maps import upsample
from seewhy.model import Classifier, frozen
from seewhy.types import Attribution, ClassAttribution, Classes, Images, Targets


@EXPLAINERS.register("cam")
@dataclass(frozen=True)
class CAM:
    """The last feature maps, or tokens, weighted by the class's own row of the last linear layer. Signed.

    Defined where the network pools its features and ends in that linear layer (ResNet, DenseNet, MobileNet, ConvNeXt,
    Swin, ViT), whatever stands between that keeps the channels; and where a convolution makes one map a class that is
    averaged (SqueezeNet), which is that map. For other heads (VGG) there is no CAM: the error says so.

    Args:
        classifier: what is explained.
        layer: whose features are read; None is the last one with as many channels as the linear layer reads.
        batch_size: images that are run at a time.
    """

    family: ClassVar[Family] = "cam"
    class_specific: ClassVar[bool] = True
    paper: ClassVar[str] = "zhou2016learning"

    classifier: Classifier
    layer: str | None = None
    batch_size: int = 32

    def explain(self, images: Images, targets: Targets) -> Attribution:
        return self._maps(images, targets[:, None])[:, 0]

    def explain_classes(self, images: Images, classes: Classes) -> ClassAttribution:
        return self._maps(images, classes.expand(len(images), -1))

    def _maps(self, images: Images, classes: Tensor) -> ClassAttribution:
        self.classifier.check(images, classes)
        weights = self._weights()
        layer = self.layer or self._layer(weights)
        maps = []
        with frozen(self.classifier.module), torch.no_grad(), self.classifier.capture(layer) as outputs:
            for some, wanted in zip(images.split(self.batch_size), classes.split(self.batch_size), strict=True):
                self.classifier.logits(some)
                features = self.classifier.as_grid(outputs[layer], some)
                if weights is not None and features.shape[1] != weights.shape[1]:
                    d = weights.shape[1]
                    raise SeewhyError(
                        f"layer {layer!r} has {features.shape[1]} channels, the linear layer reads {d}: name another layer"
                    )
                chosen = features.new_tensor(0) if weights is None else weights[wanted]
                rows = torch.arange(len(some), device=some.device)[:, None]
                # eq. 2, or the class's own map where the network makes one
                coarse = features[rows, wanted] if weights is None else torch.einsum("nkd,ndhw->nkhw", chosen, features)
                fine = upsample(coarse.flatten(0, 1), (images.shape[-2], images.shape[-1]))
                maps.append(fine.unflatten(0, coarse.shape[:2]))
        return torch.cat(maps)

    def _weights(self) -> Tensor | None:
        """(k, d) of the linear layer, or their mean where several heads are averaged; None if there is none."""
        heads = [self.classifier.module.get_submodule(name) for name in self.classifier.heads]
        if not heads:
            return None
        weights = torch.stack([head.weight for head in heads if isinstance(head, torch.nn.Linear)]).mean(0).detach()
        return torch.cat([-weights / 2, weights / 2]) if len(weights) == 1 else weights  # one logit is two classes

    def _layer(self, weights: Tensor | None) -> str:
        if weights is None and self.classifier.class_map_layer is not None:
            return self.classifier.class_map_layer
        fitting = [name for name, d, _ in self.classifier.spatial_layers if weights is not None and d == weights.shape[1]]
        if not fitting:
            kind = type(self.classifier.module).__name__
            raise SeewhyError(f"cam needs features that a linear layer reads after pooling; {kind} has none. Use grad_cam")
        return fitting[-1]
