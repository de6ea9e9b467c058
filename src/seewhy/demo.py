"""The demo: every method on the built-in pictures, and a classifier that cheats, caught. One picture, one page."""

import base64
import inspect
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from io import BytesIO
from math import isnan
from pathlib import Path
from time import perf_counter
from typing import NamedTuple, get_args

import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib import colormaps
from matplotlib.colors import to_hex
from PIL import Image
from rich.progress import Progress
from scipy.special import stdtrit
from torch import Tensor

from seewhy import overlay, zoo
from seewhy.data.pictures import to_picture
from seewhy.data.shapes import Shapes, Shortcut
from seewhy.errors import SeewhyError
from seewhy.explainers import EXPLAINERS, Explainer, Family, explainer
from seewhy.explanation import environment, percent
from seewhy.model import Classifier, frozen

HONEST = {"CNN": "shapes", "ViT": "shapes/vit"}
CHEATING, MULTILABEL = "shapes/cnn_shortcut", "shapes/cnn_multilabel"
FEATURED = ("grad_cam", "hires_cam", "integrated_gradients", "smooth_grad", "saliency")
"""What the sheet, the cheat and the multi-label picture are shown with, as far as it is registered."""
CYAN = (0, 229, 255)
"""Around the tag: a color that neither scale of the maps has."""
TILE = 192


@dataclass(frozen=True)
class Plan:
    """How much is computed.

    seed        of the built-in pictures, test split
    candidates  pictures of which those are taken that both honest networks classify correctly
    further     how many of these are averaged over, beside the first of each class, which are shown
    tagged      pictures on which the cheating network's accuracy is measured, with the right tag and with any tag
    evidence    how many of these are explained
    seconds     for the maps of both networks; a method that would exceed them explains fewer pictures, and the page says so
    load        where the classifiers come from
    """

    seed: int = 0
    candidates: int = 64
    further: int = 40
    tagged: int = 200
    evidence: int = 16
    seconds: float = 10.0
    load: Callable[[str], Classifier] = zoo.load


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
            self.explainer = self.explainer or explainer(self.name, self.classifier)
            self.maps += self.explainer.explain(pictures.images, pictures.labels)
        except SeewhyError as error:
            self.refusal = str(error)
        self.pace = (perf_counter() - started) / len(pictures.labels)

    def shares(self, pictures: Pictures) -> Tensor:
        """(m,) the part of each map's evidence that lies inside the object."""
        return share_inside(torch.stack(self.maps), pictures.objects[: len(self.maps)])


def run(out: Path, progress: Progress, plan: Plan = Plan()) -> list[Path]:
    """Write ``demo.png`` and ``demo.html`` into ``out``, both or neither; the files. SeewhyError if that cannot be."""
    with _staged(out) as folder, _one_thread():
        started = perf_counter()
        task = progress.add_task("demo", total=len(HONEST) * len(EXPLAINERS) * 3 + 4)
        honest = {name: plan.load(source) for name, source in HONEST.items()}
        pictures, shown = choose(plan, list(honest.values()))
        progress.advance(task)
        runs = explain_all(honest, pictures, shown, plan.seconds, lambda: progress.advance(task))
        cheat = catch(honest["CNN"], plan.load(CHEATING), plan)
        progress.advance(task)
        several = _multilabel(plan)
        progress.advance(task)
        _sheet(runs, pictures, shown, cheat).save(folder / "demo.png", optimize=True)
        page = _page(runs, pictures, shown, cheat, several, plan, started)
        (folder / "demo.html").write_text(page, encoding="utf-8")
        progress.advance(task)
    return [out / "demo.png", out / "demo.html"]


# -- what is measured -------------------------------------------------------------------------------------------------


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
    """Every registered method on every network: first one picture, then the other shown ones, then the rest.

    Cheap methods go first. What would not end within ``seconds`` is left out, so that a slow method has fewer maps; only
    the featured ones, of which the sheet is made, have a map of every shown picture.
    """
    runs = [Run(name, network, c) for name in EXPLAINERS for network, c in classifiers.items()]
    always = featured(5) if seconds > 0 else []
    deadline = perf_counter() + seconds
    for k, stage in enumerate((slice(0, 1), slice(1, shown), slice(shown, len(pictures.labels)))):
        part = pictures[stage]
        for one in sorted(runs, key=lambda r: r.pace):
            in_time = perf_counter() + one.pace * len(part.labels) <= deadline or (k < 2 and one.name in always)
            if EXPLAINERS[one.name].family == "learned":
                one.refusal = "it is trained before it explains, which takes longer than this page"
            elif not one.refusal and len(part.labels) and in_time:
                one.explain(part)
            advance()
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
            maps = explainer(method, classifier).explain(some.images, answers)
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
        maps = {m: explainer(m, classifier).explain(picture.images, answer)[0] for m in methods}
        answers[name] = int(answer), float(probability), maps
    return Case(picture, right_tag, answers)


def _multilabel(plan: Plan) -> tuple[Pictures, list[int], dict[str, Tensor]] | None:
    """The first picture of at least three objects that the multi-label network gets right, its classes, and maps of each.

    None where the package has no such network, or where it gets none of them right.
    """
    if not (files("seewhy") / "weights" / f"{MULTILABEL.replace('/', '_')}.safetensors").is_file():
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
    maps = {m: explainer(m, classifier).explain(images, present) for m in featured(5) if EXPLAINERS[m].class_specific}
    return picture, present.tolist(), maps


# -- how it is shown --------------------------------------------------------------------------------------------------


def drawn(
    image: Tensor, attribution: Tensor | None = None, region: Tensor | None = None, tag: Tensor | None = None
) -> Image.Image:
    """The picture, or a map over it, with a white line around the object and one in cyan around the tag."""
    picture = overlay.enlarge(to_picture(image), TILE) if attribution is None else overlay.overlay(image, attribution, TILE)
    for part, color in ((region, overlay.PAPER), (tag, CYAN)):
        picture = picture if part is None else overlay.outlined(picture, part, color)
    return picture


def uri(picture: Image.Image) -> str:
    """The picture inside its own address, so that a page needs no other file."""
    content = BytesIO()
    picture.save(content, "WEBP", quality=72, method=4)
    return "data:image/webp;base64," + base64.b64encode(content.getvalue()).decode()


def share(part: float) -> str:
    """A part of 1 in percent; NaN is the share of nothing."""
    return "none" if isnan(part) else f"{100 * part:.{int(part < 0.0095)}f}\u202f%"


def citation(name: str) -> str:
    """Authors and year of a method's paper, as its file names them; nothing for a method without a paper."""
    head = inspect.getdoc(sys.modules[EXPLAINERS[name].__module__]) or ""
    named = re.search(r"\(([^()]*\d{4})\)", head)
    return "" if not EXPLAINERS[name].paper else named[1] if named else EXPLAINERS[name].paper


def _sheet(runs: Sequence[Run], pictures: Pictures, shown: int, cheat: Cheat) -> Image.Image:
    """Three sheets below one another: two pictures of the CNN, the same of the ViT, and both CNNs on a tagged picture."""
    methods = list(cheat.evidence)
    parts = []
    for network in HONEST:
        mine = {r.name: r for r in runs if r.network == network}
        rows = []
        for i in range(0, shown, (shown + 1) // 2):
            p = pictures[i : i + 1]
            maps = [mine[m].maps[i] if len(mine[m].maps) > i else None for m in methods]
            probability, answer = probabilities(mine[methods[0]].classifier, p.images)[0].max(0)
            rows.append(_row(p, f"{Shapes.classes[int(answer)]}  {percent(float(probability))}", maps))
        parts.append(overlay.sheet(rows, f"The evidence of the {network}", ["object outlined", *methods], TILE, key=False))
    for case in cheat.cases[:1]:
        rows = [
            _row(case.picture, f"{name}: {Shapes.classes[answer]}", list(maps.values()))
            for name, (answer, _, maps) in case.answers.items()
        ]
        title = "Two CNNs, one right answer: the cheating one learned the tag (cyan), the honest one the shape"
        parts.append(overlay.sheet(rows, title, ["object and tag", *methods], TILE))
    sheet = Image.new("RGB", (max(p.width for p in parts), sum(p.height for p in parts)), overlay.PAPER)
    for k, part in enumerate(parts):
        sheet.paste(part, (0, sum(p.height for p in parts[:k])))
    return sheet


def _row(p: Pictures, text: str, maps: Sequence[Tensor | None]) -> list[overlay.Panel]:
    """A picture with its caption, and its maps; the place of a map that was too slow stays empty."""
    regions = p.objects[0], p.tags[0]
    seen = overlay.Panel(drawn(p.images[0], None, *regions), text, bold=True)
    empty = Image.new("RGB", (TILE, TILE), overlay.PAPER)
    return [seen, *(overlay.Panel(empty if m is None else drawn(p.images[0], m, *regions)) for m in maps)]


def _page(
    runs: Sequence[Run],
    pictures: Pictures,
    shown: int,
    cheat: Cheat,
    several: tuple[Pictures, list[int], dict[str, Tensor]] | None,
    plan: Plan,
    started: float,
) -> str:
    """The page as text; all words are in the template."""
    environment_ = Environment(
        loader=PackageLoader("seewhy"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment_.filters.update(share=share, percent=percent)
    classifiers = {r.network: r.classifier for r in runs}
    ramps = {name: [to_hex(colormaps[name](i / 8)) for i in range(9)] for name in (overlay.SEQUENTIAL, overlay.DIVERGING)}
    return environment_.get_template("demo.html.j2").render(
        families=[f for f in get_args(Family) if any(EXPLAINERS[r.name].family == f for r in runs)],
        family={name: EXPLAINERS[name].family for name in EXPLAINERS},
        citation={name: citation(name) for name in EXPLAINERS},
        networks=list(classifiers),
        runs=runs,
        means={(r.name, r.network): Mean.of(r.shares(pictures)) for r in runs if r.maps},
        shares={(r.name, r.network): r.shares(pictures).tolist() for r in runs if r.maps},
        confidence={k: probabilities(c, pictures.images[:shown]).amax(1).tolist() for k, c in classifiers.items()},
        pictures=pictures,
        shown=shown,
        chance=Mean.of(pictures.objects.float().mean((1, 2))),
        cheat=cheat,
        several=several,
        inside=share_inside,
        classes=Shapes.classes,
        plan=plan,
        ramps=ramps,
        environment=environment(),
        seconds=perf_counter() - started,
        picture=lambda *args: uri(drawn(*args)),
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Each operation in one thread: those of networks this small gain little by more, and beside other work lose much."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _staged(out: Path) -> Iterator[Path]:
    """A folder whose files move into ``out`` at the end; if anything fails before, nothing is left behind."""
    existing = next(p for p in (out, *out.absolute().parents) if p.exists())
    if not existing.is_dir():
        raise SeewhyError(f"cannot write to {out}: {existing} is a file")
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(prefix=".seewhy-", dir=existing))
        yield folder
        out.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            path.replace(out / path.name)
    except OSError as error:
        raise SeewhyError(f"cannot write to {out}: {error.strerror or error}") from None
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
