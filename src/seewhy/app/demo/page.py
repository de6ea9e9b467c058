"""The pages of the demo: every method on the built-in pictures, a classifier that cheats, a report of some methods."""

import inspect
import re
import sys
from collections.abc import Sequence
from functools import partial
from math import isnan
from pathlib import Path
from time import perf_counter
from typing import get_args

from PIL import Image
from torch import Tensor

from seewhy.app.cli.progress import Bar
from seewhy.app.demo.evidence import (
    CHEATING,
    FEWER_STEPS,
    HONEST,
    Comparison,
    DemoPlan,
    MapsOfMethod,
    Mean,
    PictureBatch,
    choose_pictures,
    compare_cheater,
    explain_pictures,
    multilabel,
    probabilities,
    share_inside,
)
from seewhy.classifier.load import load
from seewhy.classifier.threads import threads
from seewhy.data.pictures import to_picture
from seewhy.data.shapes.shapes import Shapes
from seewhy.describe import environment
from seewhy.evaluation.evaluate import evaluate
from seewhy.explainers import EXPLAINERS, Family
from seewhy.explainers.learned.folder import shipped
from seewhy.explanation import overlay
from seewhy.explanation.explanation import percent
from seewhy.explanation.sheet import Panel, sheet
from seewhy.files import scratch, staged, write_atomically, write_text
from seewhy.metrics import metric
from seewhy.report.page import templates, write_report

CYAN = (0, 229, 255)
"""Color around the tag. Neither color scale of the maps has it."""
SIDE = 192
"""Side of a picture on the page, in pixels."""
WEBP_QUALITY = 72
"""Quality of the pictures as WebP."""


DEFAULT = DemoPlan()


def write_page(out: Path, progress: Bar, plan: DemoPlan = DEFAULT) -> list[Path]:
    """Write ``demo.png`` and ``demo.html`` into ``out``, both or neither. Returns the files.

    Raises SeewhyError where ``out`` cannot be written.
    """
    # networks this small gain little by more threads, and lose much where other work runs beside them
    with staged(out) as folder, threads(1):
        started = perf_counter()
        task = progress.add_task("demo", total=len(HONEST) * len(EXPLAINERS) * 3 + 4)
        honest = {name: plan.load(source) for name, source in HONEST.items()}
        pictures, shown = choose_pictures(plan, list(honest.values()))
        progress.advance(task)
        runs = explain_pictures(honest, pictures, shown, plan.seconds, lambda: progress.advance(task))
        cheat = compare_cheater(honest["CNN"], plan.load(CHEATING), plan)
        progress.advance(task)
        several = multilabel(plan)
        progress.advance(task)
        sheet = _sheet(runs, pictures, shown, cheat)
        write_atomically(folder / "demo.png", partial(sheet.save, format="PNG", optimize=True))
        page = _page(runs, pictures, shown, cheat, several, plan, started)
        write_text(folder / "demo.html", page)
        progress.advance(task)
    return [out / "demo.png", out / "demo.html"]


MEASURED = {
    "explainers": ["grad_cam", "layer_cam", "saliency", "integrated_gradients", "center", "random"],
    "metrics": ["deletion", "srg", "average_drop", "average_gain", "relevance_mass", "pointing_game", "sparseness"],
}


def write_measurements(out: Path, progress: Bar) -> list[Path]:
    """Write ``report.html`` and its tables into ``out``: some methods, measured on 24 built-in pictures.

    Those learned methods that come trained for the network are among them.
    """
    task = progress.add_task("measuring")
    classifier, dataset = load("shapes"), Shapes(n=24)

    def tell(done: float, total: int, _failed: int) -> None:
        progress.update(task, completed=int(done), total=total)

    with scratch(out) as folder:
        run_folder = folder / "shapes"
        metrics = {name: metric(name, **({"steps": 28} if name == "deletion" else {})) for name in MEASURED["metrics"]}
        said = {"model": "shapes", "data": "shapes"}
        learned = [name for name, kind in EXPLAINERS.items() if kind.family == "learned" and shipped(name, classifier, {})]
        names = [*MEASURED["explainers"], *learned]
        evaluate(classifier, names, metrics, dataset, out=run_folder, target="label", details=said, progress=tell)
        return write_report([run_folder], out / "report.html")


def draw_picture(
    image: Tensor, attribution: Tensor | None = None, region: Tensor | None = None, tag: Tensor | None = None
) -> Image.Image:
    """The picture, or a map over it, with a white line around the object and a cyan one around the tag."""
    picture = overlay.enlarge(to_picture(image), SIDE) if attribution is None else overlay.overlay(image, attribution, SIDE)
    for part, color in ((region, overlay.PAPER), (tag, CYAN)):
        picture = picture if part is None else overlay.outlined(picture, part, color)
    return picture


def share(part: float) -> str:
    """A number from 0 to 1 in percent; "none" for NaN, the share of a map that is nowhere positive."""
    return "none" if isnan(part) else f"{100 * part:.{int(part < 0.0095)}f}\u202f%"


def citation(name: str) -> str:
    """Authors and year of a method's paper, from the docstring of its file. Empty for a method without a paper."""
    head = inspect.getdoc(sys.modules[EXPLAINERS[name].__module__]) or ""
    named = re.search(r"\(([^()]*\d{4})\)", head)
    return "" if not EXPLAINERS[name].paper else named[1] if named else EXPLAINERS[name].paper


def _sheet(runs: Sequence[MapsOfMethod], pictures: PictureBatch, shown: int, cheat: Comparison) -> Image.Image:
    """Three sheets in one: two pictures with maps of the CNN, the same of the ViT, both CNNs on a tagged picture."""
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
        parts.append(sheet(rows, f"The evidence of the {network}", ["object outlined", *methods], SIDE, keys=()))
    for tagged in cheat.pictures[:1]:
        rows = [
            _row(tagged.picture, f"{name}: {Shapes.classes[answer]}", list(maps.values()))
            for name, (answer, _, maps) in tagged.answers.items()
        ]
        title = "Two CNNs, one right answer: the cheating one learned the tag (cyan), the honest one the shape"
        parts.append(sheet(rows, title, ["object and tag", *methods], SIDE))
    canvas = Image.new("RGB", (max(p.width for p in parts), sum(p.height for p in parts)), overlay.PAPER)
    for k, part in enumerate(parts):
        canvas.paste(part, (0, sum(p.height for p in parts[:k])))
    return canvas


def _row(p: PictureBatch, text: str, maps: Sequence[Tensor | None]) -> list[Panel]:
    """A picture with its caption, and its maps. The place of a map that was not made stays empty."""
    regions = p.objects[0], p.tags[0]
    seen = Panel(draw_picture(p.images[0], None, *regions), text, bold=True)
    empty = Image.new("RGB", (SIDE, SIDE), overlay.PAPER)
    return [seen, *(Panel(empty if m is None else draw_picture(p.images[0], m, *regions)) for m in maps)]


def _page(
    runs: Sequence[MapsOfMethod],
    pictures: PictureBatch,
    shown: int,
    cheat: Comparison,
    several: tuple[PictureBatch, list[int], dict[str, Tensor]] | None,
    plan: DemoPlan,
    started: float,
) -> str:
    """The page as text. Its words are in the template."""
    pages = templates("seewhy.app.demo")
    pages.filters.update(share=share, percent=percent)
    classifiers = {r.network: r.classifier for r in runs}
    return pages.get_template("demo.html.j2").render(
        families=[f for f in get_args(Family) if any(EXPLAINERS[r.name].family == f for r in runs)],
        family={name: method.family for name, method in EXPLAINERS.items()},
        citation={name: citation(name) for name, _ in EXPLAINERS.items()},
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
        fewer_steps=FEWER_STEPS,
        classes=Shapes.classes,
        plan=plan,
        environment=environment(),
        seconds=perf_counter() - started,
        picture=lambda *args: overlay.data_uri(draw_picture(*args), WEBP_QUALITY),
    )
