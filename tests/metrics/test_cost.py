"""The cost of maps."""

import math
from dataclasses import dataclass
from typing import ClassVar
from unittest import mock

import pytest
import torch
from support.tiny_models import SIZE, TINY
from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.explainers import EXPLAINERS, explainer
from seewhy.metrics import Case, cost, metric


@dataclass(frozen=True)
class Passes:
    """As many forward passes as one asks for; holds ``mib`` of memory meanwhile."""

    family: ClassVar[str] = "reference"
    class_specific: ClassVar[bool] = False
    paper: ClassVar[str] = ""

    classifier: Classifier
    n: int = 4
    mib: int = 0

    def explain(self, images: Tensor, targets: Tensor) -> Tensor:
        held = torch.ones(self.mib * 2**18)  # float32, written to
        with torch.no_grad():
            for _ in range(self.n):
                self.classifier.logits(images)
        return torch.full((len(images), *images.shape[-2:]), float(held.sum() > -1))


@pytest.mark.parametrize("n", [1, 4, 7])
def test_forward_passes_are_counted_per_image(n: int, batch: tuple[Tensor, Tensor]) -> None:
    method = Passes(TINY["cnn"](), n)
    maps, found = cost.measure(method, *batch)
    assert torch.equal(maps, method.explain(*batch))
    assert found.forward_equivalents == n
    assert found.seconds > 0
    assert cost.forward_equivalents(method, *batch) == n


def test_a_gradient_costs_up_to_three_passes(batch: tuple[Tensor, Tensor]) -> None:
    _, found = cost.measure(explainer("saliency", TINY["cnn"]()), *batch)
    assert 1.5 < found.forward_equivalents <= 3


def test_counting_can_be_left_out(batch: tuple[Tensor, Tensor]) -> None:
    with mock.patch.object(cost, "forward_equivalents", side_effect=AssertionError):
        _, found = cost.measure(Passes(TINY["cnn"]()), *batch, count_flops=False)
    assert math.isnan(found.forward_equivalents)


def test_seconds_are_for_one_image(batch: tuple[Tensor, Tensor]) -> None:
    with mock.patch.object(cost, "perf_counter", side_effect=[10.0, 16.0]):
        _, found = cost.measure(Passes(TINY["cnn"]()), *batch, count_flops=False)
    assert found.seconds == 2.0


def test_memory_above_what_was_held(batch: tuple[Tensor, Tensor]) -> None:
    method = Passes(TINY["cnn"](), 1, mib=200)
    _, found = cost.measure(method, *batch, count_flops=False)
    if math.isnan(found.peak_memory):
        pytest.skip("this machine tells no peak")
    assert 190 < found.peak_memory < 300
    _, less = cost.measure(Passes(TINY["cnn"](), 1), *batch, count_flops=False)
    assert less.peak_memory < 100


def test_cost_metrics_hand_out_what_was_measured(batch: tuple[Tensor, Tensor]) -> None:
    images, targets = batch
    case = Case(TINY["cnn"](), images, targets, targets, torch.zeros(3, SIZE, SIZE), cost=cost.Cost(0.5, 3.0, 12.0))
    for name, value in [("seconds", 0.5), ("forward_equivalents", 3.0), ("peak_memory", 12.0)]:
        assert metric(name).score(case).tolist() == [value] * 3


@pytest.mark.parametrize("name", ["seconds", "forward_equivalents", "peak_memory"])
def test_what_was_not_measured_says_where_it_can_be(name: str, batch: tuple[Tensor, Tensor]) -> None:
    images, targets = batch
    nan = cost.Cost(math.nan, math.nan, math.nan)
    case = Case(TINY["cnn"](), images, targets, targets, torch.zeros(3, SIZE, SIZE), cost=nan)
    with pytest.raises(SeewhyError, match=f"{name} was not measured: "):
        metric(name).score(case)


def test_an_explainer_without_a_classifier_has_no_forward_passes(batch: tuple[Tensor, Tensor]) -> None:
    class Bare:
        family: ClassVar[str] = "reference"
        class_specific: ClassVar[bool] = False
        paper: ClassVar[str] = ""

        def explain(self, images: Tensor, targets: Tensor) -> Tensor:
            return images.mean(1)

    assert math.isnan(cost.forward_equivalents(Bare(), *batch))  # type: ignore[arg-type]


def test_costs_are_measured_for_every_explainer(batch: tuple[Tensor, Tensor]) -> None:
    classifier = TINY["cnn"]()
    for name in ("center", "grad_cam", "integrated_gradients"):
        assert name in EXPLAINERS
        maps, found = cost.measure(explainer(name, classifier), *batch)
        assert maps.shape == (3, SIZE, SIZE)
        assert math.isfinite(found.seconds)
        assert math.isfinite(found.forward_equivalents)
