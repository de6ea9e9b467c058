"""What a metric may look at, what it promises, and the registry."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple, Protocol, TypeVar, cast, runtime_checkable
from zlib import crc32

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seewhy.errors import SeewhyError
from seewhy.explainers import Explainer
from seewhy.explainers.base import maps_of_classes
from seewhy.masking import Baseline, RemovePixels, Value
from seewhy.model import Classifier
from seewhy.options import checking
from seewhy.registry import Registry, did_you_mean
from seewhy.types import Attribution, ClassAttribution, Images, Logits, Regions, Scores, Targets

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


class Cost(NamedTuple):
    """What the maps of a batch cost: see ``seewhy.metrics.cost``."""

    seconds: float
    forward_equivalents: float
    peak_memory: float


@dataclass(frozen=True, eq=False)
class Case:
    """A batch of maps and all that is known of them; one case serves every metric.

    Args:
        classifier: what decided.
        images: (n, c, h, w) in [0, 1].
        explained: (n,) the class that the maps explain.
        scored: (n,) the class whose score a metric reads; it differs from ``explained`` in some studies.
        attributions: (n, h, w), raw.
        labels: (n,) the true class, or (n, k) zeros and ones of a multi-label dataset.
        regions: (n, h, w) the area of the object that the metric compares with.
        boxes: n tensors (m, 4) of left, top, right, bottom in pixels, right and bottom excluded.
        explainer: what made the maps, for metrics that ask it again.
        cost: what the maps cost.
        class_maps: (n, j, h, w) maps of several classes, and ``map_classes`` (j,) which; for the metrics of specificity. The
            explainer is asked for them where they are not given.
        whole: (n, k) logits of the images, if they are known.
        value: v(S), the value of a set of players that are kept; pixels removed by a baseline unless given.
        seed: of every random draw. Row i depends on image i and the seed, not on its place in the batch.
        batch_size: forward passes at a time; the scores do not depend on it.
        source: what the error calls the data.
    """

    classifier: Classifier
    images: Images
    explained: Targets
    scored: Targets
    attributions: Attribution
    labels: Tensor | None = None
    regions: Regions | None = None
    boxes: tuple[Tensor, ...] | None = None
    explainer: Explainer | None = None
    cost: Cost | None = None
    class_maps: Float[Tensor, "n j h w"] | None = None
    map_classes: Int[Tensor, "j"] | None = None
    whole: Logits | None = None
    value: Value | None = None
    seed: int = 0
    batch_size: int = 32
    source: str = "the data"
    _shared: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self.classifier.check(self.images, self.explained)
        self.classifier.check(self.images, self.scored)
        shape = (len(self.images), *self.images.shape[-2:])
        if self.attributions.shape != shape:
            raise SeewhyError(f"maps of shape {tuple(self.attributions.shape)} do not belong to images of {shape}")
        if not torch.isfinite(self.attributions).all():
            raise SeewhyError("maps have NaN or infinite values; no metric is defined for them")
        if self.attributions.dtype in (torch.float16, torch.bfloat16):  # too few digits to count pixels with
            object.__setattr__(self, "attributions", self.attributions.float())
        if self.regions is not None and self.regions.shape != shape:
            raise SeewhyError(f"regions of shape {tuple(self.regions.shape)} do not belong to images of {shape}")
        if self.regions is not None and self.regions.dtype != torch.bool:
            raise SeewhyError(f"regions must be true or false, got {self.regions.dtype}: give masks > 0")
        for name in ("labels", "boxes", "class_maps", "whole"):
            given = getattr(self, name)
            if given is not None and len(given) != len(self.images):
                raise SeewhyError(f"{len(given)} {name} do not belong to {len(self.images)} images")

    @property
    def flops(self) -> Cost | None:
        """The cost, whose forward passes are NaN where operations were not counted."""
        return self.cost

    @cached_property
    def logits(self) -> Logits:
        """(n, k) of the whole images."""
        return self.run(self.images) if self.whole is None else self.whole

    def run(self, images: Images) -> Logits:
        """Logits of any images, ``batch_size`` at a time, without a graph."""
        with self.classifier.at_work():
            logits = torch.cat(
                [self.classifier.logits(part) for part in self.classifier.laid_out(images).split(self.batch_size)]
            )
        return logits if logits.dtype == torch.float64 else logits.float()

    def probability(self, logits: Logits, rows: Tensor | None = None) -> Scores:
        """(r,) probability of the class scored; ``rows`` (r,) says whose, if not one row for each image."""
        targets = self.scored if rows is None else self.scored[rows]
        return self.classifier.to_probabilities(logits).gather(1, targets[:, None]).squeeze(1)

    def doubt(self, logits: Logits) -> Scores:
        """(n,) 1 - probability of the class scored, exact where the probability rounds to 1."""
        z = logits.gather(1, self.scored[:, None])
        if self.classifier.multilabel:
            return (-z).sigmoid().squeeze(1)
        others = logits.scatter(1, self.scored[:, None], -torch.inf)
        return (others.logsumexp(1) - logits.logsumexp(1)).exp()

    def value_function(self, baseline: Baseline) -> Value:
        """The case's own v, or the classifier with pixels replaced by ``baseline``."""
        return self.value or RemovePixels(self.classifier, baseline)

    @cached_property
    def seeds(self) -> list[int]:
        """A seed for each image, from its own pixels (of 8 bits) and ``seed``: the same alone and in any batch."""
        pixels = (self.images * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
        return [(crc32(image.tobytes()) + 1_000_003 * self.seed) % 2**32 for image in pixels]

    def several_maps(self) -> ClassAttribution | None:
        """The maps of ``map_classes``; None if they are neither given nor can be made."""
        explainer, classes = self.explainer, self.map_classes
        if self.class_maps is not None or explainer is None or classes is None:
            return self.class_maps
        return self.share("class_maps", lambda: maps_of_classes(explainer, self.images, classes).detach())

    def rows(self, rows: Tensor) -> "Case":
        """Some images of the case, with all that is known of them."""
        names = ("images", "explained", "scored", "attributions", "labels", "regions", "boxes", "class_maps", "whole")

        def pick(value: Any) -> Any:
            if value is None:
                return None
            return tuple(value[i] for i in rows.tolist()) if isinstance(value, tuple) else value[rows]

        return replace(self, **{name: pick(getattr(self, name)) for name in names})

    def share(self, key: Hashable, make: Callable[[], T]) -> T:
        """What several metrics need is made once: ``make()`` the first time that ``key`` is asked for."""
        if key not in self._shared:
            self._shared[key] = make()
        return cast(T, self._shared[key])


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


METRICS: Registry[type[Metric]] = Registry("metric", checking)


def metric(name: str, **options: object) -> Metric:
    """The metric ``name``; ``options`` are its fields. SeewhyError names what does not fit."""
    kind = METRICS[name]
    known = metric_options(kind)
    for option in options:
        if option not in known:
            listed = ", ".join(known) or "none"
            raise SeewhyError(f"{name} has no option {option!r}.{did_you_mean(option, list(known))} Options: {listed}")
    return cast(Metric, cast(Any, kind)(**options))


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
