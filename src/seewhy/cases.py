"""From a batch of a dataset to cases: which class is explained, which is scored, and the maps."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from seewhy.data import Batch, Dataset
from seewhy.errors import SeewhyError
from seewhy.explainers import Explainer, ExplainsClasses
from seewhy.maps import min_max
from seewhy.metrics import Case
from seewhy.metrics.base import Need
from seewhy.metrics.cost import measure
from seewhy.model import Classifier, frozen
from seewhy.types import Attribution, ClassAttribution, Classes, Images, Logits, Targets

TARGETS = ("label", "predicted", "second", "least", "present")
"""Targets by name; any other is a class."""
MOST_CLASSES = 20
"""Whose maps are compared unless it is said which."""


class Explained(NamedTuple):
    """A case, the names of its images and of its explainer."""

    ids: list[str]
    explainer: str
    case: Case


@dataclass(frozen=True)
class Question:
    """What is asked of every batch: see ``seewhy.evaluate`` for the options.

    needs   what the metrics need beside images and maps
    """

    classifier: Classifier
    dataset: Dataset
    methods: Mapping[str, Explainer]
    needs: frozenset[Need]
    target: str
    scored: str
    only: str
    map_classes: tuple[int, ...] | None
    batch_size: int
    seed: int

    def cases(self, batch: Batch) -> Iterator[Explained]:
        """One case for each explainer; none if no image of the batch is asked for."""
        images = self.classifier.place(batch.images)
        logits = torch.cat([self._logits(part) for part in images.split(self.batch_size)])
        labels = None if batch.labels is None else batch.labels.to(images.device)
        rows, explained = self._asked(logits, labels)
        if not len(rows):
            return
        known = None if labels is None else labels[rows]
        goal = explained if self.scored == "explained" else self._one_class(logits[rows], known, self.scored)
        regions = None if batch.regions is None else self._regions(batch.regions.to(images.device), rows, explained)
        boxes = None if batch.boxes is None else tuple(batch.boxes[i].to(images) for i in rows.tolist())
        if boxes is None and regions is not None:
            boxes = tuple(box_around(region).to(images) for region in regions)
        classes = self._studied(images.device) if "class_maps" in self.needs else None
        for name, explainer in self.methods.items():
            if self.target == "present":
                several = [present_classes(labels, i) for i in rows.tolist()]
                merged = [merged_map(explainer, images[i : i + 1], c) for i, c in zip(rows.tolist(), several, strict=True)]
                maps, cost = torch.cat(merged), None
            elif "cost" in self.needs:
                maps, cost = measure(explainer, images[rows], explained)
            else:
                maps, cost = explainer.explain(images[rows], explained), None
            if not torch.isfinite(maps).all():
                raise SeewhyError(f"{name} gives NaN for one of {batch.ids[0]} to {batch.ids[-1]}: leave the method out")
            yield Explained(
                [batch.ids[i] for i in rows.tolist()],
                name,
                Case(
                    self.classifier,
                    images[rows],
                    explained,
                    goal,
                    maps,
                    labels=known,
                    regions=regions,
                    boxes=boxes,
                    explainer=None if self.target == "present" else explainer,  # it makes no merged maps
                    cost=cost,
                    class_maps=None if classes is None else maps_of_classes(explainer, images[rows], classes),
                    map_classes=classes,
                    whole=logits[rows],
                    seed=self.seed,
                    batch_size=self.batch_size,
                    source=self._source,
                ),
            )

    def _logits(self, images: Tensor) -> Logits:
        with frozen(self.classifier.module), torch.no_grad():
            logits = self.classifier.logits(images)
        if not torch.isfinite(logits).all():
            kind = type(self.classifier.module).__name__
            raise SeewhyError(f"{kind} returns NaN or infinite logits: check its weights and its preprocessing")
        return logits

    def _asked(self, logits: Logits, labels: Tensor | None) -> tuple[Int[Tensor, "r"], Int[Tensor, "r"]]:
        """Rows of the batch and the class to explain for each; an image with several labels has a row for each of them."""
        k = self.classifier.n_classes
        if labels is not None and len(labels):
            found = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
            if found > k or (labels.ndim == 2 and found != k):
                raise SeewhyError(f"{self._source} has a class {found - 1}, and the classifier only classes 0 to {k - 1}")
        rows = torch.arange(len(logits), device=logits.device)
        if self.only != "all":
            right = correct(logits, self._labels(labels, f"only {self.only}"))
            rows = rows[right == (self.only == "correct")]
        if self.target in ("label", "present"):
            known = self._labels(labels, f"target {self.target}")[rows]
            if known.ndim == 2 and self.target == "label":
                found_rows, classes = (known > 0).nonzero().unbind(1)
                return rows[found_rows], classes
            if known.ndim == 2:
                rows = rows[(known > 0).any(1)]
        return rows, self._one_class(logits[rows], None if labels is None else labels[rows], self.target)

    def _one_class(self, logits: Logits, labels: Tensor | None, target: str) -> Targets:
        """(n,) the class that ``target`` means for each image; of several labels the one that is most likely."""
        match target:
            case "predicted":
                return logits.argmax(1)
            case "second":
                return logits.topk(2, dim=1).indices[:, 1]
            case "least":
                return logits.argmin(1)
            case "label" | "present":
                known = self._labels(labels, f"target {target}")
                return known if known.ndim == 1 else logits.masked_fill(known <= 0, -torch.inf).argmax(1)
        return torch.full((len(logits),), self.classifier.class_index(target), device=logits.device)

    def _labels(self, labels: Tensor | None, what: str) -> Tensor:
        if labels is None:
            raise SeewhyError(f"{what} needs the true classes, which {self._source} does not have")
        return labels

    def _regions(self, regions: Tensor, rows: Tensor, explained: Tensor) -> Tensor:
        """(r, h, w): of the class explained where each class has its own, of all that are present for "present"."""
        if regions.ndim == 3:
            return regions[rows]
        return regions[rows].any(1) if self.target == "present" else regions[rows, explained]

    def _studied(self, device: torch.device) -> Classes:
        k = self.classifier.n_classes
        if self.map_classes is None and k > MOST_CLASSES:
            raise SeewhyError(f"the classifier has {k} classes: say whose maps to compare (map_classes, --map-class)")
        return torch.tensor(range(k) if self.map_classes is None else self.map_classes, device=device)

    @property
    def _source(self) -> str:
        merged = ", with maps of all present classes merged," if self.target == "present" else ""
        return f"the dataset {type(self.dataset).__name__.lower()}{merged}"


def box_around(region: Tensor) -> Tensor:
    """(1, 4) left, top, right, bottom of the smallest box that holds the region; (0, 4) for an empty one."""
    rows, columns = region.any(1).nonzero()[:, 0], region.any(0).nonzero()[:, 0]
    if not len(rows):
        return torch.zeros(0, 4)
    ends = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    return torch.tensor([[float(end) for end in ends]])


def correct(logits: Logits, labels: Tensor) -> Tensor:
    """(n,) is the prediction right? Every class of a multi-label image at once, at a probability of one half."""
    return logits.argmax(1) == labels if labels.ndim == 1 else ((logits > 0) == (labels > 0)).all(1)


def present_classes(labels: Tensor | None, row: int) -> Classes:
    """(m,) the classes of one image."""
    assert labels is not None  # the door has checked
    return labels[row : row + 1] if labels.ndim == 1 else (labels[row] > 0).nonzero()[:, 0]


def merged_map(explainer: Explainer, image: Tensor, classes: Classes) -> Attribution:
    """(1, h, w): the maximum of the min-max maps of several classes."""
    return min_max(maps_of_classes(explainer, image, classes)[0]).amax(0, keepdim=True)


def maps_of_classes(explainer: Explainer, images: Images, classes: Classes) -> ClassAttribution:
    """(n, j, h, w), in one pass where the method can."""
    if isinstance(explainer, ExplainsClasses):
        return explainer.explain_classes(images, classes)
    return torch.stack([explainer.explain(images, c.expand(len(images))) for c in classes], 1)
