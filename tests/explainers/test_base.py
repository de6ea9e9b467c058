"""How methods are declared, registered and made, and what every declaration keeps to."""

import pickle
from dataclasses import FrozenInstanceError, dataclass, fields, replace
from inspect import getfile, isfunction, unwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from support.class_lines import lines_of
from support.command import as_users_run_it
from support.tiny_models import TINY, model_for
from torch import Tensor

from seewhy.classifier.classifier import Classifier, frozen
from seewhy.errors import SeewhyError
from seewhy.explainers import EXPLAINERS, Explainer, ExplainsClasses, GradCAM, InputXGradient, explainer
from seewhy.explainers.base import ClassMaps, Method
from seewhy.options import described
from seewhy.testing.explainers import check_explainer
from seewhy.types import Attribution, ClassAttribution, Images, Targets

OWN = [pytest.param(EXPLAINERS[name], id=name) for name in EXPLAINERS]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is gone afterwards."""
    monkeypatch.setattr(EXPLAINERS, "_entries", dict(EXPLAINERS._entries))


# -- what every method of this package keeps to ------------------------------------------------------------------------


@pytest.mark.parametrize("kind", OWN)
def test_the_folder_of_a_method_is_its_family(kind: type[Explainer]) -> None:
    assert Path(getfile(kind)).parent.name == kind.family


@pytest.mark.parametrize("kind", OWN)
def test_a_method_has_more_code_than_declarations(kind: type[Explainer]) -> None:
    lines = lines_of(kind)
    assert lines.declaration < lines.methods


def test_grad_cam_is_its_two_equations() -> None:
    assert len(Path(getfile(GradCAM)).read_text(encoding="utf-8").splitlines()) <= 20


@pytest.mark.parametrize("kind", OWN)
def test_no_method_overrides_what_runs(kind: type[Explainer]) -> None:
    """A base has holes, which are abstract, and final behavior."""
    for base in kind.__mro__[1:]:
        for key, value in vars(base).items():
            if isfunction(value) and not key.startswith("__") and not getattr(value, "__isabstractmethod__", False):
                assert unwrap(getattr(kind, key)).__qualname__ == unwrap(value).__qualname__


@pytest.mark.parametrize("kind", OWN)
def test_every_option_is_described(kind: type[Explainer]) -> None:
    for option in described(kind):
        assert option.text, option.name
        assert option.takes


# -- declaring one ----------------------------------------------------------------------------------------------------


def test_a_class_head_declares_and_registers(registry: None) -> None:
    class Brightest(Method, name="brightest", family="reference", class_specific=False):
        """Where the image is bright."""

        power: float = 1.0

        def explain(self, images: Images, targets: Targets) -> Attribution:
            return images.mean(1).detach() ** self.power

    assert EXPLAINERS["brightest"] is Brightest
    assert (Brightest.family, Brightest.paper, Brightest.class_specific) == ("reference", "", False)
    assert [(option.name, option.default) for option in described(Brightest)] == [("power", 1.0)]
    assert isinstance(explainer("brightest", TINY["cnn"](), power=2), Explainer)
    with pytest.raises(SeewhyError, match="brightest cannot take power='two': give a number"):
        explainer("brightest", TINY["cnn"](), power="two")


def test_a_class_without_a_name_is_a_base(registry: None) -> None:
    before = len(EXPLAINERS)

    class Half(ClassMaps):
        """Not a method yet."""

    assert len(EXPLAINERS) == before
    with pytest.raises(TypeError, match="maps"):
        Half(TINY["cnn"]())  # type: ignore[abstract]


def test_an_unknown_family_is_refused(registry: None) -> None:
    with as_users_run_it(), pytest.raises(TypeError, match="family='magic': give one of gradient"):

        class Wrong(Method, name="wrong", family="magic"):  # type: ignore[arg-type]
            def explain(self, images: Images, targets: Targets) -> Attribution: ...


def test_options_of_a_base_stand_behind_the_methods_own() -> None:
    names = [option.name for option in described(EXPLAINERS["integrated_gradients"])]
    assert names == ["steps", "quadrature", "baseline", "libra", "batch_size"]
    assert InputXGradient(TINY["cnn"](), batch_size=2).batch_size == 2


@dataclass(frozen=True)
class Plain:
    """A method of a third party: it keeps the protocol, and knows no base of this package."""

    classifier: Classifier
    power: float = 1.0
    family = "gradient"
    class_specific = True
    paper = ""

    def explain(self, images: Tensor, targets: Tensor) -> Tensor:
        self.classifier.check(images, targets)
        x = images.detach().requires_grad_()
        with frozen(self.classifier.module), torch.enable_grad():
            (gradient,) = torch.autograd.grad(self.classifier.scores(x, targets).sum(), x)
        return gradient.abs().amax(1) ** self.power


def test_a_plain_dataclass_can_be_registered(registry: None, batch: tuple[Tensor, Tensor]) -> None:
    kind: Any = type("Theirs", (Plain,), {"__annotations__": {}})
    EXPLAINERS.register("theirs")(dataclass(frozen=True)(kind))
    found = explainer("theirs", TINY["cnn"](), power=0.5)
    assert isinstance(found, Explainer)
    assert not isinstance(found, ExplainsClasses)
    with torch.inference_mode():
        assert found.explain(*(x.clone() for x in batch)).shape == (3, 16, 16)
    with pytest.raises(SeewhyError, match="theirs cannot take power='high'"):
        explainer("theirs", TINY["cnn"](), power="high")
    check_explainer(kind, TINY["cnn"](), *batch)


# -- using one --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", OWN)
def test_a_method_is_a_frozen_dataclass(kind: Any) -> None:
    """It can be compared, changed in a copy, and sent to another process."""
    classifier = TINY[model_for(next(name for name in EXPLAINERS if EXPLAINERS[name] is kind))]()
    one = kind(classifier)
    assert one == kind(classifier)
    with pytest.raises(FrozenInstanceError):
        one.classifier = classifier
    again = pickle.loads(pickle.dumps(one))
    assert type(again) is kind
    options = [f.name for f in fields(kind) if f.name != "classifier"]
    assert all(getattr(again, option) == getattr(one, option) for option in options)
    if "seed" in options:
        other = replace(one, seed=7)
        assert other != one
        assert other.seed == 7
        assert hash(one) != hash(other)


class Counted(ClassMaps):
    """Says what it was given."""

    def maps(self, images: Images, classes: Tensor) -> ClassAttribution:
        assert not images.requires_grad
        return classes[:, :, None, None].expand(-1, -1, *images.shape[2:]).to(images)


def test_class_maps_asks_for_each_images_own_classes(batch: tuple[Tensor, Tensor]) -> None:
    images, targets = batch
    method = Counted(TINY["cnn"]())
    assert method.explain(images.requires_grad_(), targets)[:, 0, 0].tolist() == targets.tolist()
    assert method.explain_classes(images, torch.tensor([4, 2]))[:, :, 0, 0].tolist() == [[4, 2]] * 3
    with pytest.raises(SeewhyError, match="class 9 does not exist"):
        method.explain(images, torch.tensor([0, 1, 9]))
