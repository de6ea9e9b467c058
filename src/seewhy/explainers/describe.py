"""What a manifest says of explainers."""

from collections.abc import Mapping

from seewhy.describe import fields_as_json
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
