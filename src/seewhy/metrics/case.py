"""What a metric may look at: a batch of maps, and all that is known of them."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypeVar, cast
from zlib import crc32

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from seewhy.classifier.checks import must_be_tensors
from seewhy.classifier.classifier import Classifier
from seewhy.data import Parts
from seewhy.errors import SeewhyError
from seewhy.explainers import Explainer
from seewhy.explainers.base import maps_of_classes, of_rows
from seewhy.masking.baselines import Baseline, baseline_images
from seewhy.masking.tokens import Removal, value_of
from seewhy.masking.values import Value
from seewhy.types import Attribution, ClassAttribution, Images, Logits, Regions, Scores, Targets

T = TypeVar("T")

Need = Literal["regions", "boxes", "labels", "explainer", "cost", "forward_passes", "class_maps", "parts", "companions"]

NEEDS: dict[Need, str] = {
    "regions": "the region of the object",
    "boxes": "the boxes of the object",
    "labels": "the true class",
    "explainer": "the explainer itself, not only its maps",
    "cost": "the cost of the maps",
    "forward_passes": "the operations of the maps",
    "class_maps": "the maps of several classes",
    "parts": "the image without each of its parts",
    "companions": "images of other classes",
}
"""What a metric may need beside images, classes and maps; the words are those of the error."""


class Cost(NamedTuple):
    """What the maps of a batch cost: see ``seewhy.metrics.cost``."""

    seconds: float
    forward_equivalents: float
    peak_memory: float


class Companions(NamedTuple):
    """Images of several classes, to be put beside another image.

    images   (m, c, h, w) in [0, 1]
    classes  (m,) the class that the classifier sees in each
    """

    images: Images
    classes: Int[Tensor, "m"]


@dataclass(frozen=True, eq=False)
class Case:
    """A batch of maps and all that is known of them; one case serves every metric.

    Args:
        classifier: the network that is explained.
        images: (n, c, h, w) in [0, 1].
        explained: (n,) the class that the maps explain.
        scored: (n,) the class whose score a metric reads; it differs from ``explained`` in some studies.
        attributions: (n, h, w), raw.
        labels: (n,) the true class, or (n, k) zeros and ones of a multi-label dataset.
        regions: (n, h, w) the area of the object that the metric compares with.
        boxes: n tensors (m, 4) of left, top, right, bottom in pixels, right and bottom excluded.
        explainer: the method that made the maps, for metrics that ask it again.
        cost: what the maps cost, as ``seewhy.metrics.cost.measure`` finds it.
        class_maps: (n, j, h, w) maps of several classes, for the metrics of specificity; ``map_classes`` (j,) are these
            classes. Where only ``map_classes`` is given, the explainer makes the maps.
        parts: of each image, for metrics of what happens when a part was never there.
        companions: images of several classes, the same for every image of the case, for metrics that put images together.
        image_logits: (n, k) logits of the images, if they are known.
        value: v(S), the value of a set of players that are kept; without it removed pixels are those of a baseline.
        seed: of every random draw. Row i depends on image i and the seed, not on its place in the batch.
        batch_size: forward passes at a time; the scores do not depend on it.
        data_name: the name of the data in an error.
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
    parts: tuple[Parts, ...] | None = None
    companions: Companions | None = None
    image_logits: Logits | None = None
    value: Value | None = None
    seed: int = 0
    batch_size: int = 32
    data_name: str = "the data"
    _shared: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        self._check_images_and_classes()
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
        for name in ("labels", "boxes", "class_maps", "parts", "image_logits"):
            given = getattr(self, name)
            if given is not None and len(given) != len(self.images):
                raise SeewhyError(f"{len(given)} {name} do not belong to {len(self.images)} images")

    def _check_images_and_classes(self) -> None:
        must_be_tensors(images=self.images, targets=self.explained)
        must_be_tensors(targets=self.scored)
        if len(self.explained) != len(self.scored):
            explained, scored = len(self.explained), len(self.scored)
            raise SeewhyError(f"{explained} classes explained and {scored} scored: give one of each for each image")
        self.classifier.check_classes(self.images, torch.stack([self.explained, self.scored], 1))

    def require(self, need: Need, who: str = "the metric") -> Any:
        """What the case knows of ``need``. SeewhyError says that ``who`` needs it where the case does not have it."""
        known_as = "cost" if need == "forward_passes" else need  # they are a part of the cost
        known = self.several_maps() if need == "class_maps" else getattr(self, known_as)
        if known is None:
            raise SeewhyError(f"{who} needs {NEEDS[need]}, which {self.data_name} does not have")
        return known

    @property
    def logits(self) -> Logits:
        """(n, k) logits of the images."""
        return self.share("logits", lambda: self.run(self.images)) if self.image_logits is None else self.image_logits

    def run(self, images: Images) -> Logits:
        """Logits of any images, ``batch_size`` at a time, without a graph."""
        with self.classifier.running():
            logits = torch.cat(
                [self.classifier.logits(part) for part in self.classifier.fast_layout(images).split(self.batch_size)]
            )
        return logits if logits.dtype == torch.float64 else logits.float()

    def probability(self, logits: Logits) -> Scores:
        """(n,) probability of the class scored."""
        return self.classifier.to_probabilities(logits).gather(1, self.scored[:, None]).squeeze(1)

    def complement(self, logits: Logits) -> Scores:
        """(n,) 1 - probability of the class scored, exact where the probability rounds to 1."""
        self.classifier.must_have_probabilities()
        z = logits.gather(1, self.scored[:, None])
        if self.classifier.multilabel:
            return (-z).sigmoid().squeeze(1)
        others = logits.scatter(1, self.scored[:, None], -torch.inf)
        return (others.logsumexp(1) - logits.logsumexp(1)).exp()

    def value_function(self, baseline: Baseline, removal: Removal = "pixels") -> Value:
        """The case's own v, or the classifier with players removed: pixels replaced by ``baseline``, or tokens."""
        return self.value or value_of(removal, self.classifier, baseline)

    def faded(self, masks: Attribution, baseline: Baseline | float | Tensor) -> Images:
        """The images where the mask is 1, the baseline where it is 0."""
        removed = baseline_images(baseline, self.classifier, self.images)
        m = masks[:, None].to(self.images)
        return m * self.images + (1 - m) * removed  # not b + m (x - b): a mask of 1 must leave the image as it is

    def present_classes(self) -> Bool[Tensor, "n k"]:
        """The classes that the labels say are in each image."""
        labels: Tensor = self.require("labels")
        if labels.ndim == 2:
            return labels > 0
        return torch.arange(self.logits.shape[1], device=labels.device) == labels[:, None]

    @property
    def seeds(self) -> list[int]:
        """A seed for each image, from its own pixels (as 8 bits) and ``seed``: an image has the same seed in any batch."""

        def make() -> list[int]:
            pixels = (self.images * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
            return [(crc32(image.tobytes()) + 1_000_003 * self.seed) % 2**32 for image in pixels]

        return self.share("seeds", make)

    def several_maps(self) -> ClassAttribution | None:
        """The maps of ``map_classes``; None where they are not given and cannot be made."""
        explainer, classes = self.explainer, self.map_classes
        if self.class_maps is not None or explainer is None or classes is None:
            return self.class_maps
        return self.share("class_maps", lambda: maps_of_classes(explainer, self.images, classes).detach())

    def rows(self, rows: Tensor) -> "Case":
        """The case of some of its images, (r,) by index."""
        of_each = ("images", "explained", "scored", "attributions", "labels", "regions", "boxes", "class_maps")

        def pick(value: Any) -> Any:
            if value is None:
                return None
            return tuple(value[i] for i in rows.tolist()) if isinstance(value, tuple) else value[rows]

        made, n = {name: pick(getattr(self, name)) for name in (*of_each, "parts", "image_logits")}, len(self.images)
        return replace(self, **made, explainer=of_rows(self.explainer, rows, n), value=of_rows(self.value, rows, n))

    def share(self, key: Hashable, make: Callable[[], T]) -> T:
        """``make()``, computed once: a later metric that asks for the same ``key`` gets the same value."""
        if key not in self._shared:
            self._shared.setdefault(key, make())  # of two threads the first decides for both
        return cast(T, self._shared[key])
