"""The images of a training, as the frozen network sees them: read and seen once where memory allows it."""

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.classifier.precision import Precision, is_out_of_memory
from seewhy.data import Batch, Dataset
from seewhy.errors import SeewhyError, SeewhyWarning, cause
from seewhy.explainers.learned.learned_explainer import Seen, ValuedSets
from seewhy.training.remembered import RememberedSets
from seewhy.training.trainable import Trainable

FIRST_FAILURES = 16
"""So many images that cannot be read, and none that can, stop a training."""
FIRST_WARNINGS = 5
"""So many unreadable images have a line of their own; the run folder names all."""


class SeenImages:
    """Images of a dataset, and what the frozen network says of them.

    Images are kept as they are read, in bytes where that loses nothing. What the network says of them is kept by ``fill``,
    in the order of the dataset and in batches that are always the same, so that it does not depend on when a training was
    interrupted. Images go before features, which take more memory for the time that they save. What does not fit is read,
    and seen, again at each step.

    Args:
        what: sees.
        classifier: the frozen network; its blocks ``running`` are open when images are seen.
        dataset: any; an image that cannot be read is left out, with a warning.
        places: of these images in the dataset, in its order.
        precision: of the features that are handed out.
        memory: bytes that may be kept.
    """

    def __init__(
        self,
        what: Trainable,
        classifier: Classifier,
        dataset: Dataset,
        places: Sequence[int],
        precision: Precision,
        memory: int,
    ) -> None:
        self.what, self.classifier, self.dataset = what, classifier, dataset
        self.places, self.memory = list(places), memory
        self._dtype = torch.bfloat16 if precision == "bf16" else None
        self._readable = 0
        self.remembered = RememberedSets(getattr(what, "remember", 0) * 2**20, len(self.places))
        self._read: dict[int, tuple[Tensor, Tensor | None]] = {}
        self._seen: dict[int, tuple[Tensor | None, ...]] = {}
        self.left_out: dict[int, str] = {}
        """Why an image could not be read, by its place in the dataset."""

    def fill(self, batch_size: int, tick: Callable[[int], bool] = lambda _: True) -> None:
        """See images beforehand, as many as memory allows for.

        Args:
            batch_size: images at a time.
            tick: is called with the number of images that were looked at, and may say no: then it ends.
        """
        for start in range(0, len(self.places), batch_size):
            part = self.places[start : start + batch_size]
            if self.memory <= 0 or not tick(start):
                return
            kept, images, labels = self._images(part)
            if not kept:
                continue
            seen = self._look(images, labels, kept)
            rows = list(zip(kept, self._rows(seen), strict=True))
            size = sum(t.nbytes for _, row in rows for t in row if t is not None)
            others = (len(self.places) - start - len(part)) * max(_as_bytes(image).nbytes for image in images)
            if size > self.memory - others:
                return
            self.memory -= size
            self._seen.update(rows)

    def first_labels(self) -> Tensor | None:
        """The labels of the first image that can be read; None where the dataset has none. SeewhyError without any image."""
        for place in self.places:
            kept, _, labels = self._images([place])
            if kept:
                return labels
        raise SeewhyError(f"none of {len(self.places)} images can be read: {next(iter(self.left_out.values()))}")

    def seen(self, places: Sequence[int]) -> Seen | None:
        """What is known of the images at these places in the dataset, but those that cannot be read; None without any."""
        kept, images, labels = self._images(places)
        if not kept:
            return None
        seen = self._known(kept, images, labels)
        return seen._replace(sets=self.remembered.of(kept, images.device)) if self.remembered.is_on else seen

    def remember(self, places: Sequence[int], sets: ValuedSets) -> None:
        """Give later steps the sets that a step has asked for. ``places`` are those that ``seen`` was given."""
        self.remembered.add([place for place in places if place not in self.left_out], sets)

    def _known(self, kept: Sequence[int], images: Tensor, labels: Tensor | None) -> Seen:
        """What is known of images that were read: from memory where it is there."""
        fresh = [i for i, place in enumerate(kept) if place not in self._seen]
        if len(fresh) == len(kept):
            return self._look(images, labels, kept)
        rows: list[tuple[Tensor | None, ...]] = [self._seen.get(place, ()) for place in kept]
        if fresh:
            some = self._look(images[fresh], None if labels is None else labels[fresh], [kept[i] for i in fresh])
            for i, row in zip(fresh, self._rows(some), strict=True):
                rows[i] = row
        known, logits, *features = (
            None if column[0] is None else torch.stack([t for t in column if t is not None]).to(images.device)
            for column in zip(*rows, strict=True)
        )
        assert logits is not None
        return Seen(images, known, logits, tuple(f for f in features if f is not None))

    def _look(self, images: Tensor, labels: Tensor | None, places: Sequence[int]) -> Seen:
        """What the network says of the images; its features in the precision of the run."""
        seen = self.what.see(images, labels)
        if bad := (~torch.isfinite(seen.logits).all(1)).nonzero()[:, 0].tolist():
            kind, name = type(self.classifier.module).__name__, self.dataset.ids[places[bad[0]]]
            raise SeewhyError(f"{kind} returns NaN or infinite logits for {name}: check its weights and its preprocessing")
        return seen._replace(features=tuple(f if self._dtype is None else f.to(self._dtype) for f in seen.features))

    def _rows(self, seen: Seen) -> list[tuple[Tensor | None, ...]]:
        """Of each image its labels, logits and features, in memory of the CPU."""
        columns = [None if t is None else t.detach().cpu() for t in (seen.labels, seen.logits, *seen.features)]
        return [tuple(None if c is None else c[i].clone() for c in columns) for i in range(len(seen.logits))]

    def _images(self, places: Sequence[int]) -> tuple[list[int], Tensor, Tensor | None]:
        """The places whose images can be read, and these images and labels, on the device of the network."""
        missing = [place for place in places if place not in self._read and place not in self.left_out]
        new = self._from_disk(missing)
        found = [(place, *(new.get(place) or self._read[place])) for place in places if place not in self.left_out]
        if not found:
            return [], torch.empty(0), None
        images = torch.stack([_as_float(image) for _, image, _ in found])
        labels = None if found[0][2] is None else torch.stack([label for *_, label in found if label is not None])
        images = self.classifier.to_device(images)
        self._check(labels)
        return [place for place, *_ in found], images, None if labels is None else labels.to(images.device)

    def _from_disk(self, places: Sequence[int]) -> dict[int, tuple[Tensor, Tensor | None]]:
        new: dict[int, tuple[Tensor, Tensor | None]] = {}
        batch = self._batch(places) if places else None
        parts = [(places, batch)] if batch is not None else [([place], self._batch([place])) for place in places]
        for of, part in parts:
            if part is None:
                continue
            self._readable += len(of)
            for i, place in enumerate(of):
                new[place] = (part.images[i], None if part.labels is None else part.labels[i])
                image = _as_bytes(part.images[i])
                if image.nbytes <= self.memory:
                    self.memory -= image.nbytes
                    self._read[place] = (image.clone(), new[place][1])
        return new

    def _batch(self, places: Sequence[int]) -> Batch | None:
        """The images at these places; None if one of them cannot be read: of a single one the reason is kept."""
        try:
            return self.dataset.batch(places)
        except Exception as error:  # the user's own dataset may fail in any way, of one picture alone
            if is_out_of_memory(error):
                raise
            if len(places) == 1:
                self._leave_out(places[0], cause(error))
            return None

    def _leave_out(self, place: int, why: str) -> None:
        self.left_out[place] = why
        if len(self.left_out) == FIRST_FAILURES and not self._readable:
            first = next(iter(self.left_out.values()))
            raise SeewhyError(f"none of {FIRST_FAILURES} images can be read: {first}")
        if len(self.left_out) <= FIRST_WARNINGS:
            more = "; more such images are named in the run folder" if len(self.left_out) == FIRST_WARNINGS else ""
            warnings.warn(f"left out of the training: {self.dataset.ids[place]} ({why}){more}", SeewhyWarning, stacklevel=2)

    def _check(self, labels: Tensor | None) -> None:
        """SeewhyError for labels that the network does not know."""
        k = self.classifier.n_classes
        if labels is not None and len(labels):
            found = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
            if found > k or (labels.ndim == 2 and found != k):
                raise SeewhyError(f"the dataset has a class {found - 1}, and the classifier only classes 0 to {k - 1}")


def _as_bytes(image: Tensor) -> Tensor:
    """The image in bytes, if they hold all of it: that of a picture of 8 bits."""
    small = (image * 255).round().clamp(0, 255).byte()
    return small if torch.equal(_as_float(small), image) else image


def _as_float(image: Tensor) -> Tensor:
    return image.float() / 255 if image.dtype == torch.uint8 else image
