"""The demo: every method on the built-in pictures, a classifier that cheats, caught, and some methods, measured."""

import base64
import inspect
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from math import isnan
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import get_args

import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib import colormaps
from matplotlib.colors import to_hex
from PIL import Image
from rich.progress import Progress
from torch import Tensor

from seewhy.app.demo.evidence import (
    BRISK,
    CHEATING,
    HONEST,
    Cheat,
    Mean,
    Pictures,
    Plan,
    Run,
    catch,
    choose,
    explain_all,
    multilabel,
    probabilities,
    share_inside,
)
from seewhy.classifier.load import load
from seewhy.data.pictures import to_picture
from seewhy.data.shapes.shapes import Shapes
from seewhy.describe import environment
from seewhy.evaluation.evaluate import evaluate
from seewhy.explainers import EXPLAINERS, Family
from seewhy.explanation import overlay
from seewhy.explanation.explain import percent
from seewhy.explanation.sheet import Panel, sheet
from seewhy.files import staged
from seewhy.metrics import metric
from seewhy.report import write_report

CYAN = (0, 229, 255)
"""Around the tag: a color that neither scale of the maps has."""
TILE = 192


DEFAULT = Plan()


def run(out: Path, progress: Progress, plan: Plan = DEFAULT) -> list[Path]:
    """Write ``demo.png`` and ``demo.html`` into ``out``, both or neither; the files. SeewhyError if that cannot be."""
    with staged(out) as folder, _one_thread():
        started = perf_counter()
        task = progress.add_task("demo", total=len(HONEST) * len(EXPLAINERS) * 3 + 4)
        honest = {name: plan.load(source) for name, source in HONEST.items()}
        pictures, shown = choose(plan, list(honest.values()))
        progress.advance(task)
        runs = explain_all(honest, pictures, shown, plan.seconds, lambda: progress.advance(task))
        cheat = catch(honest["CNN"], plan.load(CHEATING), plan)
        progress.advance(task)
        several = multilabel(plan)
        progress.advance(task)
        _sheet(runs, pictures, shown, cheat).save(folder / "demo.png", optimize=True)
        page = _page(runs, pictures, shown, cheat, several, plan, started)
        (folder / "demo.html").write_text(page, encoding="utf-8")
        progress.advance(task)
    return [out / "demo.png", out / "demo.html"]


MEASURED = {
    "explainers": ["grad_cam", "layer_cam", "saliency", "integrated_gradients", "center", "random"],
    "metrics": ["deletion", "srg", "average_drop", "average_gain", "relevance_mass", "pointing_game", "sparseness"],
}


def measure(out: Path, progress: Progress) -> list[Path]:
    """Write ``report.html`` and its tables into ``out``: some methods, measured on two dozen built-in pictures."""
    task = progress.add_task("measuring")
    classifier, dataset = load("shapes"), Shapes(n=24)

    def tell(done: float, total: int, _failed: int) -> None:
        progress.update(task, completed=int(done), total=total)

    with TemporaryDirectory() as folder:
        run_folder = Path(folder) / "shapes"
        metrics = {name: metric(name, **({"steps": 28} if name == "deletion" else {})) for name in MEASURED["metrics"]}
        said = {"model": "shapes", "data": "shapes"}
        evaluate(
            classifier, MEASURED["explainers"], metrics, dataset, out=run_folder, target="label", details=said, progress=tell
        )
        return write_report([run_folder], out / "report.html")


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
        parts.append(sheet(rows, f"The evidence of the {network}", ["object outlined", *methods], TILE, keys=()))
    for case in cheat.cases[:1]:
        rows = [
            _row(case.picture, f"{name}: {Shapes.classes[answer]}", list(maps.values()))
            for name, (answer, _, maps) in case.answers.items()
        ]
        title = "Two CNNs, one right answer: the cheating one learned the tag (cyan), the honest one the shape"
        parts.append(sheet(rows, title, ["object and tag", *methods], TILE))
    canvas = Image.new("RGB", (max(p.width for p in parts), sum(p.height for p in parts)), overlay.PAPER)
    for k, part in enumerate(parts):
        canvas.paste(part, (0, sum(p.height for p in parts[:k])))
    return canvas


def _row(p: Pictures, text: str, maps: Sequence[Tensor | None]) -> list[Panel]:
    """A picture with its caption, and its maps; the place of a map that was too slow stays empty."""
    regions = p.objects[0], p.tags[0]
    seen = Panel(drawn(p.images[0], None, *regions), text, bold=True)
    empty = Image.new("RGB", (TILE, TILE), overlay.PAPER)
    return [seen, *(Panel(empty if m is None else drawn(p.images[0], m, *regions)) for m in maps)]


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
        loader=PackageLoader("seewhy.app.demo"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
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
        brisk=BRISK,
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
