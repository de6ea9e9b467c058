"""Which gradient method the signed and the multi-class maps of Llorente et al. (2023) read."""

from collections.abc import Iterator
from dataclasses import KW_ONLY
from functools import partial
from typing import Annotated, Any, cast

from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.explainers.base import EXPLAINERS, ClassMaps, HasPoints, explainer, points_of_rows
from seewhy.explainers.gradient.gradient_sum import repairs
from seewhy.explainers.gradients import Extremes, Point, class_extremes
from seewhy.explainers.options import BatchSize, LibraOption
from seewhy.options import Doc
from seewhy.types import Images

GradientMethod = Annotated[
    str | HasPoints,
    Doc(
        'The gradient method whose gradients are read, by name or as an explainer. With "smooth_grad" or '
        '"integrated_gradients" its attribution of a color channel takes the place of the gradient.'
    ),
]


class SaliencyOfAllClasses(ClassMaps):
    """The gradient of a class, compared with those of all classes."""

    _: KW_ONLY  # the last parameters, behind those of the subclass
    of: GradientMethod = "saliency"
    libra: LibraOption = False
    batch_size: BatchSize = 32

    def extremes(self, images: Images, classes: Tensor) -> Extremes:
        points = partial(points_of_rows, gradient_method(self.of, self.classifier), images)
        with self.classifier.balanced(repairs(self)):
            return class_extremes(self.classifier, images, classes, points, self.batch_size)


def points_of(method: str | HasPoints, classifier: Classifier, images: Images) -> Iterator[Point]:
    """The points of a gradient method: a registered name with its default options, or an explainer of your own."""
    return gradient_method(method, classifier).points(images)


def gradient_method(method: str | HasPoints, classifier: Classifier) -> HasPoints:
    """The gradient method itself; SeewhyError for a method that has no points of its own."""
    read: Any = explainer(method, classifier) if isinstance(method, str) else method
    if not _has_own_points(read):
        able = ", ".join(name for name, kind in EXPLAINERS.items() if _has_own_points(kind))
        raise SeewhyError(f"the signs of {method!r} cannot be read: it is no gradient method. Use one of {able}")
    return cast(HasPoints, read)


def _has_own_points(method: object) -> bool:
    """A method with an option ``of`` has the points of the method that it reads."""
    return hasattr(method, "points") and not hasattr(method, "of")
