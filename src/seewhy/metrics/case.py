"""What a metric may look at, what it promises, and the registry."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, TypeVar, cast
from zlib import crc32

import torch
from jaxtyping import Float, Int
from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.explainers import Explainer
from seewhy.explainers.base import maps_of_classes
from seewhy.masking.baselines import Baseline
from seewhy.masking.values import RemovePixels, Value
from seewhy.types import Attribution, ClassAttribution, Images, Logits, Regions, Scores, Targets

T = TypeVar("T")


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
        with self.classifier.running():
            logits = torch.cat(
                [self.classifier.logits(part) for part in self.classifier.fast_layout(images).split(self.batch_size)]
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
