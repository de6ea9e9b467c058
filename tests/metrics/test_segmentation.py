"""The map as a segmentation: by hand, against literal re-writings, and against reference masks."""

from dataclasses import replace
from math import log

import numpy as np
import pytest
import torch
from support import metric_oracles_regions as oracle
from support.metric_masks import SURE, N, ask, halves, near, random_case
from support.metric_places import CASE, case_of, same

from seewhy.errors import SeewhyError
from seewhy.metrics.boxes import PixelF1
from seewhy.metrics.case import Case
from seewhy.metrics.segmentation import MaskAccuracy, MaskIoU, MaskMAE, SaliencyScore


def test_masks_by_hand() -> None:
    mask, region = torch.tensor([[[1.0, 0.5, 0.25, 0.0]]]), torch.tensor([[[True, True, False, False]]])
    mask, region = (m.repeat_interleave(8, 1).repeat_interleave(2, 2) for m in (mask, region))  # the network takes no strip
    case = case_of(mask, region)
    same(MaskAccuracy().score(case), [(1 + 0.5 + 0.75 + 1) / 4])
    same(MaskMAE().score(case), [0.75 / 4])
    same(MaskIoU().score(case), [1.5 / 2.25])
    same(PixelF1().score(case), [2 * (1.5 / 1.75) * (1.5 / 2) / (1.5 / 1.75 + 1.5 / 2)])


@pytest.mark.parametrize("metric", [MaskAccuracy, MaskIoU, MaskMAE])
def test_reference_masks(metric: type) -> None:
    share = CASE.regions.double().mean((1, 2))
    expected = {
        MaskAccuracy: {"zeros": 1 - share, "halves": 0 * share + 0.5, "ones": share, "region": 0 * share + 1},
        MaskMAE: {"zeros": share, "halves": 0 * share + 0.5, "ones": 1 - share, "region": 0 * share},
        MaskIoU: {"zeros": 0 * share, "halves": share / (1 + share), "ones": share, "region": (share > 0).double()},
    }[metric]
    for use, values in expected.items():
        same(metric(use=use).score(CASE), values.tolist())


def test_accuracy_is_one_minus_the_error_and_clipped_maps_are_not_rescaled() -> None:
    same(MaskAccuracy().score(CASE), (1 - MaskMAE().score(CASE)).tolist())
    clipped = (CASE.attributions.clamp(0, 1) - CASE.regions.to(CASE.attributions.dtype)).abs().mean((1, 2))
    same(MaskMAE(scale="clipped").score(CASE), clipped.tolist())


def test_a_reference_mask_that_is_not_known_is_asked_for() -> None:
    with pytest.raises(SeewhyError, match="needs the region"):
        SaliencyScore(use="region").score(replace(CASE, regions=None))


def test_saliency_score_by_hand() -> None:
    network, images, maps = halves()
    labels = torch.tensor([0, 0])
    case = Case(network, images, labels, labels, maps, labels=labels)
    near(SaliencyScore().score(case), [log(0.5) - log(SURE), log(0.5) + log(1 + np.exp(10))])
    near(SaliencyScore(use="ones").score(case), [0 - log(0.5)] * 2)
    near(SaliencyScore(use="zeros").score(case), [log(0.05) - log(0.5)] * 2)
    # black everywhere at baseline white is white
    near(SaliencyScore(use="zeros", baseline="white").score(replace(case, images=images * 0)), [log(0.05) - log(0.5)] * 2)
    both = replace(case, labels=torch.tensor([[1, 1], [0, 1]]))
    near(SaliencyScore().score(both), [log(0.5), log(0.5) - log(SURE)])


@pytest.mark.parametrize("kind", ["cnn", "cnn_multilabel"])
def test_saliency_score_against_the_oracle(kind: str) -> None:
    """Image 0 of the multi-label case has no class at all: the class scored takes its place."""
    case = random_case(kind)
    for use in ("map", "region"):
        expected = []
        for i in range(N):
            m = oracle.min_max(case.attributions[i].numpy()) if use == "map" else case.regions[i].numpy().astype(float)
            p = oracle.softmax(ask(case, oracle.faded(case.images[i].numpy(), m, case.classifier.mean)))
            present = [int(case.labels[i])] if kind == "cnn" else [c for c in range(5) if case.labels[i, c]]
            expected.append(log(max(m.mean(), 0.05)) - log(sum(p[c] for c in present or [i % 5])))
        near(SaliencyScore(use=use).score(case), expected)
