"""What the demo measures: the evidence of every method on the built-in pictures, and of a network that cheats."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
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
"""What the sheet, the cheat and the multi-label picture are shown with, as far as it is registered."""

BRISK: dict[str, dict[str, object]] = {
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
"""With fewer steps than published the slow methods take some seconds a picture; the page says which."""


@dataclass(frozen=True)
class Plan:
    """How much is computed.

    seed        of the built-in pictures, test split
    candidates  pictures of which those are taken that both honest networks classify correctly
    further     how many of these are averaged over, beside the first of each class, which are shown
    tagged      pictures on which the cheating network's accuracy is measured, with the right tag and with any tag
    evidence    how many of these are explained
    seconds     for the maps after the first picture's, which every method explains; a method that would exceed them explains
                fewer pictures, and the page says so
    load        where the classifiers come from
    """

    seed: int = 0
    candidates: int = 64
    further: int = 40
    tagged: int = 200
    evidence: int = 16
    seconds: float = 15.0
    load: Callable[[str], Classifier] = load


@dataclass(frozen=True)
class Pictures:
    """images (n, 3, h, w); labels (n,), or (n, k) with several objects; regions (n, k, h, w); tags (n, h, w)."""

    images: Tensor
    labels: Tensor
    regions: Tensor
    tags: Tensor

    def __getitem__(self, rows: slice | list[int]) -> "Pictures":
        return Pictures(self.images[rows], self.labels[rows], self.regions[rows], self.tags[rows])

    @property
    def objects(self) -> Tensor:
        """(n, h, w) the region of the one object."""
        return self.regions[torch.arange(len(self.labels)), self.labels]


class Mean(NamedTuple):
    """A mean, half the width of its 95 % interval (Student's t; NaN for n = 1), and of how many numbers."""

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
class Run:
    """One method on one network: maps (m, h, w) of the first m pictures, seconds for one; or why it was not run."""

    name: str
    network: str
    classifier: Classifier
    explainer: Explainer | None = None
    maps: list[Tensor] = field(default_factory=list)
    pace: float = 0.0
    refusal: str = ""

    def explain(self, pictures: Pictures) -> None:
        """Add the maps of more pictures; a method that does not fit the network says so instead."""
        started = perf_counter()
        try:
            self.explainer = self.explainer or built(self.name, self.classifier)
            self.maps += self.explainer.explain(pictures.images, pictures.labels)
        except SeewhyError as error:
            self.refusal = str(error)
        self.pace = (perf_counter() - started) / len(pictures.labels)

    def shares(self, pictures: Pictures) -> Tensor:
        """(m,) the part of each map's evidence that lies inside the object."""
        return share_inside(torch.stack(self.maps), pictures.objects[: len(self.maps)])


def built(name: str, classifier: Classifier) -> Explainer:
    return explainer(name, classifier, **BRISK.get(name, {}))


def draw(n: int, seed: int, shortcut: Shortcut = "none", multilabel: bool = False) -> Pictures:
    """The first ``n`` test pictures."""
    data = Shapes(n=n, seed=seed, shortcut=shortcut, multilabel=multilabel)
    samples = [data.sample(i) for i in range(n)]
    return Pictures(*(torch.stack([getattr(s, key) for s in samples]) for key in ("image", "label", "regions", "tag")))


def probabilities(classifier: Classifier, images: Tensor) -> Tensor:
    """(n, k) of the classifier as it is."""
    with frozen(classifier.module), torch.no_grad():
        return torch.cat([classifier.probabilities(part) for part in images.split(64)])


def choose(plan: Plan, classifiers: Sequence[Classifier]) -> tuple[Pictures, int]:
    """Pictures that all classifiers get right: the first of each class, then others in their order; how many are first."""
    pictures = draw(plan.candidates, plan.seed)
    votes = [probabilities(c, pictures.images).argmax(1) == pictures.labels for c in classifiers]
    right = torch.stack(votes).all(0).nonzero().flatten().tolist()
    first = {int(pictures.labels[i]): i for i in reversed(right)}
    if not first:
        raise SeewhyError(f"demo: no picture of the first {plan.candidates} of seed {plan.seed} is classified correctly")
    shown = [first[label] for label in sorted(first)]
    others = [i for i in right if i not in shown][: plan.further]
    return pictures[shown + others], len(shown)


def explain_all(
    classifiers: Mapping[str, Classifier], pictures: Pictures, shown: int, seconds: float, advance: Callable[[], None]
) -> list[Run]:
    """Every registered method on every network: one picture however long it takes, then the other shown ones, then the rest.

    Cheap methods go first. What would not end within ``seconds`` after the first picture is left out, so that a slow method
    has fewer maps; only the featured ones, of which the sheet is made, have a map of every shown picture.
    """
    runs = [Run(name, network, c) for name in EXPLAINERS for network, c in classifiers.items()]
    always = featured(5)
    deadline = inf
    for k, stage in enumerate((slice(0, 1), slice(1, shown), slice(shown, len(pictures.labels)))):
        part = pictures[stage]
        for one in sorted(runs, key=lambda r: r.pace):
            in_time = perf_counter() + one.pace * len(part.labels) <= deadline or (k < 2 and one.name in always)
            if EXPLAINERS[one.name].family == "learned":
                one.refusal = "it is trained before it explains, which takes longer than this page"
            elif not one.refusal and len(part.labels) and in_time:
                one.explain(part)
            advance()
        deadline = min(deadline, perf_counter() + seconds)
    return runs


def share_inside(maps: Tensor, regions: Tensor) -> Tensor:
    """(n,) the part of each map's positive sum that lies inside the region; NaN for a map that is nowhere positive."""
    positive = maps.clamp_min(0)
    return (positive * regions).sum((1, 2)) / positive.sum((1, 2))  # 0 / 0 is NaN


def featured(n: int) -> list[str]:
    """Up to ``n`` of the methods for which there is room, those of ``FEATURED`` first."""
    rest = [name for name in EXPLAINERS if EXPLAINERS[name].class_specific and EXPLAINERS[name].family != "learned"]
    return [*(name for name in FEATURED if name in EXPLAINERS), *(name for name in rest if name not in FEATURED)][:n]


@dataclass
class Cheat:
    """What the cheating and the honest network do with tagged pictures.

    accuracy   network -> how many of n are right: with the tag of the true class, with the tag of any class
    evidence   method -> network -> share on the tag and on the object
    area       share of the picture that the tag and the object fill
    cases      pictures that are shown, with each network's answer and maps
    """

    n: int
    accuracy: dict[str, tuple[int, int]]
    evidence: dict[str, dict[str, tuple[Mean, Mean]]]
    area: tuple[Mean, Mean]
    cases: list["Case"]

    @property
    def caught(self) -> list[str]:
        """The methods whose 95 % intervals for the evidence on the tag lie apart, the cheating network's the higher."""
        pairs = {method: (e["cheating"][0], e["honest"][0]) for method, e in self.evidence.items()}
        return [m for m, (cheating, honest) in pairs.items() if cheating.low > honest.high]


class Case(NamedTuple):
    """One tagged picture, and for each network the class it answers, its probability, and the maps by method."""

    picture: Pictures
    right_tag: bool
    answers: dict[str, tuple[int, float, dict[str, Tensor]]]


def catch(honest: Classifier, cheating: Classifier, plan: Plan) -> Cheat:
    """Measure both networks on tagged pictures, and keep some to show: three with the right tag, two with a wrong one."""
    networks = {"cheating": cheating, "honest": honest}
    own, anyone = (draw(plan.tagged, plan.seed, shortcut) for shortcut in ("correlated", "random"))
    right = {k: [probabilities(c, p.images).argmax(1) == p.labels for p in (own, anyone)] for k, c in networks.items()}
    methods = featured(5)
    some = own[: plan.evidence]
    evidence: dict[str, dict[str, tuple[Mean, Mean]]] = {method: {} for method in methods}
    for name, classifier in networks.items():
        answers = probabilities(classifier, some.images).argmax(1)
        for method in methods:
            maps = built(method, classifier).explain(some.images, answers)
            on_tag, on_object = share_inside(maps, some.tags), share_inside(maps, some.objects)
            evidence[method][name] = Mean.of(on_tag), Mean.of(on_object)
    both = (right["cheating"][0] & right["honest"][0]).nonzero().flatten().tolist()
    first = {int(own.labels[i]): i for i in reversed(both)}
    fooled = (~right["cheating"][1] & right["honest"][1]).nonzero().flatten()[:2]
    cases = [_case(own[first[k] : first[k] + 1], True, networks, methods) for k in sorted(first)[:3]]
    cases += [_case(anyone[i : i + 1], False, networks, methods) for i in fooled.tolist()]
    return Cheat(
        n=plan.tagged,
        accuracy={name: (int(a.sum()), int(b.sum())) for name, (a, b) in right.items()},
        evidence=evidence,
        area=(Mean.of(some.tags.float().mean((1, 2))), Mean.of(some.objects.float().mean((1, 2)))),
        cases=cases,
    )


def _case(picture: Pictures, right_tag: bool, networks: Mapping[str, Classifier], methods: Sequence[str]) -> Case:
    answers = {}
    for name, classifier in networks.items():
        probability, answer = probabilities(classifier, picture.images).max(1)
        maps = {m: built(m, classifier).explain(picture.images, answer)[0] for m in methods}
        answers[name] = int(answer), float(probability), maps
    return Case(picture, right_tag, answers)


def multilabel(plan: Plan) -> tuple[Pictures, list[int], dict[str, Tensor]] | None:
    """The first picture of at least three objects that the multi-label network gets right, its classes, and maps of each.

    None where the package has no such network, or where it gets none of them right.
    """
    if not (files("seewhy.classifier") / "weights" / f"{MULTILABEL.replace('/', '_')}.safetensors").is_file():
        return None
    classifier = plan.load(MULTILABEL)
    pictures = draw(plan.candidates, plan.seed, multilabel=True)
    right = ((probabilities(classifier, pictures.images) > 0.5) == pictures.labels.bool()).all(1)
    found = (right & (pictures.labels.sum(1) >= 3)).nonzero().flatten().tolist()
    if not found:
        return None
    picture = pictures[found[:1]]
    present = picture.labels[0].nonzero().flatten()
    images = picture.images.expand(len(present), -1, -1, -1)
    maps = {m: built(m, classifier).explain(images, present) for m in featured(5) if EXPLAINERS[m].class_specific}
    return picture, present.tolist(), maps
