"""Images of several classes that metrics put beside another image: those of which the classifier is most sure."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress

import torch
from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.data import Batch, Dataset
from seewhy.errors import SeewhyError
from seewhy.metrics import Companions

CANDIDATES, OF_A_CLASS, MOST_COMPANIONS = 128, 4, 64
"""Images that are looked at, spread evenly; how many of a class are kept; and how many in all."""
LEAST_COMPANION_CLASSES = 4
"""A grid of 2 x 2 needs as many classes."""


def find_companions(classifier: Classifier, dataset: Dataset, places: Sequence[int], batch_size: int) -> Companions:
    """Of each class that the classifier predicts, the images of which it is most sure, among those at ``places``.

    The choice depends on the images and the classifier alone, so that every process of an evaluation makes the same one.
    SeewhyError where no image can be read.
    """
    n, count = len(places), min(len(places), CANDIDATES)
    spread = [places[i * n // count] for i in range(count)]
    found: list[tuple[float, int, Tensor]] = []
    for batch in _readable(dataset, spread, batch_size):
        images = classifier.to_device(batch.images)
        with classifier.running():
            logits = classifier.logits(classifier.fast_layout(images)).float()
        sure, seen = (logits if classifier.returns_values else classifier.to_probabilities(logits)).max(1)
        found += (one for one in zip(sure.tolist(), seen.tolist(), batch.images, strict=True) if one[0] == one[0])  # no NaN
    kept: list[tuple[int, int, Tensor]] = []
    ranks = Counter[int]()
    for _, seen_class, image in sorted(found, key=lambda one: -one[0]):
        if ranks[seen_class] < OF_A_CLASS:
            kept.append((ranks[seen_class], seen_class, image))
            ranks[seen_class] += 1
    kept = sorted(kept, key=lambda one: one[0])[:MOST_COMPANIONS]  # the surest of every class first
    if not kept:
        raise SeewhyError("no image of the data can be read and classified, so none can be put beside another")
    return Companions(torch.stack([one[2] for one in kept]), torch.tensor([one[1] for one in kept], dtype=torch.int64))


def _readable(dataset: Dataset, places: Sequence[int], batch_size: int) -> Iterator[Batch]:
    """The images at these places that can be read, up to ``batch_size`` at a time."""
    for start in range(0, len(places), batch_size):
        some = list(places[start : start + batch_size])
        try:
            yield dataset.batch(some)
        except SeewhyError:
            for place in some:
                with suppress(SeewhyError):
                    yield dataset.batch([place])
