"""Explanations as figures of matplotlib, for pages that have other figures of matplotlib too."""

from collections.abc import Iterable, Sequence
from typing import Any, cast

from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, SubFigure

from seewhy.data.pictures import to_picture
from seewhy.errors import SeewhyError
from seewhy.explanation.comparison import by_picture
from seewhy.explanation.explanation import Explanation

INCHES = 2.6
"""Side of the axes of one map."""


def figure_of_one(explanation: Explanation, axes: Any = None) -> Figure:
    """One map over its picture, in ``axes`` or in a figure of its own; returns the figure."""
    _must_be_axes([] if axes is None else [axes], 1 if axes is not None else 0)
    drawn = axes if axes is not None else _new(1, 1)[0][0]
    _draw(drawn, explanation, f"{explanation.caption}\n{explanation.explainer}")
    return _figure(drawn)


def figure_of_several(explanations: Sequence[Explanation], axes: Any = None) -> Figure:
    """A row for each class of each picture and a column for each method; or each explanation in its own of the ``axes``."""
    if axes is not None:
        given = list(getattr(axes, "flat", axes)) if isinstance(axes, Iterable) or hasattr(axes, "flat") else [axes]
        _must_be_axes(given, len(explanations))
        for one, e in zip(given, explanations, strict=True):
            _draw(one, e, f"{e.caption}\n{e.explainer}")
        return _figure(given[0])
    methods = list(dict.fromkeys(e.explainer for e in explanations))
    rows = [(of, target) for of in by_picture(explanations) for target in dict.fromkeys(e.target for e in of)]
    grid = _new(len(rows), 1 + len(methods))
    for row, (of, target) in zip(grid, rows, strict=True):
        there = {e.explainer: e for e in of if e.target == target}
        for one in row:
            one.set_axis_off()
        if target == of[0].target:
            picture = to_picture(of[0].image)
            row[0].imshow(picture, cmap="gray" if picture.mode == "L" else None)
            row[0].set_title(of[0].name, fontsize="small")
        for one, method in zip(row[1:], methods, strict=True):
            first = method not in there or there[method].class_specific or target == of[0].target
            if method in there and first:  # a map of no class is drawn once
                _draw(one, there[method], f"{there[method].caption}\n{method}" if there[method].class_specific else method)
    return _figure(grid[0][0])


def _new(rows: int, columns: int) -> list[list[Axes]]:
    """Axes in a figure that belongs to no window, so that nothing is left of it when it is not used."""
    figure = Figure(figsize=(INCHES * columns + 0.6, (INCHES + 0.4) * rows), layout="constrained")
    return cast(list[list[Axes]], figure.subplots(rows, columns, squeeze=False).tolist())


def _draw(axes: Axes, e: Explanation, title: str) -> None:
    height, width = e.map.shape
    axes.imshow(e.drawn(), extent=(0, width, height, 0))
    axes.set_axis_off()
    axes.set_title(title, fontsize="small")
    low, high, colormap = e.scale
    if low < high:
        colors = ScalarMappable(Normalize(low, high), colormap)
        bar = _figure(axes).colorbar(colors, ax=axes, shrink=0.8, ticks=[low, (low + high) / 2, high], format="%.2g")
        bar.ax.tick_params(labelsize="x-small")


def _figure(axes: Axes) -> Figure:
    found = axes.get_figure()
    while isinstance(found, SubFigure):
        found = found.figure
    assert isinstance(found, Figure)
    return found


def _must_be_axes(given: Sequence[object], wanted: int) -> None:
    """SeewhyError unless there are as many axes of matplotlib as maps."""
    if len(given) != wanted or not all(isinstance(one, Axes) for one in given):
        what = f"{len(given)} axes" if all(isinstance(one, Axes) for one in given) else f"{type(given[0]).__name__}"
        raise SeewhyError(f"axes are those of matplotlib, one for each of {wanted} maps; not {what}")
