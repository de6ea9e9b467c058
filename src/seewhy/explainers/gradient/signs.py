"""Which gradient method the signed and the multi-class maps of Llorente et al. (2023) read."""

from collections.abc import Iterator
from typing import Annotated, Any

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.explainers.base import EXPLAINERS, HasPoints, explainer
from seewhy.explainers.gradients import Point
from seewhy.options import Doc
from seewhy.types import Images

GradientMethod = Annotated[
    str | HasPoints,
    Doc(
        'The gradient method whose gradients are read, by name or as an explainer. With "smooth_grad" or '
        '"integrated_gradients" its attribution of a color channel takes the place of the gradient.'
    ),
]


def points_of(method: str | HasPoints, classifier: Classifier, images: Images) -> Iterator[Point]:
    """The points of a gradient method: a registered name with its default options, or an explainer of your own."""
    read: Any = explainer(method, classifier) if isinstance(method, str) else method
    if not _has_own_points(read):
        able = ", ".join(name for name in EXPLAINERS if _has_own_points(EXPLAINERS[name]))
        raise SeewhyError(f"the signs of {method!r} cannot be read: it is no gradient method. Use one of {able}")
    return read.points(images)


def _has_own_points(method: object) -> bool:
    """A method with an option ``of`` has the points of the method that it reads."""
    return hasattr(method, "points") and not hasattr(method, "of")
