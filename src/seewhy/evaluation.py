"""Explainers x metrics x batches -> rows: each map is made once and read by every metric."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from seewhy.cases import Explained, Question
from seewhy.data import Batch, Dataset
from seewhy.errors import SeewhyError
from seewhy.explainers import Explainer
from seewhy.explainers import explainer as build_explainer
from seewhy.metrics import Metric
from seewhy.metrics.base import metric, reduced, score
from seewhy.model import Classifier


class Row(NamedTuple):
    """One number. A metric with several for an image has a row for each, called ``metric[0]``, ``metric[1]``, ..."""

    image_id: str
    explainer: str
    explained: int
    scored: int
    metric: str
    value: float


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The rows of an evaluation, and the table that they make."""

    metrics: Mapping[str, Metric]
    rows: list[Row] = field(default_factory=list)
    _scores: dict[tuple[str, str], list[Tensor]] = field(default_factory=dict)

    def add(self, explained: Explained, name: str, values: Tensor) -> None:
        """What the metric ``name`` says of a case: (n,) or (n, m)."""
        self._scores.setdefault((explained.explainer, name), []).append(values.detach().cpu().double())
        names = [name] if values.ndim == 1 else [f"{name}[{j}]" for j in range(values.shape[1])]
        classes = zip(explained.case.explained.tolist(), explained.case.scored.tolist(), strict=True)
        for image, (shown, scored), numbers in zip(
            explained.ids, classes, values.view(len(values), -1).tolist(), strict=True
        ):
            self.rows.extend(
                Row(image, explained.explainer, shown, scored, n, v) for n, v in zip(names, numbers, strict=True)
            )

    def scores(self, explainer: str, name: str) -> Tensor:
        """(n,) or (n, m) numbers of one explainer and metric, in the order of the images."""
        return torch.cat(self._scores[explainer, name])

    def images(self, explainer: str, name: str) -> list[str]:
        """Whose each row of ``scores`` is; with several labels an image has several."""
        several = self.scores(explainer, name).ndim > 1
        wanted = (explainer, f"{name}[0]" if several else name)
        return [row.image_id for row in self.rows if (row.explainer, row.metric) == wanted]

    def table(self) -> dict[str, dict[str, float]]:
        """The figure of each explainer and metric: the mean over images, or what the metric itself says."""
        figures: dict[str, dict[str, float]] = {}
        for explainer, name in self._scores:
            figures.setdefault(explainer, {})[name] = reduced(self.metrics[name], self.scores(explainer, name))
        return figures

    def csv(self) -> str:
        """All rows as csv, with a header."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(Row._fields)
        writer.writerows(self.rows)
        return text.getvalue()


def evaluate(
    classifier: Classifier,
    explainers: Mapping[str, Explainer] | Sequence[str],
    metrics: Mapping[str, Metric] | Sequence[str],
    dataset: Dataset,
    *,
    target: str = "predicted",
    scored: str = "explained",
    only: str = "all",
    map_classes: Sequence[int | str] = (),
    limit: int | None = None,
    batch_size: int = 32,
    seed: int = 0,
    track: Callable[[Iterable[Batch], float], Iterable[Batch]] | None = None,
) -> Evaluation:
    """Score every explainer by every metric on a dataset.

    Args:
        classifier: what decides.
        explainers: by name, or a mapping from the name that the rows get.
        metrics: by name, or a mapping from the name that the rows get.
        dataset: ``seewhy.DATASETS`` has those that are built in; any object like ``data.Dataset`` will do.
        target: the class that is explained: "label" (each that is present, of a multi-label dataset), "predicted",
            "second" or "least" likely, "present" (all that are present: their maps, each min-max, merged by the maximum),
            or a class by index or name.
        scored: the class whose score the metrics read: "explained", or one of the above; of several labels the likeliest.
        only: "all" images, or those that are classified "correct" or "wrong".
        map_classes: for metrics that compare the maps of several classes: which; every one of up to 20 by default.
        limit: the first so many images.
        batch_size: images, and forward passes, at a time. The scores do not depend on it.
        seed: of every random draw of the metrics.
        track: wraps the iteration over batches, and is told how many there will be.

    Raises:
        SeewhyError: a metric needs what the dataset does not have; labels that the classifier does not know; a network
            that returns NaN; no image is left.
    """
    methods = explainers if isinstance(explainers, Mapping) else {n: build_explainer(n, classifier) for n in explainers}
    measures = metrics if isinstance(metrics, Mapping) else {n: metric(n) for n in metrics}
    if not methods or not measures:
        raise SeewhyError("give at least one explainer and one metric")
    if only not in ("all", "correct", "wrong"):
        raise SeewhyError(f"only is all, correct or wrong; not {only!r}")
    if limit is not None and limit < 1:
        raise SeewhyError(f"limit is {limit}; give at least 1")
    needs = frozenset(need for m in measures.values() for need in m.needs)
    study = tuple(classifier.class_index(c) for c in map_classes) or None
    question = Question(classifier, dataset, methods, needs, target, scored, only, study, batch_size, seed)
    total = min(len(dataset), limit or len(dataset))
    result = Evaluation(measures)
    batches: Iterable[Batch] = _first(dataset.batches(batch_size), total)
    for batch in track(batches, -(-total // batch_size)) if track else batches:
        for explained in question.cases(batch):
            for name, measure in measures.items():
                result.add(explained, name, score(name, measure, explained.case))
    if not result.rows:
        raise SeewhyError(f"nothing to evaluate: none of {total} images is classified {only}, or none has a label")
    return result


def _first(batches: Iterator[Batch], n: int) -> Iterator[Batch]:
    """The first ``n`` images."""
    for batch in batches:
        if n <= 0:
            return
        known = {name: part[:n] for name, part in batch._asdict().items() if part is not None}
        yield batch._replace(**known)
        n -= len(batch.ids)
