"""What a manifest says of explainers."""

from collections.abc import Mapping

from seewhy.describe import fields_as_json
from seewhy.explainers import EXPLAINERS, Explainer


def about_explainers(
    methods: Mapping[str, Explainer], limits: Mapping[str, int] | None = None
) -> dict[str, dict[str, object]]:
    """For the manifest; ``limits`` are those of an evaluation."""

    def limited(name: str) -> dict[str, object]:
        if limits is None:
            return {}
        own = {key.partition("/")[2]: n for key, n in limits.items() if key.startswith(f"{name}/")}
        return {"limit": limits.get(name), "limits": own}

    return {
        name: {
            "method": EXPLAINERS.name_of(type(method)),
            "family": method.family,
            "class_specific": method.class_specific,
            "paper": method.paper,
            **limited(name),
            "options": fields_as_json(method, ("classifier",)),
        }
        for name, method in methods.items()
    }
