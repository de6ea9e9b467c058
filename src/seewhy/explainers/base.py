"""What every explainer promises, and the registry."""

from collections.abc import Iterator
from dataclasses import MISSING, fields
from inspect import getmembers, isfunction
from typing import Any, ClassVar, Literal, Protocol, TypeVar, cast, runtime_checkable

import torch

from seewhy.classifier.borrow import outside_inference
from seewhy.classifier.classifier import Classifier, must_be_classifier
from seewhy.explainers.gradients import Point
from seewhy.options import build, checking
from seewhy.registry import Registry
from seewhy.types import Attribution, ClassAttribution, Classes, Images, Targets

T = TypeVar("T")
Family = Literal["gradient", "cam", "perturbation", "attention", "optimized", "learned", "reference"]


@runtime_checkable
class Explainer(Protocol):
    """A method: a frozen dataclass whose options are its fields.

    The maps of ``explain`` have the images' height, width, dtype and device; they are detached, finite and raw: signed if
    the method is, never rescaled. Map i depends on image i and target i alone. ``seewhy.testing`` checks all of it.
    """

    family: ClassVar[Family]
    class_specific: ClassVar[bool]
    """Does the map depend on the target?"""
    paper: ClassVar[str]
    """Key of the paper in the bibliography."""

    def explain(self, images: Images, targets: Targets) -> Attribution: ...


@runtime_checkable
class ExplainsClasses(Explainer, Protocol):
    """An explainer that explains k classes for less than k single runs."""

    def explain_classes(self, images: Images, classes: Classes) -> ClassAttribution: ...


@runtime_checkable
class HasPoints(Explainer, Protocol):
    """A gradient method, as the points at which it differentiates: what the rules of sign and activity can wrap."""

    def points(self, images: Images) -> Iterator[Point]: ...


def _registered(name: str, kind: type[T]) -> type[T]:
    """Its options are checked, and it can be asked in ``torch.inference_mode`` too, or with what was made there."""
    for key, method in getmembers(kind, isfunction):
        if key.startswith("explain"):
            setattr(kind, key, outside_inference(method))
    return checking(name, kind)


EXPLAINERS: Registry[type[Explainer]] = Registry(
    "explainer", _registered, "seewhy.explainers", ("family", "class_specific", "paper", "explain")
)


def explainer(name: str, classifier: Classifier, **options: object) -> Explainer:
    """The explainer ``name`` for ``classifier``; ``options`` are its fields. SeewhyError names what does not fit."""
    must_be_classifier(classifier)
    return cast(Explainer, build(EXPLAINERS, name, classifier, **options))


def options_of(method: type[Any]) -> dict[str, object]:
    """Options of a method and their defaults, in the order of its fields."""
    options = {f.name: f.default if f.default is not MISSING else None for f in fields(method)}
    options.pop("classifier", None)
    return options


def maps_of_classes(explainer: Explainer, images: Images, classes: Classes) -> ClassAttribution:
    """(n, j, h, w), in one pass where the method can."""
    if isinstance(explainer, ExplainsClasses):
        return explainer.explain_classes(images, classes)
    return torch.stack([explainer.explain(images, c.expand(len(images))) for c in classes], 1)
