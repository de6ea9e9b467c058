"""What stands for a classifier that is not there, for an explainer that needs only to know its classes and its images."""

from dataclasses import dataclass
from typing import NoReturn, cast

from torch import Tensor, nn

from seewhy.classifier import checks
from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.types import Images


class NoNetwork(nn.Module):
    """Has no answer. ``known_by`` is what the error calls the network that is not there."""

    def __init__(self, known_by: str) -> None:
        super().__init__()
        self.known_by = known_by

    def refuse(self) -> NoReturn:
        raise SeewhyError(f"{self.known_by} is not here, so that there are no logits: give the classifier (--model)")

    def forward(self, images: Tensor) -> NoReturn:
        self.refuse()


@dataclass(frozen=True, eq=False)
class AbsentClassifier(Classifier):
    """The preprocessing and the classes of a classifier whose network, here a ``NoNetwork``, is not there.

    Images and classes are checked as by any classifier. Whatever needs an answer of the network is a SeewhyError.
    """

    def check_classes(self, images: Tensor, classes: Tensor) -> None:
        """SeewhyError unless ``images`` are images in [0, 1], and ``classes`` (n, m) has several classes for each."""
        checks.must_be_images(images, len(self.mean))
        checks.must_be_classes(classes, len(images), self.n_classes)

    def mixes_images(self, images: Images) -> bool:
        """A network that does not run mixes nothing."""
        return False

    @property
    def _ending(self) -> NoReturn:
        """How the network ends is asked before anything else is."""
        cast(NoNetwork, self.module).refuse()
