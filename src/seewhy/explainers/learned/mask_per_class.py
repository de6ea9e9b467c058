"""What the methods with one mask for each class share: the network, the maps, and the classes that the masks name."""

from collections.abc import Mapping
from math import log
from typing import Annotated, ClassVar, Literal, NamedTuple, final

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from seewhy.errors import SeewhyError
from seewhy.explainers.learned.learned_explainer import LearnedExplainer, Seen
from seewhy.explainers.learned.mask_networks import Backbone, segmentation_network
from seewhy.explainers.learned.mask_terms import classes_in, classes_predicted
from seewhy.explainers.learned.unet import decoder
from seewhy.maps import pearson, upsample
from seewhy.options import Above, Below, Doc
from seewhy.types import ClassAttribution, Images, Probabilities, Scores

TrainedFor = Literal["label", "predicted"]
"""The classes that the loss shows through the target mask."""


class AttributedClasses(NamedTuple):
    """The classes of each image with the highest mean mask, highest first.

    classes      (n, k)
    activations  (n, k) the mean of the mask over the image, in [0, 1]
    """

    classes: Int[Tensor, "n k"]
    activations: Float[Tensor, "n k"]


class MaskPerClass(LearnedExplainer):
    """A method whose network makes a mask in [0, 1] for each class in one pass: its sigmoid of (n, k, h, w) logits.

    A subclass has two holes: ``new_network`` and ``loss``.
    """

    gives_masks: ClassVar[bool] = True
    """Maps are masks in [0, 1]: those of several classes are merged as they are, without min-max."""

    gain: Annotated[
        float,
        Above(0),
        Doc("Factor of the network's outputs before the sigmoid. 1 is the paper's; more makes masks sharp in fewer steps."),
    ] = 4.0
    start: Annotated[
        float,
        Above(0),
        Below(1),
        Doc("The masks of an untrained network, about. 0.5 is the paper's; masks that grow from less find objects sooner."),
    ] = 0.1

    def mask_logits(self, seen: Seen, classes: Int[Tensor, "n j"] | None = None) -> Float[Tensor, "n j h w"]:
        """The logits of the masks of all classes, or of some, as the network makes them now: with a graph if grad is on."""
        found: Tensor = self.ready(seen.images, *seen.features)
        found = found.float() if found.dtype in (torch.bfloat16, torch.float16) else found
        if classes is not None:  # before they are enlarged
            found = found.gather(1, classes.to(found.device)[:, :, None, None].expand(-1, -1, *found.shape[-2:]))
        size = seen.images.shape[-2:]
        found = found if found.shape[-2:] == size else upsample(found, size)
        return self.gain * found + log(self.start / (1 - self.start))

    @final
    def masks(self, seen: Seen, classes: Int[Tensor, "n k"]) -> ClassAttribution:
        return self.mask_logits(seen, classes).sigmoid()

    def activations(self, images: Images) -> Float[Tensor, "n k"]:
        """(n, k) the mean mask of each class over the image, in [0, 1]. Reads nothing but images (and features)."""
        classes = torch.arange(self.classifier.n_classes, device=images.device)
        return torch.cat([self.explain_classes(some, classes).mean((2, 3)) for some in images.split(self.batch_size)])

    def attributed_classes(self, images: Images, k: int = 5) -> AttributedClasses:
        """The k classes with the highest mean mask, and these means (Stalder et al. 2022, appendix C).

        No classifier is asked. A large object has a higher mean than a small one.
        """
        found = self.activations(images)
        if not 1 <= k <= found.shape[1]:
            raise SeewhyError(f"there are {found.shape[1]} classes: k is at least 1 and at most that, got {k}")
        highest = found.topk(k, 1)
        return AttributedClasses(highest.indices, highest.values)


class OnMaskNetwork(MaskPerClass):
    """A method with one mask for each class by a network of its own, or by a light decoder of the explained network."""

    without_download: ClassVar[Mapping[str, object]] = {"backbone": "scratch"}

    architecture: Annotated[
        str,
        Doc(
            'The network: the name of a segmentation network of torchvision; "smp/ARCHITECTURE:ENCODER" of '
            'segmentation-models-pytorch; or "light", a small decoder of the explained network\'s own features.'
        ),
    ] = "deeplabv3_resnet50"
    backbone: Annotated[
        Backbone,
        Doc(
            '"scratch": all weights are drawn. "imagenet": the backbone begins with the weights of a classifier of ImageNet.'
        ),
    ] = "scratch"

    target: Annotated[
        TrainedFor, Doc('The classes of an image in the loss: those of its "label", or those that the network "predicted".')
    ] = "label"

    @property
    def needs_labels(self) -> bool:
        return self.target == "label"

    def present(self, seen: Seen) -> Bool[Tensor, "n k"]:
        """The classes of each image in the loss."""
        if self.target == "predicted":
            return classes_predicted(seen.logits, self.classifier.multilabel)
        if seen.labels is None:
            raise SeewhyError("the loss reads labels, and the dataset has none: give target=predicted")
        return classes_in(seen.labels, seen.logits.shape[1])

    @final
    def new_network(self) -> nn.Module:
        if self.architecture == "light":
            if self.backbone != "scratch":
                raise SeewhyError("architecture=light has no backbone of its own: leave backbone at scratch")
            return decoder("light", self.classifier, self.classifier.n_classes)
        return segmentation_network(self.architecture, self.backbone, self.classifier)


def activation_correlation(activations: Float[Tensor, "n k"], probabilities: Probabilities) -> Scores:
    """(n,) Spearman's correlation over the classes of the mean masks and of the classifier's probabilities.

    Equal values share the mean of their ranks. 0 where all classes of an image are level. Appendix C of Stalder et al.
    (2022) compares the two orders by eye.

    Args:
        activations: the mean mask of every class, see ``MaskPerClass.activations``.
        probabilities: of the classifier, for the same images and classes.
    """
    return pearson(_ranks(activations), _ranks(probabilities)).to(activations.dtype)


def _ranks(values: Float[Tensor, "n k"]) -> Float[Tensor, "n k"]:
    """Rank of each value in its row, from 0; equal values share the mean of their ranks."""
    below = (values[:, None, :] < values[:, :, None]).sum(2)
    same = (values[:, None, :] == values[:, :, None]).sum(2)
    return below + (same - 1).double() / 2
