"""The classes that a method is asked for: one of each image, or the same several of all."""

from jaxtyping import Int
from torch import Tensor

from seewhy.classifier.checks import must_be_tensors
from seewhy.types import Classes, Images, Targets


def column(targets: Targets) -> Int[Tensor, "n 1"]:
    """The one class of each image, for methods that take several."""
    must_be_tensors(targets=targets)
    return targets[:, None]


def for_each(images: Images, classes: Classes) -> Int[Tensor, "n j"]:
    """The same classes for each image."""
    must_be_tensors(images=images, classes=classes)
    return classes.expand(len(images), -1)
