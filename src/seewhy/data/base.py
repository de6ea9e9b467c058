"""What a dataset hands out, and the registry of datasets."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from torch import Tensor

from seewhy.errors import SeewhyError
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
    """A finite, ordered collection of images of one size, any of which can be asked for."""

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def ids(self) -> Sequence[str]:
        """The name of each image, unique; known without reading an image."""
        ...

    def __len__(self) -> int: ...

    def batch(self, indices: Sequence[int]) -> Batch:
        """The images at these places. SeewhyError says which one cannot be read, and why."""
        ...


def batches(dataset: Dataset, batch_size: int) -> Iterator[Batch]:
    """All images in their order, ``batch_size`` at a time; each is read when its batch is asked for."""
    if batch_size < 1:
        raise SeewhyError(f"batch_size is {batch_size}; give at least 1")
    for start in range(0, len(dataset), batch_size):
        yield dataset.batch(range(start, min(start + batch_size, len(dataset))))


DATASETS: Registry[type[Dataset]] = Registry("dataset", group="seewhy.datasets", members=("batch", "__len__"))
