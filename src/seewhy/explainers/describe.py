"""What a manifest says of explainers."""

from collections.abc import Mapping

from seewhy.classifier.classifier import Classifier
from seewhy.describe import fields_as_json, weights_digest
from seewhy.errors import SeewhyError
from seewhy.explainers import EXPLAINERS, Explainer


def about_explainers(methods: Mapping[str, Explainer], classifier: Classifier | None = None) -> dict[str, dict[str, object]]:
    """What a manifest says of each explainer, by its name.

    Where the ``classifier`` is given, the weights of another network that a method asks, such as a surrogate, are an option.
    """
    return {
        name: {
            "method": EXPLAINERS.name_of(type(method)),
            "family": method.family,
            "class_specific": method.class_specific,
            "paper": method.paper,
            "options": {**fields_as_json(method, ("classifier",)), **_other_network(method, classifier)},
        }
        for name, method in methods.items()
    }


def _other_network(method: Explainer, classifier: Classifier | None) -> dict[str, object]:
    """The digest of the weights of the network that a method asks, where that is not the network of the ``classifier``."""
    asked = getattr(method, "classifier", None)
    if classifier is None or not isinstance(asked, Classifier) or asked.module is classifier.module:
        return {}
    weights = weights_digest(asked.module)
    return {} if weights == weights_digest(classifier.module) else {"network": weights}


def layer_of(classifier: Classifier, methods: Mapping[str, Explainer]) -> str | None:
    """The classifier's feature layer if one of the methods reads it; None if none does, or if there is no such layer."""
    if not any(getattr(method, "layer", "") is None for method in methods.values()):
        return None
    try:
        return classifier.layer
    except SeewhyError:  # the method itself says why
        return None
