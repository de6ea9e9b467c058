"""What a dataset is, what it hands out, and the registry of datasets."""

from collections.abc import Iterator, Sequence
from typing import Annotated, NamedTuple, Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

from seewhy.errors import SeewhyError
from seewhy.options import AtLeast, Doc
from seewhy.registry import Registry
from seewhy.types import Images, Regions

Limit = Annotated[int, AtLeast(1), Doc("At most so many pictures, spread evenly over the list: each class keeps its share.")]
"""An option of datasets."""


class Batch(NamedTuple):
    """Some images and what is known of them.

    ids      n names, unique in the dataset
    images   (n, c, h, w) in [0, 1]
    labels   (n,) class indices, or (n, k) zeros and ones of a multi-label dataset; None where labels are not known
    regions  (n, h, w) the object of the label, or (n, k, h, w) one region per class; None where regions are not known
    boxes    n tensors (m, 4) of left, top, right, bottom in pixels of the image, right and bottom excluded; None where
             boxes are not known
    """

    ids: list[str]
    images: Images
    labels: Tensor | None
    regions: Regions | Tensor | None = None
    boxes: tuple[Tensor, ...] | None = None


class Parts(NamedTuple):
    """What one image was made of, and the image as it is when one part was never there.

    names    of the m parts
    regions  (m, h, w) the visible pixels of each part
    images   (m, c, h, w) in [0, 1]: image j lacks part j and is otherwise the same
    """

    names: tuple[str, ...]
    regions: Bool[Tensor, "m h w"]
    images: Float[Tensor, "m c h w"]


@runtime_checkable
class HasParts(Protocol):
    """A dataset that makes its images, and can make them without a part."""

    def parts(self, index: int) -> Parts:
        """The visible parts of the image at this place."""
        ...


@runtime_checkable
class Dataset(Protocol):
    """A finite, ordered collection of images of one size. Any of them can be asked for, in any order."""

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of their indices."""
        ...

    @property
    def ids(self) -> Sequence[str]:
        """The name of each image, unique; known without reading an image."""
        ...

    def __len__(self) -> int:
        """The number of images."""
        ...

    def batch(self, indices: Sequence[int]) -> Batch:
        """The images at these places, read now. SeewhyError says which one cannot be read, and why."""
        ...

    def digest(self, indices: Sequence[int]) -> str:
        """Names, labels and file sizes of these images, as a digest, without reading an image.

        Other images, other labels or a changed file give another digest. The order of ``indices`` does not matter, nor
        what was asked for before. A dataset that makes its images gives a digest of the options that they depend on.
        """
        ...


def batches(dataset: Dataset, batch_size: int) -> Iterator[Batch]:
    """All images in their order, ``batch_size`` at a time; each is read when its batch is asked for."""
    if batch_size < 1:
        raise SeewhyError(f"batch_size is {batch_size}; give at least 1")
    for start in range(0, len(dataset), batch_size):
        yield dataset.batch(range(start, min(start + batch_size, len(dataset))))


DATASETS: Registry[type[Dataset]] = Registry(
    "dataset", group="seewhy.datasets", members=("takes", "batch", "digest", "__len__")
)
"""Datasets by name. A registered dataset is a dataclass; ``takes`` names the fields that ``seewhy.dataset`` fills."""
