"""The classes that are explained, as a row for each image: its own class, or the same classes for every image."""

from jaxtyping import Int
from torch import Tensor

from seewhy.classifier.checks import must_be_tensors
from seewhy.types import Classes, Images, Targets


def as_column(targets: Targets) -> Int[Tensor, "n 1"]:
    """One class for each image, as a row of one."""
    must_be_tensors(targets=targets)
    return targets[:, None]


def for_each(images: Images, classes: Classes) -> Int[Tensor, "n j"]:
    """The same classes for every image, as equal rows."""
    must_be_tensors(images=images, classes=classes)
    return classes.expand(len(images), -1)
