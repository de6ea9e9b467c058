"""Max-sensitivity and the cost of maps."""

import math
from dataclasses import dataclass, replace
from typing import ClassVar
from unittest import mock

import numpy as np
import pytest
import quantus
import torch
from support.tiny_models import SIZE, TINY
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.explainers import EXPLAINERS, Explainer, explainer
from seewhy.metrics import Case, cost, metric
from seewhy.metrics.base import score
from seewhy.metrics.robustness import MaxSensitivity


def case_of(method: Explainer, classifier: Classifier, images: Tensor, targets: Tensor, **more: object) -> Case:
    maps = method.explain(images, targets)
    return Case(classifier, images, targets, targets, maps, explainer=method, **more)  # type: ignore[arg-type]


def plain(channels: int = 3) -> Classifier:
    """A network whose input is the picture itself."""
    return replace(TINY["cnn"](), mean=(0.0,) * channels, std=(1.0,) * channels)


@pytest.fixture
def gray() -> tuple[Tensor, Tensor]:
    """Images so far from black and white that noise of 0.2 is never cut off."""
    images = 0.3 + 0.4 * torch.rand(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    return images, torch.tensor([0, 3, 1])


def noise(samples: int, seed: int = 0) -> list[Tensor]:
    """The noise of the metric, in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    return [2 * torch.rand(3, SIZE, SIZE, generator=generator) - 1 for _ in range(samples)]


@pytest.mark.parametrize("name", ["saliency", "input_x_gradient"])
def test_max_sensitivity_is_that_of_quantus(name: str, gray: tuple[Tensor, Tensor]) -> None:
    images, targets = gray
    classifier = plain()
    method = explainer(name, classifier)
    ours = metric("max_sensitivity").score(case_of(method, classifier, images, targets))
    drawn = iter(0.2 * x for x in noise(10))

    def perturb(arr: np.ndarray, indices: np.ndarray, **_: object) -> np.ndarray:
        return arr + next(drawn).numpy().reshape(1, -1)

    def explain(model: nn.Module, inputs: np.ndarray, targets: np.ndarray, **_: object) -> np.ndarray:
        maps = method.explain(torch.tensor(inputs).float(), torch.tensor(targets))
        return maps[:, None].numpy()

    theirs = quantus.MaxSensitivity(
        nr_samples=10, perturb_func=perturb, lower_bound=0.2, disable_warnings=True, abs=False, normalise=False
    )(
        model=classifier.module,
        x_batch=images.numpy(),
        y_batch=targets.numpy(),
        a_batch=method.explain(images, targets)[:, None].numpy(),
        explain_func=explain,
        channel_first=True,
    )
    torch.testing.assert_close(ours.double(), torch.tensor(theirs).double(), rtol=1e-5, atol=1e-6)
    assert (ours > 0.01).all()


@pytest.mark.parametrize("space", ["normalized", "pixel"])
@pytest.mark.parametrize("relative_to", ["map", "input"])
def test_max_sensitivity_written_out(space: str, relative_to: str, batch: tuple[Tensor, Tensor]) -> None:
    images, targets = batch
    classifier = TINY["cnn"]()
    method = explainer("input_x_gradient", classifier)
    measure = metric("max_sensitivity", samples=3, radius=0.3, space=space, relative_to=relative_to)
    ours = measure.score(case_of(method, classifier, images, targets, seed=5))
    unit = torch.tensor(classifier.std if space == "normalized" else (1.0, 1.0, 1.0))
    mean = torch.tensor(classifier.mean)
    for i in range(3):
        phi = method.explain(images[i : i + 1], targets[i : i + 1])[0]
        x = images[i]
        inner = (x - mean[:, None, None]) / torch.tensor(classifier.std)[:, None, None] if space == "normalized" else x
        below = (phi if relative_to == "map" else inner).square().sum().sqrt()
        changes = []
        for drawn in noise(3, seed=5):
            noisy = (x + 0.3 * drawn * unit[:, None, None]).clamp(0, 1)
            changes.append((method.explain(noisy[None], targets[i : i + 1])[0] - phi).square().sum().sqrt())
        torch.testing.assert_close(ours[i], max(changes) / below)


def test_an_image_alone_has_the_same_sensitivity(batch: tuple[Tensor, Tensor]) -> None:
    images, targets = batch
    classifier = TINY["vit"]()
    method = explainer("saliency", classifier)
    whole = MaxSensitivity().score(case_of(method, classifier, images, targets))
    for i in range(3):
        alone = MaxSensitivity().score(case_of(method, classifier, images[i : i + 1], targets[i : i + 1]))
        torch.testing.assert_close(alone[0], whole[i])
    assert not torch.equal(whole, MaxSensitivity().score(case_of(method, classifier, images, targets, seed=1)))


@dataclass(frozen=True)
class Constant:
    """0 for the first call's images, then ``later``."""

    family: ClassVar[str] = "reference"
    class_specific: ClassVar[bool] = False
    paper: ClassVar[str] = ""

    classifier: Classifier
    later: float = 0.0

    def explain(self, images: Tensor, targets: Tensor) -> Tensor:
        return torch.full((len(images), *images.shape[-2:]), self.later)


@pytest.mark.parametrize("later", [0.0, 2.0])
def test_a_map_of_zeros(later: float, batch: tuple[Tensor, Tensor]) -> None:
    images, targets = batch
    method = Constant(TINY["cnn"](), later)
    case = Case(method.classifier, images, targets, targets, torch.zeros(3, SIZE, SIZE), explainer=method)
    assert MaxSensitivity().score(case).tolist() == [float(later > 0)] * 3


@dataclass(frozen=True)
class Ramp(Constant):
    """The same ramp from left to right for every image, and ``later`` as its strength."""

    def explain(self, images: Tensor, targets: Tensor) -> Tensor:
        return super().explain(images, targets) * torch.linspace(0, 1, images.shape[-1])


def test_a_map_that_only_becomes_stronger_has_not_changed_where_it_is_read_as_min_max(batch: tuple[Tensor, Tensor]) -> None:
    images, targets = batch
    classifier = TINY["cnn"]()
    ramps = Ramp(classifier, 1.0).explain(images, targets)
    case = Case(classifier, images, targets, targets, ramps, explainer=Ramp(classifier, 4.0))
    torch.testing.assert_close(MaxSensitivity().score(case), torch.full((3,), 3.0))
    assert metric("max_sensitivity", reads="min_max", relative_to="map").score(case).tolist() == [0.0] * 3
    assert metric("max_sensitivity", reads="min_max", relative_to="input").score(case).tolist() == [0.0] * 3


def test_what_does_not_look_at_the_image_is_perfect(batch: tuple[Tensor, Tensor]) -> None:
    classifier = TINY["cnn"]()
    assert MaxSensitivity().score(case_of(explainer("center", classifier), classifier, *batch)).tolist() == [0.0] * 3


def test_the_metric_needs_the_explainer(batch: tuple[Tensor, Tensor]) -> None:
    images, targets = batch
    case = Case(TINY["cnn"](), images, targets, targets, torch.zeros(3, SIZE, SIZE), source="this")
    with pytest.raises(SeewhyError, match="max_sensitivity needs the explainer itself, not only its maps, which this"):
        score("max_sensitivity", MaxSensitivity(), case)


# -- cost ---------------------------------------------------------------------------------------------------------------


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
