"""What a manifest says of explainers."""

from collections.abc import Mapping

from seewhy.classifier.classifier import Classifier
from seewhy.describe import fields_as_json
from seewhy.errors import SeewhyError
from seewhy.explainers import EXPLAINERS, Explainer


def about_explainers(methods: Mapping[str, Explainer]) -> dict[str, dict[str, object]]:
    """What a manifest says of each explainer, by its name."""
    return {
        name: {
            "method": EXPLAINERS.name_of(type(method)),
            "family": method.family,
            "class_specific": method.class_specific,
            "paper": method.paper,
            "options": fields_as_json(method, ("classifier",)),
        }
        for name, method in methods.items()
    }


def layer_of(classifier: Classifier, methods: Mapping[str, Explainer]) -> str | None:
    """The classifier's feature layer if one of the methods reads it; None if none does, or if there is no such layer."""
    if not any(getattr(method, "layer", "") is None for method in methods.values()):
        return None
    try:
        return classifier.layer
    except SeewhyError:  # the method itself says why
        return None
