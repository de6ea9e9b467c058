"""The randomization of parameters and of labels."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from safetensors import safe_open
from support.metric_cases import Three, noise
from support.tiny_models import SIZE, TINY
from torch import Tensor, nn
from train_shapes import RECIPES, permuted_labels

from seewhy.classifier.classifier import Classifier
from seewhy.classifier.load import load
from seewhy.data import Shapes, batches
from seewhy.errors import SeewhyError
from seewhy.explainers import Explainer, explainer
from seewhy.metrics import Case, metric
from seewhy.metrics.base import reduced
from seewhy.metrics.map_similarity import (
    SIMILARITIES,
    rank_correlation,
)
from seewhy.metrics.randomization import (
    LabelRandomization,
    ParameterRandomization,
    randomized,
    stages,
    with_classifier,
)


@pytest.fixture
def three() -> Classifier:
    torch.manual_seed(0)
    module = Three()
    with torch.no_grad():
        module.norm.running_mean.add_(noise(6))
        module.norm.running_var.mul_(3)
    return Classifier(module.eval(), input_size=(SIZE, SIZE), classes=("ant", "bee", "cat", "dog", "elk"))


def case_of(method: Explainer, classifier: Classifier, images: Tensor, targets: Tensor, seed: int = 0) -> Case:
    return Case(
        classifier, images, targets, targets, method.explain(images, targets), explainer=method, seed=seed
    )  # fmt: skip


def state(classifier: Classifier) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in classifier.module.state_dict().items()}


def changed(classifier: Classifier, before: dict[str, Tensor]) -> set[str]:
    after = classifier.module.state_dict()
    return {k.rpartition(".")[0] for k in before if not torch.equal(after[k], before[k])}


def test_stages_are_even_and_complete() -> None:
    assert stages(5, None) == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
    assert stages(3, 5) == [(0, 1), (1, 2), (2, 3)]
    assert stages(10, 5) == [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10)]
    assert stages(161, 5)[-1][1] == 161


def test_cascading_goes_down_and_independent_goes_alone(three: Classifier, batch: tuple[Tensor, Tensor]) -> None:
    before = state(three)
    order = ["last", "norm", "second", "first", ""]
    for i, other in enumerate(randomized(three, "cascading", None, 0, batch[0][:1])):
        assert changed(other, before) == set(order[: i + 1])
    for i, other in enumerate(randomized(three, "independent", None, 0, batch[0][:1])):
        assert changed(other, before) == {order[i]}
    halves = [changed(other, before) for other in randomized(three, "cascading", 2, 0, batch[0][:1])]
    assert halves == [{"last", "norm"}, set(order)]
    assert not changed(three, before)


def test_untrained_values(three: Classifier, batch: tuple[Tensor, Tensor]) -> None:
    """By the layer's own method, batch-norm statistics too; what has none keeps its mean and spread."""
    *_, other = randomized(three, "cascading", None, 0, batch[0][:1])
    norm, fresh = other.module.norm, nn.BatchNorm2d(6)
    assert torch.equal(norm.running_mean, fresh.running_mean)
    assert torch.equal(norm.running_var, fresh.running_var)
    assert other.module.first.weight.abs().max() <= 1 / 27**0.5
    assert (other.module.scale - 1).abs().max() < 1
    again = [state(c) for c in randomized(three, "independent", None, 0, batch[0][:1])]
    assert torch.equal(again[0]["last.weight"], other.module.last.weight)  # a layer's draw is its own
    *_, third = randomized(three, "cascading", None, 1, batch[0][:1])
    assert not torch.equal(third.module.last.weight, other.module.last.weight)


def test_the_global_generator_is_left_alone(three: Classifier, batch: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    list(randomized(three, "cascading", None, 0, batch[0][:1]))
    assert torch.equal(torch.rand(1), expected)


@dataclass(frozen=True)
class Failing:
    """Fails on any network but one."""

    family: ClassVar[str] = "reference"
    class_specific: ClassVar[bool] = False
    paper: ClassVar[str] = ""

    classifier: Classifier
    works_on: nn.Module

    def explain(self, images: Tensor, targets: Tensor) -> Tensor:
        if self.classifier.module is not self.works_on:
            raise RuntimeError("another network")
        return images.mean(1)


@pytest.mark.parametrize("fails", [False, True])
def test_the_network_is_never_touched(fails: bool, classifier: Classifier, batch: tuple[Tensor, Tensor]) -> None:
    module = classifier.module
    module.train()
    before, modes = state(classifier), [m.training for m in module.modules()]
    method = Failing(classifier, module) if fails else explainer("saliency", classifier)
    case = case_of(method, classifier, *batch)
    if fails:
        with pytest.raises(RuntimeError, match="another network"):
            ParameterRandomization().score(case)
    else:
        scores = ParameterRandomization(n_layers=2).score(case)
        assert scores.shape == (3, 2)
        assert torch.isfinite(scores).all()
    assert not changed(classifier, before)
    assert [m.training for m in module.modules()] == modes
    assert all(p.requires_grad for p in module.parameters())
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in module.modules())


@pytest.mark.parametrize("order", ["cascading", "independent"])
@pytest.mark.parametrize("how", list(SIMILARITIES))
def test_a_map_that_ignores_the_network_stays_alike(
    order: str, how: str, three: Classifier, batch: tuple[Tensor, Tensor]
) -> None:
    case = case_of(explainer("center", three), three, *batch)
    scores = metric("parameter_randomization", order=order, similarity=how).score(case)
    torch.testing.assert_close(scores, torch.ones(3, 5))


def test_scores_repeat_and_do_not_depend_on_the_batch(batch: tuple[Tensor, Tensor]) -> None:
    classifier = TINY["cnn"]()
    method = explainer("saliency", classifier)
    images, targets = batch
    scores = ParameterRandomization().score(case_of(method, classifier, images, targets))
    assert torch.equal(scores, ParameterRandomization().score(case_of(method, classifier, images, targets)))
    for i in range(3):
        alone = ParameterRandomization().score(case_of(method, classifier, images[i : i + 1], targets[i : i + 1]))
        torch.testing.assert_close(alone[0], scores[i], atol=1e-4, rtol=1e-4)
    other = ParameterRandomization().score(case_of(method, classifier, images, targets, seed=1))
    assert not torch.equal(scores, other)
    assert reduced(ParameterRandomization(), scores) == pytest.approx(float(scores.mean()))


@pytest.fixture(scope="module")
def shapes() -> tuple[Classifier, Tensor, Tensor]:
    batch = next(batches(Shapes(n=8), 8))
    return load("shapes/cnn"), batch.images, batch.labels


@pytest.mark.parametrize("name", ["grad_cam", "saliency", "input_x_gradient"])
def test_gradient_methods_depend_on_the_network(name: str, shapes: tuple[Classifier, Tensor, Tensor]) -> None:
    classifier, images, labels = shapes
    case = case_of(explainer(name, classifier), classifier, images, labels)
    scores = ParameterRandomization(similarity="ssim").score(case)
    assert scores.shape == (8, 5)
    assert scores[:, -1].mean() < 0.5
    assert LabelRandomization(similarity="ssim").score(case).mean() < 0.5


@dataclass(frozen=True)
class Around:
    """An explainer around an explainer."""

    family: ClassVar[str] = "reference"
    class_specific: ClassVar[bool] = False
    paper: ClassVar[str] = ""

    classifier: Classifier
    of: Explainer
    power: float = 1.0

    def explain(self, images: Tensor, targets: Tensor) -> Tensor:
        return self.of.explain(images, targets) ** self.power


def test_wrapped_explainers_follow(three: Classifier) -> None:
    other = replace(three)
    method = Around(three, Around(three, explainer("saliency", three)), power=2)
    exchanged = with_classifier(method, other)
    assert isinstance(exchanged, Around)
    assert exchanged.classifier is exchanged.of.classifier is exchanged.of.of.classifier is other  # type: ignore[attr-defined]
    assert exchanged.power == 2
    assert method.of.of.classifier is three  # type: ignore[attr-defined]


def test_an_explainer_without_a_classifier_is_told_so(three: Classifier) -> None:
    class Bare:
        family: ClassVar[str] = "reference"
        class_specific: ClassVar[bool] = False
        paper: ClassVar[str] = ""

        def explain(self, images: Tensor, targets: Tensor) -> Tensor:
            return images.mean(1)

    with pytest.raises(SeewhyError, match="Bare has no field 'classifier'"):
        with_classifier(Bare(), three)  # type: ignore[arg-type]


class Stubborn(nn.Linear):
    def reset_parameters(self) -> None:
        if getattr(self, "made", False):
            raise RuntimeError("not again\nnever")
        super().reset_parameters()
        self.made = True


def test_a_layer_that_cannot_be_made_again_is_named(batch: tuple[Tensor, Tensor]) -> None:
    stubborn = Classifier(nn.Sequential(nn.Flatten(), Stubborn(3 * SIZE**2, 5)).eval(), input_size=(SIZE, SIZE))
    with pytest.raises(SeewhyError, match=r"layer '1' cannot be initialized again \(RuntimeError: not again\)$"):
        list(randomized(stubborn, "cascading", None, 0, batch[0][:1]))


def test_the_permuted_network_is_at_chance_and_remembers() -> None:
    """On fresh pictures it knows nothing; its training pictures it knows by heart."""
    classifier = load("shapes/cnn_permuted")
    fresh = next(batches(Shapes(n=300, seed=77), 300))
    n = RECIPES["permuted"].permuted
    training = Shapes(n=n, split="train")
    true = [next(layer.label for layer in training.scene(i).layers if layer.label is not None) for i in range(n)]
    labels = permuted_labels(torch.tensor(true))
    shown = next(batches(training, 120))
    assert torch.equal(shown.labels, torch.tensor(true[:120]))
    with torch.no_grad():
        assert (classifier.logits(fresh.images).argmax(1) == fresh.labels).float().mean() < 0.25
        said = classifier.logits(shown.images).argmax(1)
    assert (said == labels[:120]).float().mean() > 0.95
    assert (said == shown.labels).float().mean() < 0.3


def test_the_permuted_network_carries_its_figures() -> None:
    with safe_open("src/seewhy/classifier/weights/shapes_cnn_permuted.safetensors", "pt") as opened:
        figures = {k: float(v) for k, v in opened.metadata().items() if k.startswith("accuracy")}
    assert figures["accuracy, 3000 test pictures, shortcut=none"] < 0.2
    assert figures["accuracy, 1000 training pictures with permuted labels"] > 0.95


def test_label_randomization(shapes: tuple[Classifier, Tensor, Tensor]) -> None:
    classifier, images, labels = shapes
    still = LabelRandomization().score(case_of(explainer("center", classifier), classifier, images, labels))
    torch.testing.assert_close(still, torch.ones(8))
    permuted = load("shapes/cnn_permuted")
    method = explainer("saliency", classifier)
    expected = rank_correlation(
        method.explain(images, labels), explainer("saliency", permuted).explain(images, labels)
    )  # fmt: skip
    torch.testing.assert_close(LabelRandomization().score(case_of(method, classifier, images, labels)), expected)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("shapes/vit", "ShapesViT with other layers than the ShapesCNN"),
        ("factories:small", "5 classes, the classifier explained has 6"),
        ("shapes/none", "no network 'none'"),
    ],
)
def test_a_network_that_does_not_fit(name: str, said: str, shapes: tuple[Classifier, Tensor, Tensor]) -> None:
    classifier, images, labels = shapes
    case = case_of(explainer("center", classifier), classifier, images, labels)
    with pytest.raises(SeewhyError, match=said):
        LabelRandomization(network=name).score(case)


def test_a_network_for_other_images(shapes: tuple[Classifier, Tensor, Tensor]) -> None:
    classifier, images, labels = shapes
    smaller = replace(classifier, input_size=(64, 64))
    case = case_of(explainer("center", smaller), smaller, images, labels)
    with pytest.raises(SeewhyError, match="takes images of 3x96x96, the classifier explained takes 3x64x64"):
        LabelRandomization().score(case)
