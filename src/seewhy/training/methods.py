"""What can be trained, by name: every explainer that learns, and the surrogate, which is no explainer."""

from typing import Any

from seewhy.explainers import EXPLAINERS
from seewhy.registry import Registry
from seewhy.training.surrogate import SurrogateTraining

NO_EXPLAINERS: Registry[Any] = Registry("method that learns")
"""What learns and is no explainer."""
NO_EXPLAINERS.register("surrogate")(SurrogateTraining)


def registry_of(method: str) -> Registry[Any]:
    """The registry that has the method, or that of the explainers, which says that there is no such name."""
    return NO_EXPLAINERS if method in NO_EXPLAINERS else EXPLAINERS


def learned_methods() -> list[str]:
    """The names of all that can be trained."""
    return [*(name for name, kind in EXPLAINERS.items() if kind.family == "learned"), *NO_EXPLAINERS]


def method_name(trained: object) -> str:
    """The name under which something that is trained is known; that of its class where it has none."""
    registry = NO_EXPLAINERS if isinstance(trained, SurrogateTraining) else EXPLAINERS
    return registry.name_of(type(trained))
