"""Empty masks of absent classes, and undecided values: by hand, and where nothing is to be counted."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from support.metric_cases import case_of
from torch import Tensor

from seewhy.errors import SeewhyError
from seewhy.metrics.base import reduced
from seewhy.metrics.case import Case
from seewhy.metrics.silence import DecidedShare, Silence

FIGURES = ("balanced", "silent", "speaking", "absent_area", "present_area")


def figures(case: Case, threshold: float = 0.01) -> list[float]:
    found = []
    for figure in FIGURES:
        metric = Silence(figure=figure, threshold=threshold)
        found.append(reduced(metric, metric.score(case)))
    return found


def flat(values: list[list[float]]) -> Tensor:
    return torch.tensor(values)[:, :, None, None].expand(-1, -1, 16, 16)


@pytest.mark.parametrize("network", ["cnn", "cnn_multilabel"])
def test_silence_against_loops(network: str) -> None:
    case = case_of(network)
    maps, classes = 0.3 * case.class_maps, case.map_classes.tolist()
    labels = case.labels if case.labels.ndim == 2 else torch.nn.functional.one_hot(case.labels, 5)
    absent, present = [], []
    for i in range(len(maps)):
        for j, c in enumerate(classes):
            values = [min(max(v, 0.0), 1.0) for row in maps[i, j].tolist() for v in row]
            (present if labels[i, c] else absent).append(sum(values) / len(values))
    t = sum(absent + present) / len(absent + present)  # some are empty, some are not
    silent, speaking = sum(a <= t for a in absent) / len(absent), sum(a > t for a in present) / len(present)
    expected = [(silent + speaking) / 2, silent, speaking, sum(absent) / len(absent), sum(present) / len(present)]
    assert figures(replace(case, class_maps=maps), t) == pytest.approx(expected, abs=1e-6)


def test_silence_by_hand() -> None:
    """Image 0 is of class 0, image 1 of class 1, image 2 of class 2; the maps are those of classes 0, 2 and 1."""
    case = case_of("cnn")
    sound = replace(case, class_maps=flat([[0.2, 0.0, 0.005], [0.0, 0.01, 0.5], [-3.0, 7.0, 0.0]]))
    assert figures(sound) == pytest.approx([1, 1, 1, 0.015 / 6, 1.7 / 3])
    zeros, ones = (replace(case, class_maps=torch.full_like(case.class_maps, v)) for v in (0.0, 1.0))
    assert figures(zeros) == [0.5, 1, 0, 0, 0]
    assert figures(ones) == [0.5, 0, 1, 1, 1]


def test_silence_where_there_is_nothing_to_count() -> None:
    case = case_of("cnn_multilabel")
    maps = flat([[0.2, 0.0, 0.3]] * 3)
    every, none = (replace(case, class_maps=maps, labels=torch.full((3, 5), v)) for v in (1.0, 0.0))
    assert figures(every) == pytest.approx([2 / 3, 0, 2 / 3, 0, 0.5 / 3])
    assert figures(none) == pytest.approx([1 / 3, 1 / 3, 0, 0.5 / 3, 0])
    wrong = replace(case)
    object.__setattr__(wrong, "map_classes", None)  # past the type checker of the tests
    with pytest.raises(SeewhyError, match="silence needs the maps of several classes"):
        Silence().score(wrong)


def test_decided_share() -> None:
    case = case_of("cnn", n=1)
    mask = torch.full((1, 16, 16), 0.5)
    mask[0, 0, :4], mask[0, 1, :8], mask[0, 2, :2] = 0.0, 1.0, 0.95
    mask[0, 3, 0], mask[0, 3, 1] = 0.1, 0.9  # undecided
    for scale in ("min_max", "clipped"):
        assert DecidedShare(scale=scale).score(replace(case, attributions=mask)).tolist() == [14 / 256]
    assert DecidedShare(margin=0.02).score(replace(case, attributions=mask)).tolist() == [12 / 256]
    pale = replace(case, attributions=0.5 * mask)
    assert DecidedShare().score(pale).tolist() == [14 / 256]
    assert DecidedShare(scale="clipped").score(pale).tolist() == [5 / 256]
    kinds: list[Any] = [torch.zeros_like(mask), torch.full_like(mask, 0.5)]
    assert [DecidedShare().score(replace(case, attributions=kind)).item() for kind in kinds] == [1, 1]
