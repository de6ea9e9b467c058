"""CAM (Zhou et al., 2016), equation 2."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seewhy.classifier.classifier import Classifier, frozen
from seewhy.classifier.suffix import linear_head
from seewhy.errors import SeewhyError, UnsuitedError
from seewhy.explainers.base import ClassMaps
from seewhy.explainers.options import BatchSize, LayerOption
from seewhy.explainers.selectors import Finer, less_similar, similar_classes
from seewhy.maps import upsample
from seewhy.types import ClassAttribution, FeatureMap, Images


class CAM(ClassMaps, name="cam", family="cam", paper="zhou2016learning"):
    """The last feature maps, or tokens, weighted by the class's own row of the last linear layer. Signed.

    Defined where the network pools its features and ends in that linear layer (ResNet, DenseNet, MobileNet, ConvNeXt,
    Swin, ViT), whatever stands between that keeps the channels. Also defined where a convolution makes one map a class that
    is averaged (SqueezeNet): CAM is that map. For other heads (VGG) there is no CAM: the error says so.

    Do not rely on it for a transformer that classifies by a class token: nothing taught its patch tokens to be read by
    that layer, and on the built-in ViT the map is no better than chance (see the demo).

    Args:
        layer: layer whose features are read. None is the last one with as many channels as the linear layer reads.
        selector: whose weights: those of the "logit", or "finer", the class's own less 0.6 of the mean weights of the 3
            classes whose logits are nearest on the image. ["finer", 1.0, 5] has other numbers.
    """

    layer: LayerOption = None
    batch_size: BatchSize = 32
    selector: Literal["logit", "finer"] | Finer = "logit"

    def __post_init__(self) -> None:
        layer, _ = self._read()  # a network without a CAM is refused here, not in the middle of a run
        if self.layer is None and self.classifier.mixes_after(layer):
            raise _unsuited(self.classifier)

    def maps(self, images: Images, classes: Tensor) -> ClassAttribution:
        layer, weights = self._read()
        maps = []
        with frozen(self.classifier.module), torch.no_grad(), self.classifier.capture(layer) as outputs:
            for some, wanted in zip(images.split(self.batch_size), classes.split(self.batch_size), strict=True):
                similar = similar_classes(self.classifier, self.classifier.logits(some), wanted, self.selector)
                features = self.classifier.as_grid(outputs[layer], some, layer)
                maps.append(_weighted(features, less_similar(weights[similar], self.selector), layer, some))
        return torch.cat(maps)

    @property
    def layers(self) -> tuple[str, ...]:
        """The layer whose features are read."""
        return (self._read()[0],)

    def maps_of_pass(
        self, images: Images, logits: Float[Tensor, "n all"], features: tuple[FeatureMap, ...], classes: Int[Tensor, "n k"]
    ) -> ClassAttribution:
        """The maps of each image for its own classes, from the features of the layer; not those of Finer-CAM."""
        if self.selector != "logit":
            raise UnsuitedError("cam: which classes are similar is found image by image, in no graph: give selector=logit")
        layer, weights = self._read()
        return _weighted(features[0], weights[classes], layer, images)

    def _read(self) -> tuple[str, Tensor]:
        """The layer, and the weight of each of its channels for each class, (k, d)."""
        classifier, head = self.classifier, linear_head(self.classifier)
        if head is not None:
            weights, _ = head
            layers = [name for name, channels, _ in classifier.spatial_layers if channels == weights.shape[1]]
            if layers or self.layer is not None:
                return self.layer or layers[-1], weights
        elif classifier.class_map_layer is not None and self.layer in (None, classifier.class_map_layer):
            each_its_own = torch.eye(classifier.n_classes)  # a channel is the map of a class
            return classifier.class_map_layer, classifier.to_device(each_its_own)
        raise _unsuited(classifier)


def _weighted(
    features: FeatureMap, weights: Float[Tensor, "n k weighed"], layer: str, images: Images
) -> ClassAttribution:  # fmt: skip
    """The sum of the channels with the weights of each class, upsampled to the images."""
    has, weighs = features.shape[1], weights.shape[2]
    if has != weighs:
        raise SeewhyError(f"layer {layer!r} has {has} channels, cam weighs {weighs}: name another layer")
    return upsample(torch.einsum("nkd,ndhw->nkhw", weights, features), images.shape[-2:])  # eq. 2


def _unsuited(classifier: Classifier) -> UnsuitedError:
    kind = type(classifier.module).__name__
    return UnsuitedError(f"cam needs features that a linear layer reads after pooling; {kind} has none. Use grad_cam")
