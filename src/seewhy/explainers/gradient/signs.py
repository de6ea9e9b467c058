"""What the signed and multi-class maps of Llorente et al. (2023) share: which gradient method they read."""

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.explainers.base import EXPLAINERS, HasPoints, explainer
from seewhy.explainers.gradients import Points


def points_of(method: str | HasPoints, classifier: Classifier) -> Points:
    """The points of a gradient method: a registered name with its default options, or an explainer of your own."""
    wrapped = explainer(method, classifier) if isinstance(method, str) else method
    if not isinstance(wrapped, HasPoints):
        able = ", ".join(name for name in EXPLAINERS if hasattr(EXPLAINERS[name], "points"))
        raise SeewhyError(f"the signs of {method!r} cannot be read: it is no gradient method. Use one of {able}")
    return wrapped.points
