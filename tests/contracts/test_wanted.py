"""What is no explainer, metric or dataset at all is answered in one line: what is missing, and what to do."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from support.command import as_users_run_it
from support.tiny_models import TINY
from torch import Tensor, nn

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.data import Batch
from seewhy.metrics import Case
from seewhy.testing import check_dataset, check_explainer, check_learned, check_metric

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
TARGETS = torch.tensor([0, 1])


class Attribution:
    """Of the shape of Captum's: it is made of a function, and its attribute returns a map of each channel."""

    def __init__(self, forward: Callable[[Tensor], Tensor]) -> None:
        self.forward = forward

    def attribute(self, images: Tensor, target: Tensor) -> Tensor:
        images = images.detach().clone().requires_grad_()
        scores = self.forward(images).gather(1, target[:, None]).sum()
        return torch.autograd.grad(scores, images)[0].abs()


@dataclass(frozen=True)
class Base:
    """All of an explainer but ``explain``."""

    family: ClassVar[str] = "gradient"
    class_specific: ClassVar[bool] = True
    paper: ClassVar[str] = ""
    classifier: Classifier


class Careless(Base):
    """A wrapper as people write it first: it runs the network as it stands."""

    def explain(self, images: Tensor, targets: Tensor) -> Tensor:
        return Attribution(self.forward).attribute(images, target=targets).sum(1).detach()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.classifier.module(self.classifier.normalize(images))
        return logits


class Careful(Careless):
    """The wrapper that the answers describe."""

    def explain(self, images: Tensor, targets: Tensor) -> Tensor:
        with self.classifier.running(gradients=True):
            return Attribution(self.forward).attribute(images, target=targets).sum(1).detach()


def returning(make: Callable[[Tensor], Any]) -> Callable[[Classifier], Any]:
    """Builds an explainer whose maps are ``make(images)``."""

    class Returns(Base):
        def explain(self, images: Tensor, targets: Tensor) -> Any:
            return make(images)

    return Returns


class NoTargets(Base):
    def explain(self, images: Tensor) -> Tensor:
        return images.mean(1)


class Unsaid:
    def __init__(self, classifier: Classifier) -> None:
        self.explain = lambda images, targets: images.mean(1)


WRONG_EXPLAINERS: dict[str, tuple[Any, str]] = {
    "a function of images and targets": (
        lambda images, targets: images.mean(1),
        "takes 2 arguments: give a function of the",
    ),
    "one that builds a function": (lambda classifier: lambda images, targets: images, "returns a function: write a class"),
    "an explainer": (Careful(TINY["cnn"]()), r"give a function that builds it .*lambda classifier: Careful\(classifier\)"),
    "one that builds a class": (
        lambda classifier: Careful,
        r"returns the class Careful: make one of it, Careful\(classifier\)",
    ),
    "one without a return": (lambda classifier: None, "returns None: it lacks a return"),
    "a text": ("grad_cam", r"lambda classifier: seewhy.explainer\('grad_cam', classifier\)"),
    "nothing": (None, "NoneType builds no explainer"),
    "a network": (nn.Linear(2, 2), "Linear is a torch module, and no explainer: write a class with explain"),
    "an attribution": (
        Attribution(lambda x: x),
        r"Attribution has attribute and no explain.*Attribution\(self.classifier.logits\)",
    ),
    "one that builds it": (
        lambda c: Attribution(c.module),
        "attribute and no explain, as attributions of Captum: write a class",
    ),
    "no declarations": (Unsaid, "it has no family, one of gradient, .*; and no class_specific, True or False; and no paper"),
    "no targets": (NoTargets, r"explain cannot be called with images \(n, c, h, w\) and targets \(n,\)"),
    "an array": (returning(lambda x: x.mean(1).numpy()), r"returns a ndarray: return torch.from_numpy\(maps\).to\(images\)"),
    "a pair": (returning(lambda x: (x.mean(1), None)), r"returns a tuple: return one tensor \(n, h, w\)"),
    "a map for each channel": (
        returning(lambda x: x),
        r"have shape \(2, 3, 16, 16\).*: sum over the channels, maps.sum\(1\)",
    ),
    "a channel": (returning(lambda x: x[:, :1]), r"leave out the channel, maps\[:, 0\]"),
    "one map for all": (returning(lambda x: x.mean((0, 1))), "give a map for each image, not one for all"),
    "small maps": (returning(lambda x: x.mean(1)[:, ::2, ::2]), "enlarge them, seewhy.maps.upsample"),
    "whole numbers": (returning(lambda x: x.mean(1).long()), r"maps are torch.int64 on cpu.*: return maps.to\(images\)"),
    "another device": (returning(lambda x: x.mean(1).to("meta")), r"torch.float32 on meta.*: return maps.to\(images\)"),
    "a graph": (returning(lambda x: x.clone().requires_grad_().mean(1)), r"carry a graph: return maps.detach\(\)"),
    "training mode": (
        Careless,
        r"in training mode is explained in training mode.*self.classifier.running\(gradients=True\)",
    ),
}


@pytest.fixture(autouse=True)
def _as_users() -> Iterator[None]:
    with as_users_run_it():
        yield


@contextmanager
def one_line(says: str) -> Iterator[None]:
    with pytest.raises(AssertionError, match=says) as error:
        yield
    assert "\n" not in str(error.value)


@pytest.fixture
def classifier() -> Classifier:
    """A network with batch norm, which training mode changes."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(4 * 14 * 14, 3)]
    return seewhy.Classifier(nn.Sequential(*layers).eval(), input_size=(16, 16))


@pytest.mark.parametrize("what", WRONG_EXPLAINERS)
def test_what_is_no_explainer(what: str, classifier: Classifier) -> None:
    build, says = WRONG_EXPLAINERS[what]
    with one_line(says):
        check_explainer(build, classifier, IMAGES, TARGETS)


@pytest.mark.parametrize("training", [False, True])
def test_a_wrapper_as_the_answers_describe_it_keeps_the_contract(training: bool, classifier: Classifier) -> None:
    classifier.module.train(training)
    check_explainer(Careful, classifier, IMAGES, TARGETS)
    assert classifier.module.training == training


def test_a_careless_wrapper_does_not_change_the_network_of_the_checks(classifier: Classifier) -> None:
    before = {name: t.clone() for name, t in classifier.module.state_dict().items()}
    with one_line("training mode"):
        check_explainer(Careless, classifier, IMAGES, TARGETS)
    assert all(torch.equal(t, before[name]) for name, t in classifier.module.state_dict().items())


def test_captum_itself(classifier: Classifier) -> None:
    captum = pytest.importorskip("captum.attr")

    class Real(Base):
        def explain(self, images: Tensor, targets: Tensor) -> Tensor:
            with self.classifier.running(gradients=True):
                attribution = captum.IntegratedGradients(self.classifier.logits)
                return attribution.attribute(images.detach().clone(), target=targets, n_steps=4).sum(1).detach().float()

    with one_line("IntegratedGradients has attribute and no explain"):
        check_explainer(lambda c: captum.IntegratedGradients(c.module), classifier, IMAGES, TARGETS)
    maps = Real(classifier).explain(IMAGES, TARGETS)
    assert maps.shape == (2, 16, 16)


def test_images_that_can_show_nothing(classifier: Classifier) -> None:
    for images, targets, says in (
        (IMAGES[:1], TARGETS[:1], "1 image cannot show"),
        (IMAGES[:1].repeat(2, 1, 1, 1), TARGETS, "all images are the same"),
        (IMAGES, TARGETS * 0, "all targets are the same class"),
        (IMAGES.numpy(), TARGETS, "give images as a tensor"),
        (IMAGES, [0, 1], "give targets as a tensor"),
    ):
        with one_line(says):
            check_explainer(Careful, classifier, images, targets)  # type: ignore[arg-type]


def test_what_is_no_learned_explainer(classifier: Classifier) -> None:
    with one_line("Careful is no learned explainer: make it a subclass of LearnedExplainer"):
        check_learned(Careful, classifier, IMAGES, TARGETS)  # type: ignore[arg-type]
    with one_line("Attribution has attribute and no explain"):
        check_learned(lambda c: Attribution(c.logits), classifier, IMAGES, TARGETS)  # type: ignore[arg-type,return-value]


class Mean:
    """A metric as its class declares it."""

    family, higher_is_better, range, needs = "complexity", True, (0.0, 1.0), ()
    target, paper, reads = "any", "", "raw"

    def __init__(self, make: Callable[[Case], Any] = lambda case: case.attributions.mean((1, 2))) -> None:
        self.score = make


class Unnamed(Mean):
    family = "mine"


WRONG_METRICS: dict[str, tuple[Any, str]] = {
    "a text": ("srg", r"give seewhy.metric\('srg'\)"),
    "a class": (Mean, r"Mean is a class: give one of it, Mean\(\)"),
    "a function": (lambda maps, images: 0.0, "is a function, and no metric: write a class whose score"),
    "a network": (nn.Linear(2, 2), r"Linear is no metric: it has no score\(self, case\); and no family"),
    "another family": (Unnamed(), "family is 'mine': give one of masking"),
    "a mean over images": (
        Mean(lambda case: case.attributions.mean()),
        "a number for each image, and no mean over the images",
    ),
    "an array": (Mean(lambda case: np.zeros(2)), r"score returns a ndarray: return a tensor \(n,\)"),
    "whole numbers": (Mean(lambda case: torch.zeros(2, dtype=torch.long)), "scores are torch.int64: return floating-point"),
    "a graph": (Mean(lambda case: torch.zeros(2, requires_grad=True) * 1), r"carry a graph: return scores.detach\(\)"),
}


@pytest.mark.parametrize("what", WRONG_METRICS)
def test_what_is_no_metric(what: str, classifier: Classifier) -> None:
    metric, says = WRONG_METRICS[what]
    case = Case(classifier, IMAGES, TARGETS, TARGETS, IMAGES.mean(1))
    with one_line(says):
        check_metric(metric, case)


def test_what_is_no_case(classifier: Classifier) -> None:
    case = Case(classifier, IMAGES[:1], TARGETS[:1], TARGETS[:1], IMAGES[:1].mean(1))
    with one_line("Tensor is no case"):
        check_metric(Mean(), IMAGES)  # type: ignore[arg-type]
    with one_line("one image cannot show"):
        check_metric(Mean(), case)  # type: ignore[arg-type]


class Pictures(torch.utils.data.Dataset[Any]):
    """A dataset of torch."""

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return IMAGES[index], 0

    def __len__(self) -> int:
        return 2


class Handing(Pictures):
    """The members of a dataset of seewhy, and a batch of ``make``."""

    classes, ids = ("a",), ["x", "y"]

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self.batch = make

    def digest(self, indices: Any) -> str:
        return str(sorted(indices))


WRONG_DATASETS: dict[str, tuple[Any, str]] = {
    "a name": ("folder:photos", r"give seewhy.dataset\('folder:photos', classifier\)"),
    "a class": (Pictures, "Pictures is a class: give a dataset that it makes"),
    "a dataset of torch": (Pictures(), r"no classes, a tuple of names; and no ids, .*; and no batch\(self, indices\)"),
    "a list": ([IMAGES], "list is no dataset"),
    "a pair": (
        Handing(lambda indices: (IMAGES, TARGETS)),
        r"batch returns a tuple: return data.Batch\(ids, images, labels\)",
    ),
    "an array": (
        Handing(lambda indices: Batch(["x"], IMAGES.numpy(), None)),
        "images of a batch are a ndarray: give a tensor",
    ),
    "a list of labels": (Handing(lambda indices: Batch(["x"], IMAGES[:1], [0])), "labels of a batch are a list"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("what", WRONG_DATASETS)
def test_what_is_no_dataset(what: str) -> None:
    dataset, says = WRONG_DATASETS[what]
    with one_line(says):
        check_dataset(dataset)


def test_an_explainer_that_fails_in_its_own_code_keeps_its_traceback(classifier: Classifier) -> None:
    broken = replace(classifier)
    with pytest.raises(ZeroDivisionError):
        check_explainer(returning(lambda x: 1 / 0), broken, IMAGES, TARGETS)
