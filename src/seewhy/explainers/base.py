"""What every explainer promises, how a method is declared, and the registry."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import wraps
from inspect import getmembers, isfunction
from typing import (
    Any,
    ClassVar,
    Literal,
    Protocol,
    TypeVar,
    cast,
    dataclass_transform,
    final,
    get_args,
    runtime_checkable,
)

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seewhy.classifier.borrow import find_layer, outside_inference
from seewhy.classifier.classifier import Classifier, must_be_classifier
from seewhy.classifier.turns import in_turn, on_cpu_by_default
from seewhy.errors import SeewhyError, UnsuitedError
from seewhy.explainers.classes import as_column, for_each
from seewhy.explainers.gradients import Point
from seewhy.masking.tokens import Removal, must_remove
from seewhy.options import build, checking
from seewhy.registry import Registry
from seewhy.types import Attribution, ClassAttribution, Classes, FeatureMap, Images, Targets

T = TypeVar("T")
Family = Literal["gradient", "cam", "perturbation", "attention", "optimized", "learned", "reference"]


@runtime_checkable
class Explainer(Protocol):
    """A method: a frozen dataclass whose fields are the classifier and the options.

    The maps of ``explain`` have the images' height, width, dtype and device. They are detached, finite and raw: signed if
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
class HasErrors(Explainer, Protocol):
    """A sampling method that says how sure it is: beside each map the standard error of each pixel's value.

    The errors are 0 where the value is exact, and None where the method, with its options, has no errors.
    """

    def explain_classes_with_errors(
        self, images: Images, classes: Classes
    ) -> tuple[ClassAttribution, ClassAttribution | None]: ...


@runtime_checkable
class HasPoints(Explainer, Protocol):
    """A gradient method, as the points at which it differentiates. The rules of sign and activity can read it."""

    def points(self, images: Images) -> Iterator[Point]: ...


@runtime_checkable
class InOnePass(Explainer, Protocol):
    """An explainer whose maps follow from one forward pass of the network: no gradients, no search, no masked images.

    ``seewhy.export`` makes one graph of the pass and the maps.
    """

    classifier: Classifier

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers of the network whose features it reads."""

    def maps_of_pass(
        self, images: Images, logits: Float[Tensor, "n all"], features: tuple[FeatureMap, ...], classes: Int[Tensor, "n k"]
    ) -> ClassAttribution:
        """The maps of each image for its own k classes; ``features`` are those of the layers, on their grids.

        It compares no values and asks for no ``len(images)``: an exporter calls it with tensors that have no values.
        """


# -- the registry -----------------------------------------------------------------------------------------------------


def _prepared(name: str, kind: type[T]) -> type[T]:
    """``kind`` with options that are checked, and with ``explain`` methods that work anywhere.

    They also work in ``torch.inference_mode`` and in several threads, and for a network that mixes the images of a batch.
    """
    for key, method in getmembers(kind, isfunction):
        if key.startswith("explain"):
            setattr(kind, key, outside_inference(in_turn(_in_type_of_images(_image_by_image(method)))))
    return checking(name, kind)


def _in_type_of_images(method: Callable[..., Any]) -> Callable[..., Any]:
    """``method`` whose maps have the images' type, whatever the network computes in; no default device is in force."""

    @wraps(method)
    def run(self: object, images: Tensor, *given: object, **named: object) -> Any:
        with on_cpu_by_default():
            maps = method(self, images, *given, **named)
        if isinstance(maps, tuple):  # with errors, or with whole numbers of passes
            return tuple(m.to(images.dtype) if m is not None and m.is_floating_point() else m for m in maps)
        return maps.to(images.dtype)

    return run


def _image_by_image(method: Callable[..., Any]) -> Callable[..., Any]:
    """``method`` for one image at a time where the network mixes images: map i depends on image i alone."""
    shared = method.__name__.startswith("explain_classes")  # the same classes for every image

    @wraps(method)
    def run(self: Any, *given: Any, **named: Any) -> Any:
        images, classes, *_ = (*given, *named.values(), None, None)
        n = len(images) if isinstance(images, Tensor) and images.ndim == 4 else 0
        if n < 2 or not _runs_and_mixes(self, images):
            return method(self, *given, **named)
        if not (isinstance(classes, Tensor) and classes.ndim == 1 and (shared or len(classes) == n)):
            return method(self, *given, **named)  # which says what is wrong

        def explained(rows: slice) -> Any:
            some = [x[rows] if x is images or (x is classes and not shared) else x for x in (*given, *named.values())]
            return method(of_rows(self, rows, n), *some[: len(given)], **dict(zip(named, some[len(given) :], strict=True)))

        alone = [explained(slice(i, i + 1)) for i in range(n)]
        if isinstance(alone[0], Tensor):
            return torch.cat(alone)
        return tuple(None if parts[0] is None else torch.cat(parts) for parts in zip(*alone, strict=True))

    return run


def _runs_and_mixes(method: Any, images: Images) -> bool:
    """Does the method run a network, and does the network mix the images of a batch?"""
    classifier = getattr(method, "classifier", None)
    return isinstance(classifier, Classifier) and method.family != "reference" and classifier.mixes_images(images)


EXPLAINERS: Registry[type[Explainer]] = Registry(
    "explainer", _prepared, "seewhy.explainers", ("family", "class_specific", "paper", "explain")
)


# -- how a method is declared -----------------------------------------------------------------------------------------


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Declared:
    """Reads a class head: ``class MyMethod(Method, name="my_method", family="cam", paper="author2025title")``."""

    family: ClassVar[Family]
    class_specific: ClassVar[bool]
    paper: ClassVar[str]

    def __init_subclass__(
        cls, *, name: str = "", family: Family | None = None, paper: str = "", class_specific: bool = True
    ) -> None:
        """Makes ``cls`` a frozen dataclass. With a ``name`` it is a method, and registered; without, a base of methods."""
        dataclass(frozen=True)(cls)
        if name:
            if family not in get_args(Family):
                raise TypeError(f"{cls.__name__} has family={family!r}: give one of {', '.join(get_args(Family))}")
            cls.family, cls.paper, cls.class_specific = cast(Family, family), paper, class_specific
            EXPLAINERS.register(name)(cast(Any, cls))


class Method(Declared, ABC):
    """A method of this package: its class head declares it, its fields are its options. It has no behavior.

    Head:
        name: in the registry. A class without a name is a base of methods.
        family: folder of the module.
        paper: key of the paper in the bibliography.
        class_specific: does the map depend on the target?

    Args:
        classifier: what is explained.
    """

    classifier: Classifier

    @abstractmethod
    def explain(self, images: Images, targets: Targets) -> Attribution:
        """The map of each image for its own target."""


class ClassMaps(Method):
    """A method that explains several classes of an image in the same passes. A subclass says how, in ``maps``."""

    @abstractmethod
    def maps(self, images: Images, classes: Int[Tensor, "n k"]) -> ClassAttribution:
        """The maps of each image for its own k classes. Images and classes are checked, images are detached."""

    @final
    def explain(self, images: Images, targets: Targets) -> Attribution:
        return self._checked(images, as_column(targets))[:, 0]

    @final
    def explain_classes(self, images: Images, classes: Classes) -> ClassAttribution:
        return self._checked(images, for_each(images, classes))

    def _checked(self, images: Images, classes: Int[Tensor, "n k"]) -> ClassAttribution:
        self.classifier.check_classes(images, classes)
        return self.maps(images.detach(), classes)


# -- how a method is made and asked -----------------------------------------------------------------------------------


def of_rows(method: T, rows: slice | Tensor, n: int) -> T:
    """The method for some of n images: where it has a baseline for each image, it has those of these images."""
    if not is_dataclass(method) or isinstance(method, type):
        return method
    now = {f.name: getattr(method, f.name) for f in fields(method) if f.init}
    then = {name: _rows_of(value, rows, n, name.startswith("baseline")) for name, value in now.items()}
    changes = {name: value for name, value in then.items() if value is not now[name]}
    return cast(T, replace(cast(Any, method), **changes)) if changes else method


def points_of_rows(method: HasPoints, images: Images, rows: slice) -> Iterator[Point]:
    """The points of a gradient method for some of the images."""
    return of_rows(method, rows, len(images)).points(images[rows].detach())


def _rows_of(value: Any, rows: slice | Tensor, n: int, is_baseline: bool) -> Any:
    """An option for some of n images: the same object, unless it is different for each image."""
    if isinstance(value, Tensor) and is_baseline and value.ndim == 4 and len(value) > 1:
        if len(value) != n:
            raise SeewhyError(f"{len(value)} baselines do not belong to {n} images: give one for each image, or one for all")
        return value[rows]
    if isinstance(value, tuple) and is_baseline:
        parts = tuple(_rows_of(part, rows, n, is_baseline) for part in value)
        return value if all(a is b for a, b in zip(parts, value, strict=True)) else parts
    return of_rows(value, rows, n) if isinstance(value, HasPoints) and not isinstance(value, type) else value


def _selected(name: str, classifier: Classifier, options: dict[str, object]) -> dict[str, object]:
    """The options, with the selector "logit" where the network returns values and nothing else was asked for."""
    kind = EXPLAINERS[name]
    selects = is_dataclass(kind) and any(f.name == "selector" and f.default != "logit" for f in fields(kind))
    reads_values = selects and "selector" not in options and classifier.returns_values
    return {**options, "selector": "logit"} if reads_values else options


def explainer(name: str, classifier: Classifier, **options: object) -> Explainer:
    """The explainer ``name`` for ``classifier``; ``options`` are its fields. SeewhyError names what does not fit.

    ``name`` may be the folder of a learned explainer, or "hf/OWNER/NAME" on the hub (see ``load_explainer``). A learned
    method that comes trained for the classifier is trained; any other learned method is not. Of a network that returns
    values, which have no probabilities, a method with a selector reads the value itself.
    """
    must_be_classifier(classifier)
    made = _trained(name, classifier, options) or build(EXPLAINERS, name, classifier, **_selected(name, classifier, options))
    layers = getattr(made, "layer", None) or ()
    for layer in (layers,) if isinstance(layers, str) else layers:
        find_layer(classifier.module, layer)  # a layer that is not there is said before anything is computed
    if getattr(made, "selector", "logit") != "logit" and classifier.returns_values:
        network = type(classifier.module).__name__
        cure = "give selector=logit" if any(f.name == "selector" for f in fields(made)) else "choose another method"
        raise UnsuitedError(f"{name}: {network} returns values, which have no probabilities: {cure}")
    try:
        if (removal := getattr(made, "removal", "pixels")) != "auto":
            must_remove(classifier, cast(Removal, removal))
    except UnsuitedError as error:
        raise UnsuitedError(f"{name}: {error}") from None
    return cast(Explainer, made)


def _trained(name: str, classifier: Classifier, options: dict[str, Any]) -> Any:
    """The learned explainer of a folder, or the one that comes with the package; None where there is none such."""
    from seewhy.explainers.learned.folder import is_folder, load_explainer, shipped  # it imports this module

    if is_folder(name):
        return load_explainer(name, classifier, **options)
    if name in EXPLAINERS and EXPLAINERS[name].family == "learned" and (folder := shipped(name, classifier, options)):
        return load_explainer(folder, classifier, **options)
    return None


def maps_of_classes(explainer: Explainer, images: Images, classes: Classes) -> ClassAttribution:
    """(n, k, h, w) maps of the k classes of every image, in one pass where the method can."""
    if isinstance(explainer, ExplainsClasses):
        return explainer.explain_classes(images, classes)
    return torch.stack([explainer.explain(images, c.expand(len(images))) for c in classes], 1)


def maps_and_errors(
    explainer: Explainer, images: Images, classes: Classes
) -> tuple[ClassAttribution, ClassAttribution | None]:
    """``maps_of_classes``, and the standard errors of a method that has some.

    SeewhyError for what is no explainer, and for maps that are no tensor (n, h, w).
    """
    must_be_explainer(explainer)
    if isinstance(explainer, HasErrors):
        return explainer.explain_classes_with_errors(images, classes)
    if len(classes) == 1:
        found: object = explainer.explain(images, classes.expand(len(images)))
        wanted = (len(images), *images.shape[-2:])
        if not isinstance(found, Tensor) or found.shape != wanted:
            shape = tuple(found.shape) if isinstance(found, Tensor) else ""
            raise SeewhyError(
                f"{type(explainer).__name__}.explain returns {type(found).__name__} {shape}: return one tensor {wanted}, a "
                "map for each image; seewhy.testing.check_explainer says what else a method promises"
            )
        return found[:, None], None
    return maps_of_classes(explainer, images, classes), None


def must_be_explainer(given: object) -> None:
    """SeewhyError for what has no ``explain``: a class, a function, an attribution of another library."""
    if isinstance(given, type):
        raise SeewhyError(f"{given.__name__} is a class, and no explainer: give one of it, {given.__name__}(classifier)")
    if not hasattr(given, "explain"):
        raise SeewhyError(
            f"{type(given).__name__} is no explainer: give a name, or an object with explain(images, targets), family, "
            "class_specific and paper; seewhy.testing.check_explainer says what else it lacks"
        )
