"""Metrics that show masked images to the classifier: by hand, against literal re-writings, and at their bounds."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support import metric_oracles_regions as oracle
from support.metric_masks import METRICS, SURE, Halves, N, ask, halves, near, random_case
from torch import nn

from seewhy.errors import SeewhyError
from seewhy.metrics.base import reduced
from seewhy.metrics.case import Case
from seewhy.metrics.class_masks import ClassMasks, class_mask_table
from seewhy.metrics.segmentation import SaliencyScore


@pytest.mark.parametrize("multilabel", [False, True])
def test_class_masks_by_hand(multilabel: bool) -> None:
    """A mask that shows one class alone makes it sure, the other's mask makes it impossible; softmax in either case."""
    network, images, maps = halves(multilabel)
    both = torch.stack([maps, maps])
    targets = torch.tensor([0, 1])
    case = Case(network, images, targets, targets, maps, class_maps=both, map_classes=targets)
    metric = ClassMasks()
    scores = metric.score(case)
    near(scores[0], [SURE, 1 - SURE, 0.5, 1, 0])
    near(scores[1], [1 - SURE, SURE, 0.5, 0, 1])
    assert reduced(metric, scores) == pytest.approx(2 * SURE - 1)
    near(class_mask_table(scores, targets, targets).flatten(), [SURE, 1 - SURE, 0.5, 1 - SURE, SURE, 0.5])
    swapped = replace(case, class_maps=both.flip(1))
    assert reduced(metric, metric.score(swapped)) == pytest.approx(1 - 2 * SURE)
    level = replace(case, class_maps=both[:, :1].expand(-1, 2, -1, -1))
    assert reduced(metric, metric.score(level)) == pytest.approx(0)


@pytest.mark.parametrize("kind", ["cnn", "cnn_multilabel"])
def test_class_masks_against_the_oracle(kind: str) -> None:
    case = random_case(kind)
    metric = ClassMasks(thresholds=4)
    scores = metric.score(case)
    table = []
    for image, maps, c in zip(case.images.numpy(), case.class_maps.numpy(), case.scored.tolist(), strict=True):
        row = []
        for a in maps:
            masks = [(oracle.min_max(a) > t).astype(float) for t in (0.2, 0.4, 0.6, 0.8)]
            seen = [oracle.softmax(ask(case, oracle.faded(image, m, case.classifier.mean)))[c] for m in masks]
            row.append(sum(seen) / 4)
        table.append([*row, oracle.softmax(ask(case, image))[c]])
    near(scores[:, :4].flatten(), list(np.ravel(table)))
    differences = []
    for row, c in zip(table, case.scored.tolist(), strict=True):
        if c in (3, 0, 1):
            own = [3, 0, 1].index(c)
            differences.append(row[own] - sum(v for i, v in enumerate(row[:3]) if i != own) / 2)
    assert reduced(metric, scores) == pytest.approx(sum(differences) / len(differences), abs=1e-10)
    means = class_mask_table(scores, case.scored, case.map_classes)
    near(means[1], list((np.array(table[0]) + np.array(table[5])) / 2))  # images 0 and 5 are scored for class 0
    assert class_mask_table(scores, case.scored + 5, case.map_classes).isnan().all()


def test_an_empty_mask_stays_empty_where_masks_are_taken_as_they_are() -> None:
    """Min-max makes a full mask of one that is 0.02 on the object and 0 elsewhere."""
    network, images, maps = halves(False)
    both = torch.stack([maps, 0.02 * maps.flip(0)], 1)
    case = Case(
        network, images, torch.tensor([0, 1]), torch.tensor([0, 1]), maps, class_maps=both, map_classes=torch.tensor([0, 1])
    )
    as_they_are = ClassMasks(scale="clipped").score(case)
    blown_up = ClassMasks().score(case)
    hidden = ClassMasks().score(replace(case, class_maps=torch.stack([maps, torch.zeros_like(maps)], 1)))
    near(as_they_are.flatten(), hidden.flatten().tolist())
    assert (blown_up[:, 1] - as_they_are[:, 1]).abs().min() > 0.1


def test_class_masks_that_say_nothing_of_the_difference() -> None:
    """One class alone has no other; a class without a map has no own; and what does not fit is refused."""
    case = random_case()
    one = replace(case, class_maps=case.class_maps[:, :1], map_classes=case.map_classes[:1])
    metric = ClassMasks(thresholds=2)
    assert reduced(metric, metric.score(one)) == 0
    none = replace(case, scored=torch.full((N,), 4))
    assert reduced(metric, metric.score(none)) == 0
    for classes in (torch.tensor([0, 0, 1]), torch.tensor([0, 1]), None):
        wrong = replace(case)
        object.__setattr__(wrong, "map_classes", classes)  # past the type checker of the tests
        with pytest.raises(SeewhyError, match=r"class_maps|twice"):
            metric.score(wrong)


@pytest.mark.parametrize("kind", ["cnn", "cnn_multilabel"])
@pytest.mark.parametrize("metric", METRICS, ids=repr)
def test_rows_are_independent(metric: object, kind: str) -> None:
    case = random_case(kind)
    whole = metric.score(case)
    for i in (0, N - 1):
        names = ("images", "explained", "scored", "attributions", "labels", "regions", "class_maps")
        alone = replace(case, **{name: getattr(case, name)[i : i + 1] for name in names})
        near(metric.score(alone).flatten(), whole[i].flatten().tolist())
    scaled = replace(case, attributions=case.attributions * 64 - 8, class_maps=case.class_maps * 64, batch_size=1)
    torch.testing.assert_close(metric.score(scaled), whole)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("metric", METRICS, ids=repr)
def test_every_map_has_a_score_in_the_range(metric: object, dtype: torch.dtype) -> None:
    case = random_case(dtype=dtype)
    zero = torch.zeros_like(case.attributions)
    for a in (case.attributions, zero, zero + 3, zero - 2, -1 - case.attributions.abs()):
        changed = replace(case, attributions=a, class_maps=torch.stack([a, zero, a * 2], 1))
        scores = metric.score(changed)
        assert scores.dtype == dtype
        assert scores.isfinite().all()
        assert (scores >= metric.range[0] - 1e-6).all()
        assert (scores <= metric.range[1] + 1e-6).all()


def test_a_network_that_is_certain_gives_finite_scores() -> None:
    network, images, maps = halves()
    certain = replace(network, module=nn.Sequential(Halves(), nn.Linear(2, 2).double()).eval())
    with torch.no_grad():
        certain.module[1].weight.copy_(torch.eye(2) * 1000)
    labels = torch.tensor([1, 0])
    case = Case(certain, images, labels, labels, maps, labels=labels)
    assert (SaliencyScore().score(case) > 1000).all()
    assert SaliencyScore().score(case).isfinite().all()
