"""The classes that a method is asked for: one of each image, or the same several of all."""

from jaxtyping import Int
from torch import Tensor

from seewhy.errors import SeewhyError
from seewhy.types import Classes, Images, Targets


def must_be_tensors(**given: object) -> None:
    """SeewhyError for what is none, by name: a class as a bare number, a list of images, targets in a column."""
    for name, value in given.items():
        what = {"images": "floats (n, c, h, w)", "targets": "one class index for each image (n,)"}.get(
            name, "class indices (m,)"
        )
        if not isinstance(value, Tensor):
            raise SeewhyError(f"{name} must be a tensor of {what}, not of type {type(value).__name__}")
        if name != "images" and value.ndim != 1:
            raise SeewhyError(f"{name} must be a tensor of {what}, got {tuple(value.shape)}")


def column(targets: Targets) -> Int[Tensor, "n 1"]:
    """The one class of each image, for methods that take several."""
    must_be_tensors(targets=targets)
    return targets[:, None]


def for_each(images: Images, classes: Classes) -> Int[Tensor, "n j"]:
    """The same classes for each image."""
    must_be_tensors(images=images, classes=classes)
    return classes.expand(len(images), -1)
