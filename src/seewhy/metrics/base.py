"""What a metric promises, how a class declares it, and the registry of metrics."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import wraps
from inspect import isfunction
from typing import Any, ClassVar, Literal, Protocol, TypeVar, cast, dataclass_transform, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from seewhy.classifier.turns import in_turn, on_cpu_by_default
from seewhy.maps import Reading
from seewhy.metrics.case import NEEDS as NEEDS  # noqa: PLC0414 (re-exported beside the protocol)
from seewhy.metrics.case import Case
from seewhy.metrics.case import Need as Need  # noqa: PLC0414
from seewhy.options import build, checking
from seewhy.registry import Registry

T = TypeVar("T")
Family = Literal["masking", "ordering", "localization", "specificity", "complexity", "robustness", "randomization", "cost"]
Explained = Literal["label", "predicted", "any"]
"""The class that a paper explains and scores."""
Direction = Literal["higher", "lower", "neither"]


@runtime_checkable
class Metric(Protocol):
    """A measure of maps: a frozen dataclass without state, whose options are its fields.

    ``score`` returns one number for each image (n,), or several (n, m) for a curve or a figure of the whole dataset,
    which ``reduce`` turns into one. Row i depends on row i of the case alone. ``seewhy.testing`` checks these promises.
    """

    family: ClassVar[Family]
    higher_is_better: ClassVar[bool | None]
    """None where neither is."""
    range: ClassVar[tuple[float, float]]
    needs: ClassVar[tuple[Need, ...]]
    target: ClassVar[Explained]
    """The class that the paper explains and scores."""
    paper: ClassVar[str]
    """Key of the paper in the bibliography; "" for a metric of this library."""

    @property
    def reads(self) -> str:
        """How the metric reads a map: raw, positive, absolute, min_max, clipped; order or none."""
        ...

    def score(self, case: Case) -> Tensor: ...


@runtime_checkable
class Reduces(Metric, Protocol):
    """A metric with several numbers for each image."""

    def reduce(self, scores: Tensor) -> float:
        """The figure of a dataset."""
        ...


@runtime_checkable
class HasCurve(Metric, Protocol):
    """A metric that is the area under a curve, or a number that is read off a curve."""

    axes: ClassVar[tuple[str, str]]
    """What the two axes of the curve show."""

    def curve(self, case: Case) -> tuple[Sequence[float], Float[Tensor, "n m"]]:
        """(m) places from 0 to 1, and the values there."""
        ...


_prepared_methods: set[tuple[type, str]] = set()


def _prepared(name: str, kind: type[T]) -> type[T]:
    """``kind`` with options that are checked, whose scores have no -0.0, in a turn with the networks of the case."""
    changes: dict[str, Callable[[Callable[..., Any]], Callable[..., Any]]]
    changes = {"score": _without_negative_zero, "curve": _in_turn}
    for key, change in changes.items():
        for writer in kind.__mro__:
            method = vars(writer).get(key)
            if isfunction(method):
                if (writer, key) not in _prepared_methods:  # where it is written, once for all metrics that have it
                    setattr(writer, key, change(method))
                    _prepared_methods.add((writer, key))
                break
    return checking(name, kind)


def _in_turn(method: Callable[..., Any]) -> Callable[..., Any]:
    """``method`` in a turn, with no default device in force."""
    return on_cpu_by_default()(in_turn(method))


def _without_negative_zero(score: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``score`` in a turn, with 0.0 for -0.0: a table would show the sign."""
    found = _in_turn(score)

    @wraps(score)
    def run(*given: Any, **named: Any) -> Tensor:
        return found(*given, **named) + 0.0

    return run


METRICS: Registry[type[Metric]] = Registry(
    "metric", _prepared, "seewhy.metrics", ("family", "higher_is_better", "range", "needs", "target", "paper", "score")
)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Measure(ABC):
    """Base of a metric that declares itself in its class head. The base has no behavior.

        class RelevanceMass(Measure, name="relevance_mass", family="localization", better="higher", range=(0, 1),
                            needs=("regions",), reads="positive", explains="label", paper="arras2022clevr"):

    The class becomes a frozen dataclass. Its fields are the options; their values are checked when a metric is made. With
    a ``name`` the class is a metric and is registered. Without a name it is a base: its options and its head hold for all
    metrics that derive from it. A metric has no subclasses, and overrides no method.

    The head:
        name: in the registry and on the command line.
        family: the question that the metric asks.
        better: "higher", "lower" or "neither".
        range: the lowest and the highest score.
        needs: what the case must have beside images and maps; nothing by default.
        reads: how the metric reads a map; a metric that lets the user choose has a field of this name instead.
        explains: the class that the paper explains and scores.
        paper: a key of the bibliography; none by default.
        axes: what the two axes of the curve show, for a metric with a method ``curve``.
    """

    family: ClassVar[Family]
    higher_is_better: ClassVar[bool | None]
    range: ClassVar[tuple[float, float]]
    needs: ClassVar[tuple[Need, ...]] = ()
    target: ClassVar[Explained]
    paper: ClassVar[str] = ""
    axes: ClassVar[tuple[str, str]]

    @property
    def reads(self) -> str:
        """The head or a field of the class takes the place of this property."""
        raise NotImplementedError

    @abstractmethod
    def score(self, case: Case) -> Tensor:
        """(n,) or (n, m)."""

    def __init_subclass__(
        cls,
        name: str | None = None,
        family: Family | None = None,
        better: Direction | None = None,
        range: tuple[int | float, int | float] | None = None,
        needs: tuple[Need, ...] | None = None,
        reads: Reading | Literal["order", "none"] | None = None,
        explains: Explained | None = None,
        paper: str | None = None,
        axes: tuple[str, str] | None = None,
    ) -> None:
        head = {"family": family, "range": range, "needs": needs, "reads": reads, "target": explains, "paper": paper}
        for key, value in {**head, "axes": axes}.items():
            if value is not None:
                setattr(cls, key, value)
        if better is not None:
            cls.higher_is_better = {"higher": True, "lower": False, "neither": None}[better]
        dataclass(frozen=True)(cls)
        if name is None:
            checking(cls.__name__, cls)
            return
        declares = {"family": "family", "better": "higher_is_better", "range": "range", "explains": "target"}
        missing = [word for word, key in declares.items() if not hasattr(cls, key)]
        if missing or cls.reads is Measure.reads:
            raise TypeError(f"the head of the metric {name!r} lacks {', '.join(missing or ['reads'])}")
        METRICS.register(name)(cls)


def metric(name: str, **options: object) -> Metric:
    """The metric ``name``; ``options`` are its fields. SeewhyError names what does not fit."""
    return cast(Metric, build(METRICS, name, **options))


def score(name: str, measure: Metric, case: Case) -> Tensor:
    """``measure.score(case)``; SeewhyError where the case lacks what the metric needs."""
    for need in measure.needs:
        case.require(need, name)
    return measure.score(case)


def reduced(measure: Metric, scores: Tensor) -> float:
    """The figure of a dataset: the mean over its images, unless the metric has a ``reduce`` of its own."""
    return measure.reduce(scores) if isinstance(measure, Reduces) else float(scores.double().mean())
