"""The numbers and maps of the demo: every method on the built-in pictures, and a network that cheats."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from time import perf_counter
from typing import NamedTuple

import torch
from scipy.special import stdtrit
from torch import Tensor

from seewhy.classifier.classifier import Classifier, frozen
from seewhy.classifier.load import load
from seewhy.data.shapes.shapes import Shapes, Shortcut
from seewhy.errors import SeewhyError
from seewhy.explainers import EXPLAINERS, Explainer, explainer

HONEST = {"CNN": "shapes", "ViT": "shapes/vit"}
CHEATING, MULTILABEL = "shapes/cnn_shortcut", "shapes/cnn_multilabel"
FEATURED = ("grad_cam", "hires_cam", "integrated_gradients", "smooth_grad", "saliency")
"""Methods of the sheet, of the comparison and of the multi-label picture, as far as they are registered."""

FEWER_STEPS: dict[str, dict[str, object]] = {
    "rise": {"samples": 500},
    "relax": {"samples": 500},
    "u_relax": {"samples": 500},
    "lime": {"samples": 500},
    "kernel_shap": {"samples": 500},
    "extremal_perturbation": {"steps": 100},
    "smooth_pixel_mask": {"steps": 100},
    "meaningful_perturbation": {"steps": 100},
    "igos_pp": {"iterations": 5, "path_steps": 5},
}
"""Options with which slow methods take some seconds a picture. The page says that the papers take more steps."""


@dataclass(frozen=True)
class DemoPlan:
    """How much the demo computes.

    seed        seed of the built-in pictures, test split
    candidates  pictures that are tried; those that both honest networks classify correctly are explained
    further     pictures in the averages, beside the first one of each class, which are shown
    tagged      pictures for the accuracy of the cheating network, with the right tag and with any tag
    evidence    tagged pictures that are explained
    seconds     time for the maps after those of the first picture; a method that would exceed it explains fewer pictures,
                and the page says so
    load        function that loads a classifier by name
    """

    seed: int = 0
    candidates: int = 64
    further: int = 40
    tagged: int = 200
    evidence: int = 16
    seconds: float = 15.0
    load: Callable[[str], Classifier] = load


@dataclass(frozen=True)
class PictureBatch:
    """images (n, 3, h, w); labels (n,), or (n, k) with several objects; regions (n, k, h, w); tags (n, h, w)."""

    images: Tensor
    labels: Tensor
    regions: Tensor
    tags: Tensor

    def __getitem__(self, rows: slice | list[int]) -> "PictureBatch":
        return PictureBatch(self.images[rows], self.labels[rows], self.regions[rows], self.tags[rows])

    @property
    def objects(self) -> Tensor:
        """(n, h, w) the region of the one object."""
        return self.regions[torch.arange(len(self.labels)), self.labels]


class Mean(NamedTuple):
    """A mean, half the width of its 95 % interval (Student's t; NaN for n = 1), and the number of values."""

    value: float
    margin: float
    n: int

    @property
    def low(self) -> float:
        return self.value - self.margin

    @property
    def high(self) -> float:
        return self.value + self.margin

    @staticmethod
    def of(values: Tensor) -> "Mean":
        kept = values[~values.isnan()].double()
        n = len(kept)
        margin = float(kept.std() / n**0.5 * stdtrit(n - 1, 0.975)) if n > 1 else float("nan")
        return Mean(float(kept.mean()), margin, n)


@dataclass
class MapsOfMethod:
    """One method on one network: maps (h, w) of the first m pictures and the seconds of one, or why it was not run."""

    name: str
    network: str
    classifier: Classifier
    refusal: str = ""
    explainer: Explainer | None = None
    maps: list[Tensor] = field(default_factory=list)
    pace: float = 0.0

    def explain(self, pictures: PictureBatch) -> None:
        """Add the maps of more pictures. A method that does not fit the network gets its message as the refusal."""
        started = perf_counter()
        try:
            self.explainer = self.explainer or make_explainer(self.name, self.classifier)
            self.maps += self.explainer.explain(pictures.images, pictures.labels)
        except SeewhyError as error:
            self.refusal = str(error)
        self.pace = (perf_counter() - started) / len(pictures.labels)

    def shares(self, pictures: PictureBatch) -> Tensor:
        """(m,) the share of each map's evidence that lies inside the object."""
        return share_inside(torch.stack(self.maps), pictures.objects[: len(self.maps)])


def make_explainer(name: str, classifier: Classifier) -> Explainer:
    """The explainer ``name``, with fewer steps if it is slow."""
    return explainer(name, classifier, **FEWER_STEPS.get(name, {}))


def make_pictures(n: int, seed: int, shortcut: Shortcut = "none", multilabel: bool = False) -> PictureBatch:
    """The first ``n`` test pictures."""
    data = Shapes(n=n, seed=seed, shortcut=shortcut, multilabel=multilabel)
    samples = [data.sample(i) for i in range(n)]
    return PictureBatch(*(torch.stack([getattr(s, key) for s in samples]) for key in ("image", "label", "regions", "tag")))


def probabilities(classifier: Classifier, images: Tensor) -> Tensor:
    """(n, k) probabilities of the classes."""
    with frozen(classifier.module), torch.no_grad():
        return torch.cat([classifier.probabilities(part) for part in images.split(64)])


def choose_pictures(plan: DemoPlan, classifiers: Sequence[Classifier]) -> tuple[PictureBatch, int]:
    """Pictures that all classifiers get right: the first of each class, then others. Also the number of the first ones."""
    pictures = make_pictures(plan.candidates, plan.seed)
    votes = [probabilities(c, pictures.images).argmax(1) == pictures.labels for c in classifiers]
    right = torch.stack(votes).all(0).nonzero().flatten().tolist()
    first = {int(pictures.labels[i]): i for i in reversed(right)}
    if not first:
        raise SeewhyError(f"demo: no picture of the first {plan.candidates} of seed {plan.seed} is classified correctly")
    shown = [first[label] for label in sorted(first)]
    others = [i for i in right if i not in shown][: plan.further]
    return pictures[shown + others], len(shown)


def explain_pictures(
    classifiers: Mapping[str, Classifier], pictures: PictureBatch, shown: int, seconds: float, advance: Callable[[], None]
) -> list[MapsOfMethod]:
    """Maps of every registered method on every network: of the first picture, of the other shown ones, then of the rest.

    Every method explains the first picture, however long that takes. Then fast methods go first, and a method that would
    exceed ``seconds`` explains no more pictures. The featured methods explain every shown picture, since the sheet needs
    those maps. A learned method explains where it comes trained for the network, and its time is that of a map.
    """
    runs = [MapsOfMethod(name, network, c) for name, _ in EXPLAINERS.items() for network, c in classifiers.items()]
    always = featured()
    deadline = inf
    for k, stage in enumerate((slice(0, 1), slice(1, shown), slice(shown, len(pictures.labels)))):
        part = pictures[stage]
        for one in sorted(runs, key=lambda r: r.pace):
            in_time = perf_counter() + one.pace * len(part.labels) <= deadline or (k < 2 and one.name in always)
            if not one.refusal and len(part.labels) and in_time:
                one.explain(part)
            advance()
        deadline = min(deadline, perf_counter() + seconds)
    return runs


def share_inside(maps: Tensor, regions: Tensor) -> Tensor:
    """(n,) the share of each map's positive sum inside the region; NaN for a map that is nowhere positive."""
    positive = maps.clamp_min(0)
    return (positive * regions).sum((1, 2)) / positive.sum((1, 2))  # 0 / 0 is NaN


def featured() -> list[str]:
    """Names of five class-specific methods, or of fewer where there are fewer; those of ``FEATURED`` come first."""
    rest = [name for name, method in EXPLAINERS.items() if method.class_specific and method.family != "learned"]
    return [*(name for name in FEATURED if name in EXPLAINERS), *(name for name in rest if name not in FEATURED)][:5]


@dataclass
class Comparison:
    """The cheating and the honest network on tagged pictures.

    accuracy   network -> number of right answers among n: with the tag of the true class, with the tag of any class
    evidence   method -> network -> share of the evidence on the tag and on the object
    area       share of the picture that the tag and the object fill
    pictures   pictures that are shown, with each network's answer and maps
    """

    n: int
    accuracy: dict[str, tuple[int, int]]
    evidence: dict[str, dict[str, tuple[Mean, Mean]]]
    area: tuple[Mean, Mean]
    pictures: list["TaggedPicture"]

    @property
    def caught(self) -> list[str]:
        """Methods that show more evidence on the tag for the cheating network: the 95 % intervals do not overlap."""
        pairs = {method: (e["cheating"][0], e["honest"][0]) for method, e in self.evidence.items()}
        return [m for m, (cheating, honest) in pairs.items() if cheating.low > honest.high]


class TaggedPicture(NamedTuple):
    """A picture with a tag, and for each network its answer, the probability of the answer, and the maps by method."""

    picture: PictureBatch
    right_tag: bool
    answers: dict[str, tuple[int, float, dict[str, Tensor]]]


def compare_cheater(honest: Classifier, cheating: Classifier, plan: DemoPlan) -> Comparison:
    """Both networks on tagged pictures. Five are kept to be shown: three with the right tag, two with a wrong one."""
    networks = {"cheating": cheating, "honest": honest}
    own, anyone = (make_pictures(plan.tagged, plan.seed, shortcut) for shortcut in ("correlated", "random"))
    right = {k: [probabilities(c, p.images).argmax(1) == p.labels for p in (own, anyone)] for k, c in networks.items()}
    methods = featured()
    some = own[: plan.evidence]
    evidence: dict[str, dict[str, tuple[Mean, Mean]]] = {method: {} for method in methods}
    for name, classifier in networks.items():
        answers = probabilities(classifier, some.images).argmax(1)
        for method in methods:
            maps = make_explainer(method, classifier).explain(some.images, answers)
            evidence[method][name] = Mean.of(share_inside(maps, some.tags)), Mean.of(share_inside(maps, some.objects))
    both = (right["cheating"][0] & right["honest"][0]).nonzero().flatten().tolist()
    first = {int(own.labels[i]): i for i in reversed(both)}
    fooled = (~right["cheating"][1] & right["honest"][1]).nonzero().flatten()[:2]
    shown = [_tagged_picture(own[first[k] : first[k] + 1], True, networks, methods) for k in sorted(first)[:3]]
    shown += [_tagged_picture(anyone[i : i + 1], False, networks, methods) for i in fooled.tolist()]
    return Comparison(
        n=plan.tagged,
        accuracy={name: (int(a.sum()), int(b.sum())) for name, (a, b) in right.items()},
        evidence=evidence,
        area=(Mean.of(some.tags.float().mean((1, 2))), Mean.of(some.objects.float().mean((1, 2)))),
        pictures=shown,
    )


def _tagged_picture(
    picture: PictureBatch, right_tag: bool, networks: Mapping[str, Classifier], methods: Sequence[str]
) -> TaggedPicture:
    answers = {}
    for name, classifier in networks.items():
        probability, answer = probabilities(classifier, picture.images).max(1)
        maps = {m: make_explainer(m, classifier).explain(picture.images, answer)[0] for m in methods}
        answers[name] = int(answer), float(probability), maps
    return TaggedPicture(picture, right_tag, answers)


def multilabel(plan: DemoPlan) -> tuple[PictureBatch, list[int], dict[str, Tensor]] | None:
    """A picture of at least three objects that the multi-label network gets right, its classes, and maps of each class.

    None where the network gets no such picture right.
    """
    classifier = plan.load(MULTILABEL)
    pictures = make_pictures(plan.candidates, plan.seed, multilabel=True)
    right = ((probabilities(classifier, pictures.images) > 0.5) == pictures.labels.bool()).all(1)
    found = (right & (pictures.labels.sum(1) >= 3)).nonzero().flatten().tolist()
    if not found:
        return None
    picture = pictures[found[:1]]
    present = picture.labels[0].nonzero().flatten()
    images = picture.images.expand(len(present), -1, -1, -1)
    maps = {m: make_explainer(m, classifier).explain(images, present) for m in featured() if EXPLAINERS[m].class_specific}
    return picture, present.tolist(), maps
