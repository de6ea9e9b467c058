"""Mean curves of a metric with a band over images, laid out as a chart."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from seewhy.evaluation.manifest import AboutMetric
from seewhy.evaluation.run import Run
from seewhy.evaluation.statistics import Estimate, mean_intervals
from seewhy.report.charts import Rectangle, Tick, axis, band, line, spread_labels
from seewhy.report.run_numbers import finite_rows

PLOT_RIGHT = 432.0
"""Where the plot ends; beyond it stand the names of the lines."""
LEFT_MARGIN, TOP_MARGIN, BOTTOM_MARGIN = 52.0, 14.0, 46.0
LABEL_GAP, LABEL_LETTER_WIDTH, MOST_LETTERS = 13.5, 7.2, 30
"""The distance of two labels, the width of a letter, and the most letters of a label."""
INDISTINCT_ENDS = 30.0
"""The ends of two lines that are nearer than this cannot be told apart."""
MAX_POINTS = 64
"""At most so many points of a curve are drawn."""
TRIALS = 2_000
"""Resamples behind the band of a curve."""


class Series(NamedTuple):
    """The line of one explainer: paths of the line and of its band, where the label stands, and where the line ends."""

    name: str
    number: int
    path: str
    band: str
    label_y: float
    end_y: float
    summary: str


class CurveChart(NamedTuple):
    """The curves of one metric; labels of at most ``letters`` letters are on the right of the plot.

    The width is that of the page at normal size, whatever the width of the window.
    """

    metric: str
    higher_is_better: bool | None
    axes: tuple[str, str]
    width: float
    height: float
    plot: Rectangle
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    series: list[Series]
    images: int
    letters: int


def curve_charts(run: Run) -> list[CurveChart]:
    """A chart for each metric whose curves are known."""
    grouped = run.curves.partition_by("metric", "explainer", as_dict=True, maintain_order=True)
    charts = []
    for name, about in run.manifest.metrics.items():
        frames = {e: grouped[name, e] for e in run.manifest.explainers if (name, e) in grouped}
        at = [float(place) for place in run.manifest.curves.get(name, [])]
        if len(at) > 1 and (found := _mean_curves(frames, len(at))):
            charts.append(_chart(name, about, at, found, list(run.manifest.explainers)))
    return charts


def _mean_curves(frames: Mapping[str, pl.DataFrame], length: int) -> dict[str, list[Estimate]]:
    """The mean at each place that is drawn, by explainer. Curves of another length, or with a NaN, are left out."""
    read = {name: finite_rows(frame, "values", length) for name, frame in frames.items()}
    return {
        name: mean_intervals(values[:, drawn_places(length)], trials=TRIALS, images=kept["index"].to_list())
        for name, (kept, values) in read.items()
        if len(kept)
    }


def drawn_places(n: int) -> list[int]:
    """Which of n places are drawn: the first, the last, and places spread evenly between these."""
    return sorted({round(i) for i in np.linspace(0, n - 1, min(n, MAX_POINTS))})


def _chart(
    name: str,
    about: AboutMetric,
    places: Sequence[float],
    found: Mapping[str, list[Estimate]],
    explainers: list[str],
) -> CurveChart:
    xs = [places[i] for i in drawn_places(len(places))]
    height = max(300.0, LABEL_GAP * len(found) + TOP_MARGIN + BOTTOM_MARGIN)
    letters = min(MOST_LETTERS, max(map(len, found)))
    plot = Rectangle(LEFT_MARGIN, TOP_MARGIN, PLOT_RIGHT, height - BOTTOM_MARGIN)
    x_axis = axis(xs, plot.left, plot.right, room=0.0)
    y_axis = axis([end for points in found.values() for p in points for end in p[:3]], plot.bottom, plot.top)
    at = [x_axis(x) for x in xs]

    def drawn(values: Iterable[float]) -> list[float]:
        return [y_axis(value) for value in values]

    lines = {explainer: drawn(p.value for p in points) for explainer, points in found.items()}
    # labels stand at the ends of the lines; of lines that end near each other, in the order of their means
    wanted = [INDISTINCT_ENDS * round(ys[-1] / INDISTINCT_ENDS) + float(np.mean(ys)) / 1000 for ys in lines.values()]
    labels = spread_labels(wanted, LABEL_GAP, plot.top, plot.bottom + LABEL_GAP / 2)
    series = []
    for (explainer, points), label in zip(found.items(), labels, strict=True):
        ys, lows, highs = lines[explainer], drawn(p.low for p in points), drawn(p.high for p in points)
        summary = f"{explainer}: from {points[0].value:.3g} to {points[-1].value:.3g}"
        around = band(at, lows, highs) if np.isfinite([*lows, *highs]).all() else ""
        series.append(Series(explainer, explainers.index(explainer), line(at, ys), around, label, ys[-1], summary))
    x_label, y_label = about.axes if about.axes and len(about.axes) == 2 else ("", "")
    return CurveChart(
        metric=name,
        higher_is_better=about.higher_is_better,
        axes=(x_label, y_label),
        width=PLOT_RIGHT + 20 + LABEL_LETTER_WIDTH * letters,
        height=height,
        plot=plot,
        x_ticks=x_axis.ticks(),
        y_ticks=y_axis.ticks(),
        series=series,
        images=max(points[0].n for points in found.values()),
        letters=letters,
    )
