"""What a dataset hands out, and the registry of datasets."""

from collections.abc import Iterator
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from seewhy.registry import Registry
from seewhy.types import Images, Regions


class Batch(NamedTuple):
    """Some images and what is known of them.

    ids      n names, unique in the dataset
    images   (n, c, h, w) in [0, 1]
    labels   (n,) class indices, or (n, k) zeros and ones of a multi-label dataset; None where nobody has said them
    regions  (n, h, w) the object of the label, or (n, k, h, w) one region per class; None where there are none
    boxes    n tensors (m, 4) of left, top, right, bottom in pixels of the image, right and bottom excluded; None where
             there are none
    """

    ids: list[str]
    images: Images
    labels: Tensor | None
    regions: Regions | Tensor | None = None
    boxes: tuple[Tensor, ...] | None = None


@runtime_checkable
class Dataset(Protocol):
    """A finite, ordered collection of images of one size."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    def batches(self, batch_size: int) -> Iterator[Batch]:
        """The images in their order, ``batch_size`` at a time."""
        ...


DATASETS: Registry[type[Dataset]] = Registry("dataset")
