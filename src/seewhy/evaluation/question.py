"""From a batch of a dataset to cases: which class is explained, which is scored, and the maps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.data import Batch, Dataset
from seewhy.errors import ImageError, SeewhyError
from seewhy.explainers import Explainer
from seewhy.explainers.base import maps_of_classes
from seewhy.maps import min_max
from seewhy.metrics import Case
from seewhy.metrics.base import Need
from seewhy.metrics.cost import measure
from seewhy.registry import did_you_mean
from seewhy.types import Attribution, Classes, Images, Logits, Targets

TARGETS = ("label", "predicted", "second", "least", "present")
"""Targets by name; any other is a class."""
MOST_CLASSES = 20
"""Whose maps are compared unless it is said which."""


@dataclass(frozen=True, order=True)
class Failure:
    """What went wrong with one image. No explainer: it could not be read or classified; no metric: not explained."""

    index: int
    image_id: str
    explainer: str
    metric: str
    error: str


@dataclass(frozen=True)
class Facts:
    """What the classifier says of the images of a batch, and the truth: no labels where nobody has said them.

    index, image_id   their places in the dataset, and their names
    predicted         the likeliest class, and its probability
    labels            the classes that are present
    correct           is the prediction right?
    failures          images that could not be read or classified, and are missing above
    """

    index: list[int]
    image_id: list[str]
    predicted: list[int]
    probability: list[float]
    labels: list[list[int]]
    correct: list[bool | None]
    failures: list[Failure]


@dataclass(frozen=True, eq=False)
class Asked:
    """Some images of a batch and the class that is explained for each: an image with several labels has several rows.

    index, ids         the image of each row: its place in the dataset, its name
    explained, scored  (r,) classes
    logits             (r, k)
    labels, regions, boxes  as in ``Case``
    present            the classes whose maps are merged, if they are
    """

    index: list[int]
    ids: list[str]
    images: Images
    explained: Targets
    scored: Targets
    logits: Logits
    labels: Tensor | None
    regions: Tensor | None
    boxes: tuple[Tensor, ...] | None
    present: tuple[Tensor, ...] | None

    def rows(self, rows: Sequence[int]) -> "Asked":
        """Some of the rows."""

        def pick(value: Any) -> Any:
            if isinstance(value, Tensor):
                return value[list(rows)]
            return None if value is None else type(value)(value[i] for i in rows)

        return Asked(*(pick(getattr(self, f.name)) for f in fields(self)))


@dataclass(frozen=True)
class Question:
    """What is asked of every batch: see ``seewhy.evaluate`` for the options."""

    classifier: Classifier
    dataset: Dataset
    methods: Mapping[str, Explainer]
    target: str
    scored: str
    only: str
    map_classes: tuple[int, ...] | None
    batch_size: int
    seed: int
    _begun: set[str] = field(default_factory=set, init=False, repr=False)
    """Methods that were timed before: what happens the first time only is no cost of a map."""

    def ask(self, batch: Batch, index: Sequence[int]) -> tuple[Facts, Asked]:
        """What the classifier says of a batch, whose images stand at ``index`` in the dataset, and what is asked of it."""
        images = self.classifier.to_device(batch.images)
        logits = torch.cat([self._logits(part) for part in images.split(self.batch_size)])
        labels = None if batch.labels is None else batch.labels.to(images.device)
        self._check(labels)
        sound = torch.isfinite(logits).all(1)
        kind = type(self.classifier.module).__name__
        error = f"{kind} returns NaN or infinite logits: check its weights and its preprocessing"
        failures = [Failure(index[i], batch.ids[i], "", "", error) for i in (~sound).nonzero()[:, 0].tolist()]
        rows, explained = self._asked(logits, labels, sound.nonzero()[:, 0])
        known = None if labels is None else labels[rows]
        goal = explained if self.scored == "explained" else self._one_class(logits[rows], known, self.scored)
        regions = None if batch.regions is None else self._regions(batch.regions.to(images.device), rows, explained)
        boxes = None if batch.boxes is None else tuple(batch.boxes[i].to(images) for i in rows.tolist())
        if boxes is None and regions is not None:
            boxes = tuple(box_around(region).to(images) for region in regions)
        of = rows.tolist()
        asked = Asked(
            [index[i] for i in of],
            [batch.ids[i] for i in of],
            images[rows],
            explained,
            goal,
            logits[rows],
            known,
            regions,
            boxes,
            tuple(present_classes(labels, i) for i in of) if self.target == "present" and labels is not None else None,
        )
        return self._facts(batch, index, logits, labels, sound.tolist(), failures), asked

    def case(self, asked: Asked, name: str, needs: frozenset[Need], kept: Attribution | None = None) -> Case:
        """The case of an explainer: its maps, unless they are ``kept`` from before, and all that is known of them.

        needs: what the metrics need beside images and maps.
        """
        explainer, cost = self.methods[name], None
        if "cost" in needs and asked.present is None:  # merged maps have no cost, and the metric says so
            if "forward_passes" not in needs and name not in self._begun:  # counting them is a first run already
                explainer.explain(asked.images[:1], asked.explained[:1])
            maps, cost = measure(explainer, asked.images, asked.explained, count_flops="forward_passes" in needs)
            self._begun.add(name)
        elif kept is not None:
            maps = kept.to(asked.images.device)
        elif asked.present is not None:
            images = asked.images.split(1)
            maps = torch.cat([merged_map(explainer, i, c) for i, c in zip(images, asked.present, strict=True)])
        else:
            maps = explainer.explain(asked.images, asked.explained)
        if not torch.isfinite(maps).all():
            raise ImageError(f"{name} gives NaN or infinite values: leave the method out")
        classes = self._studied(maps.device) if "class_maps" in needs else None
        merged = asked.present is not None  # where a metric can have the explainer, it asks for the images that it needs
        return Case(
            self.classifier,
            asked.images,
            asked.explained,
            asked.scored,
            maps,
            labels=asked.labels,
            regions=asked.regions,
            boxes=asked.boxes,
            explainer=None if merged else explainer,  # it makes no merged maps
            cost=cost,
            class_maps=maps_of_classes(explainer, asked.images, classes) if classes is not None and merged else None,
            map_classes=classes,
            image_logits=asked.logits,
            seed=self.seed,
            batch_size=self.batch_size,
            data_name=self.source,
        )

    def _logits(self, images: Tensor) -> Logits:
        with self.classifier.running():
            return self.classifier.logits(self.classifier.fast_layout(images))

    def _facts(
        self,
        batch: Batch,
        index: Sequence[int],
        logits: Logits,
        labels: Tensor | None,
        sound: list[bool],
        failures: list[Failure],
    ) -> Facts:
        some = [i for i, fine in enumerate(sound) if fine]
        top = self.classifier.to_probabilities(logits.float()).max(1)
        present = [[] if labels is None else present_classes(labels, i).tolist() for i in some]
        right = [None] * len(sound) if labels is None else correct(logits, labels).tolist()
        return Facts(
            [index[i] for i in some],
            [batch.ids[i] for i in some],
            top.indices[some].tolist(),
            top.values[some].tolist(),
            present,
            [right[i] for i in some],
            failures,
        )

    def _check(self, labels: Tensor | None) -> None:
        k = self.classifier.n_classes
        if labels is not None and len(labels):
            found = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
            if found > k or (labels.ndim == 2 and found != k):
                raise SeewhyError(f"{self.source} has a class {found - 1}, and the classifier only classes 0 to {k - 1}")

    def _asked(
        self, logits: Logits, labels: Tensor | None, rows: Int[Tensor, "s"]
    ) -> tuple[Int[Tensor, "r"], Int[Tensor, "r"]]:
        """Which of the rows are asked for, each with the class to explain; several labels make several rows."""
        if self.only != "all":
            right = correct(logits, self._labels(labels, f"only {self.only}"))[rows]
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
        try:
            return torch.full((len(logits),), self.classifier.class_index(target), device=logits.device)
        except SeewhyError as error:
            hint = did_you_mean(target, list(TARGETS))
            raise SeewhyError(f"target {target!r} is none of {', '.join(TARGETS)}, and no class.{hint} {error}") from None

    def _labels(self, labels: Tensor | None, what: str) -> Tensor:
        if labels is None:
            raise SeewhyError(f"{what} needs the true classes, which {self.source} does not have")
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
    def source(self) -> str:
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
