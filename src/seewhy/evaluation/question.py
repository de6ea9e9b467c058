"""What is asked of every image: which class is explained, which is scored, and what the metrics get to see."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, cast

import polars as pl
import torch
from jaxtyping import Int
from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.classifier.identity import classifier_identity
from seewhy.data import Batch, Dataset, HasParts, Parts
from seewhy.describe import digest_of, fields_as_json, weights_digest
from seewhy.errors import ImageError, SeewhyError
from seewhy.evaluation.batch import Rows, box_around, correct, present_classes
from seewhy.evaluation.columns import FACTS_SCHEMA
from seewhy.evaluation.companions import LEAST_COMPANION_CLASSES, find_companions
from seewhy.evaluation.manifest import Identity
from seewhy.explainers import Explainer
from seewhy.explainers.base import maps_of_classes
from seewhy.explanation.targets import class_of_target, need_labels
from seewhy.maps import min_max
from seewhy.masking.values import Value
from seewhy.metrics import Case, Companions
from seewhy.metrics.base import Need
from seewhy.metrics.cost import measure
from seewhy.types import Attribution, Classes, Logits

MAX_COMPARED_CLASSES = 20
"""Up to this many classes, metrics that compare the maps of classes compare all of them by default."""


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
    surrogate: Value | None = None
    candidates: tuple[int, ...] = ()
    """Places of the images among which companions are looked for."""
    _kept: dict[str, Any] = field(default_factory=dict, init=False, repr=False)
    """What belongs to all batches, or to several explainers of one batch, and is made when a metric first needs it."""
    _timed: set[str] = field(default_factory=set, init=False, repr=False)
    """Explainers that were timed before: what happens the first time only is no cost of a map."""

    def identity(self, images: Sequence[int], threads: int) -> Identity:
        """What makes the numbers of two evaluations comparable. ``images`` are places in the dataset."""
        dataset = fields_as_json(self.dataset, ("path", "classes", "view"))
        return Identity(
            classifier=classifier_identity(self.classifier),
            weights=weights_digest(self.classifier.module),
            dataset={"name": type(self.dataset).__name__.lower(), **dataset},
            images=names_digest(self.dataset, images),
            device=str(next((p.device.type for p in self.classifier.module.parameters()), "cpu")),
            target=self.target,
            scored=self.scored,
            only=self.only,
            map_classes=None if self.map_classes is None else list(self.map_classes),
            batch_size=self.batch_size,
            threads=threads,
            seed=self.seed,
            surrogate=value_identity(self.surrogate),
        )

    def rows_of(self, batch: Batch, index: Sequence[int]) -> tuple[pl.DataFrame, Rows]:
        """What the classifier says of a batch, see ``FACTS_SCHEMA``, and the rows to explain; ``index``: of its images."""
        images = self.classifier.to_device(batch.images)
        with self.classifier.running():
            parts = [self.classifier.logits(self.classifier.fast_layout(part)) for part in images.split(self.batch_size)]
        logits = torch.cat(parts)
        labels = None if batch.labels is None else batch.labels.to(images.device)
        self._check(labels)
        rows, explained = self._rows(logits, labels, torch.isfinite(logits).all(1).nonzero()[:, 0])
        known = None if labels is None else labels[rows]
        scored = explained
        if self.scored != "explained":
            scored = class_of_target(self.scored, logits[rows], known, self.classifier, self.data_name)
        regions = None if batch.regions is None else self._regions(batch.regions.to(images.device), rows, explained)
        boxes = None if batch.boxes is None else tuple(batch.boxes[i].to(images) for i in rows.tolist())
        if boxes is None and regions is not None:
            boxes = tuple(box_around(region).to(images) for region in regions)
        of = rows.tolist()
        found = Rows(
            [index[i] for i in of],
            [batch.ids[i] for i in of],
            images[rows],
            explained,
            scored,
            logits[rows],
            known,
            regions,
            boxes,
            tuple(present_classes(labels, i) for i in of) if self.target == "present" and labels is not None else None,
        )
        return self._facts(batch, index, logits, labels, found), found

    def case_of(self, rows: Rows, name: str, needs: frozenset[Need], kept: Attribution | None = None) -> Case:
        """The case of an explainer: its maps and all that is known of them.

        Args:
            rows: the images, and the class that is explained for each.
            name: of the explainer.
            needs: what the metrics need beside images and maps.
            kept: maps that were made before.
        """
        explainer, cost, merged = self.methods[name], None, rows.present is not None
        if "cost" in needs and not merged:  # merged maps have no cost, and the metric says so
            if "forward_passes" not in needs and name not in self._timed:  # counting them is a first run already
                explainer.explain(rows.images[:1], rows.explained[:1])
            maps, cost = measure(explainer, rows.images, rows.explained, count_flops="forward_passes" in needs)
            self._timed.add(name)
        elif kept is not None:
            maps = kept.to(rows.images.device)
        elif rows.present is not None:
            pairs = zip(rows.images.split(1), rows.present, strict=True)
            scaled = (lambda masks: masks) if getattr(explainer, "gives_masks", False) else min_max
            maps = torch.stack([scaled(maps_of_classes(explainer, image, c)[0]).amax(0) for image, c in pairs])
        else:
            maps = explainer.explain(rows.images, rows.explained)
        if not torch.isfinite(maps).all():
            raise ImageError(f"{name} gives NaN or infinite values: leave the method out")
        classes = self._compared_classes(maps.device) if "class_maps" in needs else None
        return Case(
            self.classifier,
            rows.images,
            rows.explained,
            rows.scored,
            maps,
            labels=rows.labels,
            regions=rows.regions,
            boxes=rows.boxes,
            explainer=None if merged else explainer,  # it makes no merged maps; otherwise metrics ask it for class maps
            cost=cost,
            class_maps=maps_of_classes(explainer, rows.images, classes) if classes is not None and merged else None,
            map_classes=classes,
            parts=self._parts(rows) if "parts" in needs and isinstance(self.dataset, HasParts) else None,
            companions=self._companions() if "companions" in needs else None,
            image_logits=rows.logits,
            value=self.surrogate,
            seed=self.seed,
            batch_size=self.batch_size,
            data_name=self.data_name,
        )

    def _parts(self, rows: Rows) -> tuple[Parts, ...]:
        """The parts of each row's image, made once for all explainers of a batch."""
        assert isinstance(self.dataset, HasParts)
        if self._kept.get("parts of") != rows.index:
            found = {place: self.dataset.parts(place) for place in dict.fromkeys(rows.index)}
            self._kept.update({"parts of": rows.index, "parts": tuple(found[place] for place in rows.index)})
        return cast(tuple[Parts, ...], self._kept["parts"])

    def _companions(self) -> Companions:
        """Images of several classes, the same for every batch."""
        if "companions" not in self._kept:
            self._kept["companions"] = find_companions(self.classifier, self.dataset, self.candidates, self.batch_size)
        return cast(Companions, self._kept["companions"])

    @property
    def data_name(self) -> str:
        """What an error calls the data."""
        merged = ", with maps of all present classes merged," if self.target == "present" else ""
        return f"the dataset {type(self.dataset).__name__.lower()}{merged}"

    def _facts(self, batch: Batch, index: Sequence[int], logits: Logits, labels: Tensor | None, rows: Rows) -> pl.DataFrame:
        """A line for each image; that of an image without finite logits has an error."""
        kind = type(self.classifier.module).__name__
        error = f"{kind} returns NaN or infinite logits: check its weights and its preprocessing"
        finite = torch.isfinite(logits).all(1).tolist()
        scores = logits.float() if self.classifier.returns_values else self.classifier.to_probabilities(logits.float())
        probability, predicted = (found.tolist() for found in scores.max(1))
        if self.classifier.returns_values:  # a value is no probability
            probability = [None] * len(probability)
        right = [None] * len(finite) if labels is None else correct(logits, labels).tolist()
        explained = defaultdict[int, list[int]](list)
        for place, label in zip(rows.index, rows.explained.tolist(), strict=True):
            explained[place].append(label)
        lines: list[dict[str, object]] = []
        for i, (place, image_id) in enumerate(zip(index, batch.ids, strict=True)):
            line: dict[str, object] = {"index": place, "image_id": image_id, "error": error}
            if finite[i]:
                line |= {"predicted": predicted[i], "probability": probability[i], "correct": right[i], "error": None}
                line["labels"] = [] if labels is None else present_classes(labels, i).tolist()
                line["explained"] = explained[place]
            lines.append(line)
        return pl.DataFrame(lines, FACTS_SCHEMA)

    def _check(self, labels: Tensor | None) -> None:
        k = self.classifier.n_classes
        if labels is not None and len(labels):
            found = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
            if found > k or (labels.ndim == 2 and found != k):
                raise SeewhyError(f"{self.data_name} has a class {found - 1}, and the classifier only classes 0 to {k - 1}")

    def _rows(
        self, logits: Logits, labels: Tensor | None, rows: Int[Tensor, "s"]
    ) -> tuple[Int[Tensor, "r"], Int[Tensor, "r"]]:
        """Those of the images that are explained, each with its class; an image with several labels comes several times."""
        if self.only != "all":
            right = correct(logits, need_labels(labels, f"only {self.only}", self.data_name))[rows]
            rows = rows[right == (self.only == "correct")]
        if self.target in ("label", "present"):
            labels = need_labels(labels, f"target {self.target}", self.data_name)
            if labels.ndim == 2 and self.target == "label":
                several, classes = (labels[rows] > 0).nonzero().unbind(1)
                return rows[several], classes
            if labels.ndim == 2:
                rows = rows[(labels[rows] > 0).any(1)]
        known = None if labels is None else labels[rows]
        return rows, class_of_target(self.target, logits[rows], known, self.classifier, self.data_name)

    def _regions(self, regions: Tensor, rows: Tensor, explained: Tensor) -> Tensor:
        """(r, h, w): of the class explained where each class has its own, of all that are present for "present"."""
        if regions.ndim == 3:
            return regions[rows]
        return regions[rows].any(1) if self.target == "present" else regions[rows, explained]

    def _compared_classes(self, device: torch.device) -> Classes:
        k = self.classifier.n_classes
        if self.map_classes is None and k > MAX_COMPARED_CLASSES:
            raise SeewhyError(f"the classifier has {k} classes: say whose maps to compare (map_classes, --map-class)")
        return torch.tensor(range(k) if self.map_classes is None else self.map_classes, device=device)


def offers(dataset: Dataset, classifier: Classifier, map_classes: bool = False, target: str = "predicted") -> set[Need]:
    """What metrics can have of a dataset, judged by its first readable image.

    Merged maps (target "present") have no explainer and no cost.
    """
    first = _first_readable(dataset)
    found: set[Need] = set() if target == "present" else {"explainer", "cost", "forward_passes"}
    if first.labels is not None:
        found.add("labels")
    if first.regions is not None:
        found |= {"regions", "boxes"}
    if map_classes or classifier.n_classes <= MAX_COMPARED_CLASSES:
        found.add("class_maps")
    if isinstance(dataset, HasParts):
        found.add("parts")
    if min(classifier.n_classes, len(dataset)) >= LEAST_COMPANION_CLASSES:
        found.add("companions")
    return found


def names_digest(dataset: Dataset, images: Sequence[int]) -> str:
    """How many images these are, and a digest of their names."""
    ids, places = dataset.ids, images
    return f"{len(places)} with the names {digest_of(chr(10).join(ids[i] for i in places).encode())}"


def value_identity(value: Value | None) -> dict[str, Any]:
    """What a value function is: its kind, its options, and the weights of its network; empty for none."""
    if value is None:
        return {}
    network = getattr(value, "classifier", None)
    weights = {"weights": weights_digest(network.module)} if isinstance(network, Classifier) else {}
    return {"kind": type(value).__name__, **fields_as_json(value, ("classifier",)), **weights}


def _first_readable(dataset: Dataset) -> Batch:
    """The first image that can be read; SeewhyError, that of the first image, if none can."""
    if not len(dataset):
        raise SeewhyError("the dataset is empty")
    for index in range(len(dataset)):
        with suppress(SeewhyError):
            return dataset.batch([index])
    return dataset.batch([0])
