"""Max-sensitivity."""

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import quantus
import torch
from support.tiny_models import SIZE, TINY
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.explainers import Explainer, explainer
from seewhy.metrics import Case, metric
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
    case = Case(TINY["cnn"](), images, targets, targets, torch.zeros(3, SIZE, SIZE), data_name="this")
    with pytest.raises(SeewhyError, match="max_sensitivity needs the explainer itself, not only its maps, which this"):
        score("max_sensitivity", MaxSensitivity(), case)
