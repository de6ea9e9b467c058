"""What a metric may look at, what it promises, and the registry."""

from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Any, ClassVar, Literal, Protocol, TypeVar, cast, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from seewhy.errors import SeewhyError
from seewhy.metrics.case import Case
from seewhy.options import build, checking
from seewhy.registry import Registry

T = TypeVar("T")


Family = Literal["masking", "ordering", "localization", "specificity", "complexity", "robustness", "randomization", "cost"]


Need = Literal["regions", "boxes", "labels", "explainer", "cost", "flops", "class_maps"]


NEEDS: dict[Need, str] = {
    "regions": "the region of the object",
    "boxes": "the boxes of the object",
    "labels": "the true class",
    "explainer": "the explainer itself, not only its maps",
    "cost": "the cost of the maps",
    "flops": "the operations of the maps",
    "class_maps": "the maps of several classes",
}
"""What a metric may ask for beside images, classes and maps, in words for the error."""


@runtime_checkable
class Metric(Protocol):
    """A measure of maps: a frozen dataclass whose options are its fields; it keeps no state.

    ``score`` returns one number for each image (n,), or several (n, m) for a curve or a figure of the whole dataset,
    which ``reduce`` turns into one. Row i depends on row i of the case alone. ``seewhy.testing`` checks it.
    """

    family: ClassVar[Family]
    higher_is_better: ClassVar[bool | None]
    """None where neither is."""
    range: ClassVar[tuple[float, float]]
    needs: ClassVar[tuple[Need, ...]]
    target: ClassVar[Literal["label", "predicted", "any"]]
    """The class that the paper explains and scores."""
    paper: ClassVar[str]

    @property
    def reads(self) -> str:
        """How it reads a map: raw, positive, absolute, min_max, clipped; order or none."""
        ...

    def score(self, case: Case) -> Tensor: ...


@runtime_checkable
class Reduces(Metric, Protocol):
    """A metric with several numbers an image."""

    def reduce(self, scores: Tensor) -> float: ...


@runtime_checkable
class HasCurve(Metric, Protocol):
    """A metric that is the area under a curve, or a number read off one."""

    axes: ClassVar[tuple[str, str]]
    """What the two axes of the curve show."""

    def curve(self, case: Case) -> tuple[Sequence[float], Float[Tensor, "n m"]]:
        """(m) places from 0 to 1, and the values there."""
        ...


METRICS: Registry[type[Metric]] = Registry(
    "metric", checking, "seewhy.metrics", ("family", "higher_is_better", "range", "needs", "target", "paper", "score")
)


def metric(name: str, **options: object) -> Metric:
    """The metric ``name``; ``options`` are its fields. SeewhyError names what does not fit."""
    return cast(Metric, build(METRICS, name, **options))


def metric_options(kind: type[Any]) -> dict[str, object]:
    """Options of a metric and their defaults, in the order of its fields."""
    return {f.name: f.default if f.default is not MISSING else None for f in fields(kind)}


def score(name: str, measure: Metric, case: Case) -> Tensor:
    """``measure.score(case)`` behind the door: SeewhyError where the case lacks what the metric needs."""
    for need in measure.needs:
        if (case.several_maps() if need == "class_maps" else getattr(case, need)) is None:
            raise SeewhyError(f"{name} needs {NEEDS[need]}, which {case.source} does not have")
    return measure.score(case)


def reduced(measure: Metric, scores: Tensor) -> float:
    """The figure of a whole dataset: the mean over images, or what the metric itself says."""
    return measure.reduce(scores) if isinstance(measure, Reduces) else float(scores.double().mean())
