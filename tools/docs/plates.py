"""The stage of the metric pictures: a built-in network, its maps, and tiles and curves in one plain style."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.data.pictures import to_picture
from seewhy.data.shapes.shapes import Shapes
from seewhy.explanation.overlay import overlay
from seewhy.masking.baselines import baseline_images
from seewhy.metrics import Case, Metric
from seewhy.metrics.cost import measure
from seewhy.types import Images

matplotlib.use("Agg")
GOOD, BAD, OTHER, INK, SOFT = "#1b7f4d", "#c0392b", "#2c6fbb", "#1c1c20", "#6e6e76"
COLORS = {"grad_cam": OTHER, "random": "#9a6a00"}
FULL = 12
"""Images of a figure that belongs to a dataset."""


@cache
def classifier() -> Classifier:
    return seewhy.load("shapes")


@cache
def study(name: str, *rows: int) -> Case:
    """Maps of the explainer ``name`` for some images of ``shapes``, with what most metrics need; 12 by default."""
    samples = [Shapes(n=24, size=classifier().input_size[0]).sample(i) for i in (rows or range(FULL))]
    images, labels = torch.stack([s.image for s in samples]), torch.stack([s.label for s in samples])
    regions = torch.stack([s.regions[int(s.label)] for s in samples])
    method = seewhy.explainer(name, classifier())
    return Case(
        classifier(),
        images,
        labels,
        labels,
        method.explain(images, labels),
        labels=labels,
        regions=regions,
        boxes=tuple(box_of(r)[None] for r in regions),
        explainer=method,
        batch_size=64,
    )


def with_class_maps(case: Case) -> Case:
    """The case with the maps of all classes."""
    classes = torch.arange(case.classifier.n_classes)
    assert case.explainer is not None
    maps = [case.explainer.explain(case.images, c.expand(len(case.images))) for c in classes]
    return replace(case, class_maps=torch.stack(maps, 1), map_classes=classes)


def with_cost(case: Case) -> Case:
    """The case with what its maps cost."""
    assert case.explainer is not None
    return replace(case, cost=measure(case.explainer, case.images, case.explained)[1])


def box_of(region: Tensor) -> Tensor:
    """(4,) left, top, right, bottom; right and bottom excluded."""
    ys, xs = region.nonzero().unbind(1)
    return torch.stack([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]).double()


def removed(case: Case, metric: Metric) -> Images:
    """What the metric puts in the place of removed pixels."""
    return baseline_images(getattr(metric, "baseline", "black"), case.classifier, case.images)


def probabilities(case: Case, images: Images) -> list[float]:
    """Probability of the class scored for any number of versions of the case's one image."""
    found = case.classifier.to_probabilities(case.run(images))
    return found[:, int(case.scored[0])].tolist()


def class_name(index: int | Tensor) -> str:
    return classifier().classes[int(index)]


# -- how it is drawn ----------------------------------------------------------------------------------------------------


class Tile(NamedTuple):
    """One small picture, what is written above it, and what is drawn into it."""

    picture: NDArray[np.floating] | NDArray[np.uint8] | None
    title: str = ""
    draw: Callable[[Axes], object] | None = None
    color: str = INK


def photo(image: Tensor) -> NDArray[np.uint8]:
    return np.asarray(to_picture(image))


def on_image(image: Tensor, attribution: Tensor) -> NDArray[np.uint8]:
    """The map over its image, as everywhere in this library."""
    return np.asarray(overlay(image, attribution, 192))


def mask_picture(mask: Tensor) -> NDArray[np.floating]:
    """A mask in [0, 1] as gray."""
    return np.repeat(mask.float().cpu().numpy().clip(0, 1)[..., None], 3, 2)


def tinted(image: Tensor, parts: Sequence[tuple[Tensor, str]]) -> NDArray[np.floating]:
    """The image in pale gray, with some pixels in color."""
    gray = image.mean(0).cpu().numpy()[..., None] * np.ones(3)
    picture = 0.45 * gray + 0.5
    for where, color in parts:
        picture[where.cpu().numpy().astype(bool)] = 0.25 * gray[where.cpu().numpy().astype(bool)] + 0.75 * np.array(
            to_rgb(color)
        )
    return picture.clip(0, 1)


def outline(region: Tensor, color: str = "white", style: str = "-") -> Callable[[Axes], object]:
    def draw(ax: Axes) -> None:
        h, w = region.shape
        xs, ys = (np.arange(w) + 0.5) / w, (np.arange(h) + 0.5) / h
        values = region.float().numpy()
        if color == "white":
            ax.contour(xs, ys, values, [0.5], colors=INK, linewidths=2.6, linestyles=style)
        ax.contour(xs, ys, values, [0.5], colors=color, linewidths=1.4, linestyles=style)

    return draw


def rectangle(box: Tensor, side: tuple[int, int], color: str) -> Callable[[Axes], object]:
    left, top, right, bottom = (float(v) for v in box)
    h, w = side
    xs = [left / w, right / w, right / w, left / w, left / w]
    ys = [top / h, top / h, bottom / h, bottom / h, top / h]
    return lambda ax: ax.plot(xs, ys, color=color, linewidth=2.2, clip_on=False)


def together(*drawings: Callable[[Axes], object]) -> Callable[[Axes], object]:
    def draw(ax: Axes) -> None:
        for drawing in drawings:
            drawing(ax)

    return draw


def put(ax: Axes, tile: Tile) -> None:
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(color="#c9c9d0", linewidth=0.6)
    if tile.picture is not None:
        ax.imshow(tile.picture, extent=(0, 1, 1, 0), interpolation="nearest", vmin=0, vmax=1)
    ax.set_title(tile.title, fontsize=9.5, color=tile.color, pad=4)
    if tile.draw:
        tile.draw(ax)
        ax.set_xlim(0, 1)
        ax.set_ylim(1, 0)


def sheet(rows: Sequence[tuple[str, Sequence[Tile]]], size: float = 1.65, label: float = 1.75) -> Figure:
    """Tiles in rows; what a row is called, its first line in bold, on the left."""
    wide = max(len(tiles) for _, tiles in rows)
    label = label if any(text for text, _ in rows) else 0.15
    figure = Figure(figsize=(label + (size + 0.12) * wide, (size + 0.5) * len(rows)), facecolor="white")
    width, height = figure.get_size_inches()
    for i, (text, tiles) in enumerate(rows):
        bottom = height - (i + 1) * (size + 0.5) + 0.08
        first, _, rest = text.partition("\n")
        figure.text(0.1 / width, (bottom + size) / height, first, va="top", fontsize=10.5, weight="bold", color=INK)
        figure.text(0.1 / width, (bottom + size - 0.24) / height, rest, va="top", fontsize=9.5, color=INK, linespacing=1.5)
        for j, tile in enumerate(tiles):
            put(figure.add_axes((((label + j * (size + 0.12)) / width), bottom / height, size / width, size / height)), tile)
    return figure


def plain(ax: Axes, x: str = "", y: str = "", title: str = "") -> Axes:
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(labelsize=8.5, color=SOFT)
    ax.set_xlabel(x, fontsize=9.5)
    ax.set_ylabel(y, fontsize=9.5)
    ax.set_title(title, fontsize=10.5, color=INK, loc="left", weight="bold")
    return ax


def graph_and_tiles(rows: Sequence[tuple[str, Sequence[Tile]]], size: float = 1.4) -> tuple[Figure, Axes]:
    """A graph on the left, rows of tiles on the right; the axes of the graph are still empty."""
    wide, high = max(len(tiles) for _, tiles in rows), len(rows)
    width, height = 4.0 + wide * (size + 0.1) + 0.15, max(2.8, high * (size + 0.62))
    figure = Figure(figsize=(width, height), facecolor="white")
    graph = figure.add_axes((0.62 / width, 0.55 / height, 3.1 / width, (height - 0.9) / height))
    for i, (text, tiles) in enumerate(rows):
        bottom = height - (i + 1) * (size + 0.62) + 0.1
        figure.text(4.0 / width, (bottom + size + 0.28) / height, text, fontsize=9.5, weight="bold", color=INK)
        for j, tile in enumerate(tiles):
            at = ((4.0 + j * (size + 0.1)) / width, bottom / height, size / width, size / height)
            put(figure.add_axes(at), tile)
    return figure, plain(graph)
