"""Checks of the tensors that a caller gives."""

from torch import Tensor

from seewhy.errors import SeewhyError


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
