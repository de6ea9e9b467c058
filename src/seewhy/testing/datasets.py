"""The contract of a dataset, as checks that anybody can run on their own dataset.

    from seewhy.testing import check_dataset
    check_dataset(dataset, spare=file)

``dataset`` has at least two different images. ``spare`` is the file of one picture: it is broken for a moment.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import is_dataclass, replace
from inspect import isclass
from pathlib import Path
from typing import Any

import torch

from seewhy.data import Batch, Dataset, HasParts
from seewhy.describe import as_json
from seewhy.errors import SeewhyError
from seewhy.testing.wanted import expect, must_have

Check = Callable[[Dataset], None]
MAX_IMAGES = 6
"""At most so many images are read, spread evenly over the dataset."""


def check_names(dataset: Dataset) -> None:
    """As many names as images, each once; classes are names too."""
    ids = list(dataset.ids)
    expect(len(ids) == len(dataset) >= 2, f"there are {len(ids)} ids of {len(dataset)} images; give at least two images")
    expect(all(isinstance(name, str) and name for name in ids), "an id is no text, or is empty")
    expect(len(set(ids)) == len(ids), "two images have the same id")
    expect(ids == list(dataset.ids), "ids differ when they are asked for again")
    expect(isinstance(dataset.classes, tuple), f"classes are a {type(dataset.classes).__name__}; give a tuple of names")


def check_batch(dataset: Dataset) -> None:
    """Images in [0, 1], and labels, regions and boxes of the shapes that ``Batch`` says."""
    indices, k = _some(dataset), len(dataset.classes)
    batch = dataset.batch(indices)
    n, images = len(indices), batch.images
    expect(batch.ids == [dataset.ids[i] for i in indices], "the ids of a batch are not those of its places")
    expect(images.ndim == 4 and len(images) == n, f"images have shape {tuple(images.shape)}")
    expect(images.dtype == torch.float32 and images.isfinite().all().item() is True, "images are no finite float32")
    expect(float(images.min()) >= 0 and float(images.max()) <= 1, "images leave [0, 1]")
    size, labels = tuple(images.shape[-2:]), batch.labels
    if labels is not None and labels.ndim == 1:
        expect(labels.shape == (n,) and labels.dtype == torch.int64, f"labels are {labels.dtype} {tuple(labels.shape)}")
        expect(int(labels.min()) >= 0 and (not k or int(labels.max()) < k), f"a label is not one of {k} classes")
    elif labels is not None:
        expect(labels.shape == (n, k), f"labels have shape {tuple(labels.shape)}, for {n} images and {k} classes")
        expect(bool(((labels == 0) | (labels == 1)).all()), "labels of several classes are not zeros and ones")
    if batch.regions is not None:
        several = labels is not None and labels.ndim == 2
        wanted = (n, k, *size) if several else (n, *size)
        expect(batch.regions.shape == wanted, f"regions have shape {tuple(batch.regions.shape)}, not {wanted}")
        expect(batch.regions.dtype == torch.bool, f"regions are {batch.regions.dtype}, not bool")
        if several and labels is not None:
            expect(not batch.regions.flatten(2).any(2)[labels == 0].any(), "a class that is absent has a region")
    if batch.boxes is not None:
        expect(len(batch.boxes) == n, f"there are boxes of {len(batch.boxes)} images, not of {n}")
        for boxes in batch.boxes:
            expect(boxes.ndim == 2 and boxes.shape[1] == 4, f"boxes have shape {tuple(boxes.shape)}, not (m, 4)")
            left, top, right, bottom = boxes.T
            inside = (left >= 0) & (left < right) & (right <= size[1]) & (top >= 0) & (top < bottom) & (bottom <= size[0])
            expect(bool(inside.all()), "a box is empty, or leaves the image")


def check_any_order(dataset: Dataset) -> None:
    """An image is the same alone, in a batch, in another order, and twice in a batch."""
    indices = _some(dataset)
    together = dataset.batch(indices)
    for place, index in enumerate(indices):
        _same(dataset.batch([index]), _rows(together, [place]), "an image alone")
    backwards = list(reversed(range(len(indices))))
    _same(dataset.batch(indices[::-1]), _rows(together, backwards), "images in another order")
    _same(dataset.batch([indices[0]] * 2), _rows(together, [0, 0]), "an image twice")


def check_same_again(dataset: Dataset) -> None:
    """A second call, and the dataset made anew, give the same, whatever the global random generator does."""
    indices = _some(dataset)
    first = dataset.batch(indices)
    torch.manual_seed(123)
    state = torch.get_rng_state()
    _same(dataset.batch(indices), first, "a second call")
    expect(torch.equal(torch.get_rng_state(), state), "the global random generator was used")
    anew = _anew(dataset)
    expect(list(anew.ids) == list(dataset.ids), "the dataset made anew has other ids")
    _same(anew.batch(indices), first, "the dataset made anew")


def check_digest(dataset: Dataset) -> None:
    """The digest is that of the images asked for, whatever their order and whatever was asked for before."""
    indices = _some(dataset)
    whole = dataset.digest(indices)
    expect(isinstance(whole, str) and bool(whole), "the digest is no text, or is empty")
    dataset.batch(indices[:1])
    expect(dataset.digest(indices) == whole, "the digest differs when it is asked for again")
    expect(dataset.digest(indices[::-1]) == whole, "the digest depends on the order of the indices")
    expect(_anew(dataset).digest(indices) == whole, "the dataset made anew has another digest")
    each = [dataset.digest([index]) for index in indices]
    expect(len({*each, whole}) == len(indices) + 1, "different images have the same digest")


def check_broken_picture(dataset: Dataset, spare: Path) -> None:
    """A picture that cannot be read is one line that names its file, its digest changes, and the others can be read."""
    before = [dataset.digest([index]) for index in range(len(dataset))]
    content, failures = spare.read_bytes(), {}
    spare.write_bytes(b"no picture")
    try:
        for index in range(len(dataset)):
            try:
                dataset.batch([index])
            except SeewhyError as error:
                failures[index] = str(error)
        expect(bool(failures), f"{spare.name} is broken, and no image raises SeewhyError")
        expect(len(failures) < len(dataset), f"{spare.name} is broken, and no image at all can be read")
        for index, said in failures.items():
            expect(spare.name in said and "\n" not in said, f"the error is not one line that names {spare.name}: {said}")
            expect(dataset.digest([index]) != before[index], "a file has changed, and the digest has not")
    finally:
        spare.write_bytes(content)
    expect([dataset.digest([index]) for index in range(len(dataset))] == before, "a file was restored, the digest was not")


def check_parts(dataset: Dataset) -> None:
    """Where the dataset has parts: their names, the pixels of each, and the image without each of them."""
    if not isinstance(dataset, HasParts):
        return
    for index in _some(dataset)[:2]:
        parts, image = dataset.parts(index), dataset.batch([index]).images[0]
        m, shape = len(parts.names), tuple(image.shape)
        expect(parts.images.shape == (m, *shape), f"images without parts are {tuple(parts.images.shape)}, of {m} parts")
        expect(parts.images.dtype == image.dtype, f"images without parts are {parts.images.dtype}")
        expect(float(parts.images.min()) >= 0 and float(parts.images.max()) <= 1, "images without parts leave [0, 1]")
        expect(parts.regions.shape == (m, *shape[1:]), f"regions of {m} parts are {tuple(parts.regions.shape)}")
        expect(parts.regions.dtype == torch.bool, f"regions of parts are {parts.regions.dtype}, not bool")
        expect(bool(parts.regions.flatten(1).any(1).all()), "a part has no pixel that can be seen")


CHECKS: tuple[Check, ...] = (check_names, check_batch, check_any_order, check_same_again, check_digest, check_parts)


def check_dataset(dataset: Dataset, spare: str | Path | None = None) -> None:
    """Run every check; the first promise that is broken raises AssertionError and says which.

    What is no dataset at all, such as a dataset of torch, is answered with what it lacks and what to do.

    Args:
        dataset: at least two different images.
        spare: the file of one picture; it is overwritten for a moment, and then restored. Without it, or in a dataset
            without files, the check of a broken picture is left out.
    """
    must_be_dataset(dataset)
    for check in CHECKS:
        check(dataset)
    if spare is not None:
        check_broken_picture(dataset, Path(spare))


DATASET_MEMBERS = {
    "classes": "classes, a tuple of names",
    "ids": "ids, a unique name of each image",
    "__len__": "__len__(self)",
    "batch": "batch(self, indices), which returns a data.Batch",
    "digest": "digest(self, indices), a text that changes with the images",
}
"""The members of a dataset, as a class writes them."""


def must_be_dataset(dataset: Any) -> None:
    """AssertionError where ``dataset`` is no dataset, or hands out no ``Batch``: what is missing, what to do."""
    name = getattr(dataset, "__name__", type(dataset).__name__)
    expect(
        not isinstance(dataset, str | Path),
        f"{str(dataset)!r} is a name: give seewhy.dataset({str(dataset)!r}, classifier), or a dataset of your own",
    )
    expect(not isclass(dataset), f"{name} is a class: give a dataset that it makes")
    must_have(dataset, DATASET_MEMBERS, "dataset")
    expect(len(dataset) >= 2, f"the dataset has {len(dataset)} images: give one with two different images or more")
    batch = dataset.batch([0])
    expect(
        isinstance(batch, Batch),
        f"batch returns a {type(batch).__name__}: return data.Batch(ids, images, labels), labels=None if they are unknown",
    )
    expect(
        isinstance(batch.images, torch.Tensor),
        f"the images of a batch are a {type(batch.images).__name__}: give a tensor (n, c, h, w) of floats in [0, 1]",
    )
    labels = batch.labels
    expect(
        labels is None or isinstance(labels, torch.Tensor),
        f"the labels of a batch are a {type(labels).__name__}: give a tensor of class indices, or None",
    )


def _some(dataset: Dataset) -> list[int]:
    n = len(dataset)
    return list(range(n)) if n <= MAX_IMAGES else [i * n // MAX_IMAGES for i in range(MAX_IMAGES)]


def _anew(dataset: Dataset) -> Dataset:
    """The dataset made again from its options; a copy of it if it is no dataclass."""
    return replace(dataset) if is_dataclass(dataset) and not isinstance(dataset, type) else deepcopy(dataset)


def _rows(batch: Batch, rows: Sequence[int]) -> Batch:
    labels, regions = (None if t is None else t[list(rows)] for t in (batch.labels, batch.regions))
    boxes = None if batch.boxes is None else tuple(batch.boxes[i] for i in rows)
    return Batch([batch.ids[i] for i in rows], batch.images[list(rows)], labels, regions, boxes)


def _same(found: Batch, wanted: Batch, what: str) -> None:
    expect(found.ids == wanted.ids, f"{what} has another id")
    for name, one, other in zip(Batch._fields, found, wanted, strict=True):
        expect(as_json(one) == as_json(other), f"{what} gives other {name}")
