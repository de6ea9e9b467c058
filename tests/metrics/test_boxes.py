"""Metrics of boxes: by hand, against literal re-writings, and at their bounds."""

from dataclasses import replace
from math import exp, log

import numpy as np
import pytest
import torch
from support import metric_oracles_regions as oracle
from support.metric_places import CASE, H, N, W, blob, random_case, same

from seewhy.metrics.base import reduced
from seewhy.metrics.boxes import (
    BoxAccuracy,
    LocalizationError,
    OfficialMetric,
    SaliencyMetric,
    localization_error,
    predicted_boxes,
)


def test_boxes_by_hand() -> None:
    """Corners touch; of two blobs of one size each gives a box."""
    diagonal = np.array([[1, 0, 0, 0, 1], [0, 1, 0, 0, 1], [0, 0, 0, 0, 0]], dtype=bool)
    assert predicted_boxes(diagonal).tolist() == [[0, 0, 2, 2], [4, 0, 5, 2]]
    assert predicted_boxes(np.zeros((3, 5), dtype=bool)).tolist() == [[0, 0, 5, 3]]
    maps = torch.as_tensor(diagonal)[None].double()
    same(localization_error(maps, (torch.tensor([[0.0, 0, 2, 2]]),)), [0.5])
    same(localization_error(maps, (torch.tensor([[0.0, 0, 2, 2], [4.0, 0, 5, 4]]),)), [1 - (1 + 0.5) / 2])
    assert localization_error(maps, (torch.zeros(0, 4),)).tolist() == [1]


def test_saliency_metric_by_hand() -> None:
    """One pixel of 42 counts as a twentieth; 6 of 42 count as they are; the whole image costs nothing but the doubt."""
    case = random_case(3)
    maps = torch.zeros_like(case.attributions)
    maps[0, 3, 3] = maps[1, 2:4, 1:4] = 1
    p = case.logits.softmax(1).gather(1, case.scored[:, None])[:, 0]
    expected = torch.tensor([0.05, 6 / 42, 1], dtype=p.dtype) / p
    same(SaliencyMetric().score(replace(case, attributions=maps)), expected.log().tolist())


def test_box_accuracy_by_hand() -> None:
    """Two images: the level set above 1/2 is right for both at IoU 0.5, for one at 0.7."""
    maps = torch.zeros(2, H, W)
    maps[:, 0:2, 0:4] = 0.5
    maps[:, 0:2, 0:2] = 1
    boxes = (torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[0.0, 0, 2, 1]]))
    case = replace(random_case(2, torch.float32), attributions=maps, boxes=boxes)
    metric = BoxAccuracy(thresholds=4)
    scores = metric.score(case)
    # thresholds 0, 1/4: the larger box, IoU 4/8 and 2/8; thresholds 1/2, 3/4: IoU 1 and 2/4
    assert scores.tolist() == [[1, 1, 0] * 2 + [1, 1, 1] * 2, [0, 0, 0] * 2 + [1, 1, 0] * 2]
    assert reduced(metric, scores) == pytest.approx((1 + 1 + 0.5) / 3)


def test_box_metrics_against_the_oracle() -> None:
    maps, truth = CASE.attributions.numpy(), [[tuple(b) for b in boxes.tolist()] for boxes in CASE.boxes]
    errors = [oracle.localization_error(a, t) for a, t in zip(maps, truth, strict=True)]
    same(LocalizationError().score(CASE), errors)
    right = [int(z.argmax()) == c for z, c in zip(CASE.logits, CASE.labels.tolist(), strict=True)]
    assert 0 < sum(right) < N
    same(OfficialMetric().score(CASE), [e if r else 1.0 for e, r in zip(errors, right, strict=True)])
    hits = BoxAccuracy(thresholds=5, overlaps=(0.1, 0.3)).score(CASE)
    levels = [(i / 5, d) for i in range(5) for d in (0.1, 0.3)]
    for row, a, t in zip(hits, maps, truth, strict=True):
        same(row, [oracle.box_hits(a, t, eta, delta) for eta, delta in levels])


def test_saliency_metric_against_the_oracle() -> None:
    maps, images = CASE.attributions.numpy(), CASE.images.numpy()
    logits = CASE.logits.numpy()
    plain = [oracle.saliency_metric(a, oracle.softmax(z)[c]) for a, z, c in zip(maps, logits, CASE.scored, strict=True)]
    same(SaliencyMetric().score(CASE), plain)
    crops = []
    for a, x, c in zip(maps, images, CASE.scored, strict=True):
        boxes = oracle.boxes_of(a > a.mean())
        logs = []
        for b in boxes:
            z = CASE.classifier.logits(torch.as_tensor(oracle.enlarged(x, b))[None])[0].detach().numpy()
            logs.append(log(oracle.softmax(z)[c]))
        crops.append(oracle.saliency_metric(a, exp(sum(logs) / len(logs))))
    same(SaliencyMetric(classified="crop").score(CASE), crops)


def test_saliency_metric_of_a_multilabel_network_reads_the_sigmoid() -> None:
    case = random_case(4, kind="cnn_multilabel")
    p = case.logits.sigmoid().gather(1, case.scored[:, None])[:, 0]
    same(
        SaliencyMetric().score(case),
        [oracle.saliency_metric(a, q) for a, q in zip(case.attributions.numpy(), p, strict=True)],
    )


def test_the_region_gives_the_best_box() -> None:
    region, boxes = blob()
    case = replace(random_case(2), regions=region, boxes=boxes, attributions=region.double())
    case = replace(case, labels=case.logits.argmax(1))
    assert LocalizationError().score(case).tolist() == OfficialMetric().score(case).tolist() == [0, 0]
    assert BoxAccuracy().score(case).eq(1).all()
    wrong = replace(case, labels=(case.labels + 1) % 5)
    assert OfficialMetric().score(wrong).tolist() == [1, 1]
    many = torch.nn.functional.one_hot(case.labels, 5)
    assert OfficialMetric().score(replace(case, labels=many)).tolist() == [0, 0]
    far = replace(case, boxes=(torch.tensor([[0.0, 5, 2, 6]]), torch.tensor([[5.0, 4, 7, 6]])))
    assert LocalizationError().score(far).tolist() == [1, 1]
    assert BoxAccuracy().score(far).eq(0).all()


def test_classes_that_share_the_highest_logit_count_by_their_share() -> None:
    region, boxes = blob()
    level = torch.tensor([[1.0, 1, 0, 0, 0], [1.0, 1, 1, 1, 0]])
    case = replace(random_case(2), boxes=boxes, attributions=region.double(), labels=torch.tensor([0, 3]))
    case = replace(case, image_logits=level)
    same(OfficialMetric().score(case), [0.5, 0.75])
