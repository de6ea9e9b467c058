"""Networks of segmentation that read the image alone, and make one mask for each class."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, Literal, cast

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad
from torchvision import models
from torchvision.models import segmentation

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError, cause
from seewhy.registry import did_you_mean
from seewhy.types import Images

Backbone = Literal["scratch", "imagenet"]
SMP = "smp/"


class SegmentationNetwork(nn.Module):
    """A network of its own, which reads the image and nothing of the explained network.

    It takes images in [0, 1] and normalizes them itself, so that it explains where no classifier is present.
    """

    layers = ()
    mean: Tensor
    std: Tensor

    def __init__(self, body: nn.Module, mean: tuple[float, ...], std: tuple[float, ...], multiple: int = 1) -> None:
        super().__init__()
        self.body, self.multiple = body, multiple
        self.register_buffer("mean", Tensor(mean)[:, None, None])
        self.register_buffer("std", Tensor(std)[:, None, None])

    def forward(self, images: Images, *_: Tensor) -> Float[Tensor, "n k h w"]:
        """The logits of the masks; their sigmoids are the masks."""
        h, w = images.shape[-2:]
        x = ((images - self.mean) / self.std).expand(-1, 3, -1, -1)  # a gray image has the same value in each channel
        x = pad(x, (0, -w % self.multiple, 0, -h % self.multiple), mode="replicate") if self.multiple > 1 else x
        alone = self.training and len(x) == 1  # batch normalization of a pooled image needs two rows
        found = self.body(x.expand(2, -1, -1, -1) if alone else x)
        logits = found["out"] if isinstance(found, dict) else found
        return (logits[:1] if alone else logits)[:, :, :h, :w]


def segmentation_network(name: str, backbone: Backbone, classifier: Classifier) -> SegmentationNetwork:
    """The network ``name`` with one output for each class of the classifier.

    Args:
        name: of torchvision's segmentation models, such as "deeplabv3_resnet50"; or "smp/ARCHITECTURE:ENCODER" of the
            package segmentation-models-pytorch.
        backbone: "scratch" draws all weights; "imagenet" loads those of a classifier of ImageNet into the backbone.
    """
    make = _of_smp if name.startswith(SMP) else _of_torchvision
    try:
        body, multiple = make(name, backbone, classifier.n_classes)
    except OSError as error:  # of a download
        raise SeewhyError(f"the ImageNet weights of {name} cannot be had ({cause(error)}): use backbone=scratch") from error
    return SegmentationNetwork(body, classifier.mean, classifier.std, multiple)


def _of_torchvision(name: str, backbone: Backbone, k: int) -> tuple[nn.Module, int]:
    known = models.list_models(module=segmentation)
    if name not in known:
        hint = did_you_mean(name, [*known, "light"])
        raise SeewhyError(
            f"no segmentation network {name!r}.{hint} Known: light, {', '.join(known)}, smp/ARCHITECTURE:ENCODER such as "
            "smp/Unet:resnet18"
        )
    weights = "DEFAULT" if backbone == "imagenet" else None
    aux = {} if name.startswith("lraspp") else {"aux_loss": False}
    return models.get_model(name, weights=None, weights_backbone=weights, num_classes=k, **aux), 1


def _of_smp(name: str, backbone: Backbone, k: int) -> tuple[nn.Module, int]:
    architecture, _, encoder = name.removeprefix(SMP).partition(":")
    try:
        smp: Any = import_module("segmentation_models_pytorch")
    except ImportError:
        raise SeewhyError(f"{name} needs segmentation-models-pytorch: pip install 'seewhy[smp]'") from None
    weights = "imagenet" if backbone == "imagenet" else None
    make = cast(Callable[..., nn.Module], smp.create_model)
    try:
        return make(architecture, encoder or "resnet34", weights, classes=k), 32
    except (KeyError, ValueError, RuntimeError) as error:
        raise SeewhyError(f"segmentation-models-pytorch does not make {name} ({cause(error)})") from None
