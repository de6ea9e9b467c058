"""Mean curves of a metric with a band over images, laid out as a chart."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from seewhy.evaluation.bootstrap import Array
from seewhy.evaluation.manifest import AboutMetric
from seewhy.evaluation.run import Run
from seewhy.evaluation.statistics import Estimate, mean_intervals
from seewhy.report.charts import Axis, Style, Tick, axis, band, line, spread_labels, style
from seewhy.report.run_numbers import explainers_of

CHART_WIDTH = 600.0
LEFT_MARGIN, TOP_MARGIN, BOTTOM_MARGIN = 52.0, 14.0, 46.0
LABEL_GAP, LABEL_LETTER_WIDTH = 13.5, 6.3
"""The distance of two labels, and the width of a letter."""
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
    style: Style
    path: str
    band: str
    label_y: float
    end_y: float
    summary: str


class CurveChart(NamedTuple):
    """The curves of one metric. ``right`` and ``bottom`` end the plot; labels are on the right of the plot."""

    metric: str
    higher_is_better: bool | None
    axes: tuple[str, str]
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    series: list[Series]
    images: int


def curve_charts(run: Run) -> list[CurveChart]:
    """A chart for each metric whose curves are known."""
    grouped = run.curves.partition_by("metric", "explainer", as_dict=True, maintain_order=True)
    charts = []
    for name, about in run.manifest.metrics.items():
        frames = {e: grouped[name, e] for e in explainers_of(run) if (name, e) in grouped}
        at = [float(place) for place in run.manifest.curves.get(name, [])]
        found = _mean_curves(frames, at)
        if found:
            charts.append(_chart(name, about, at, found, explainers_of(run)))
    return charts


def _mean_curves(frames: Mapping[str, pl.DataFrame], places: list[float]) -> dict[str, list[Estimate]]:
    """The mean at each place, by explainer. Curves of another length, or with a NaN, are left out."""
    found = {}
    for name, frame in frames.items():
        whole = frame.filter((pl.col("values").list.len() == len(places)) & (pl.col("values").list.len() > 1))
        values: Array = np.array(whole["values"].to_list(), dtype=np.float64).reshape(len(whole), -1)
        finite = np.isfinite(values).all(1)
        if finite.any():
            images = whole["index"].to_numpy()[finite]
            kept = values[finite][:, drawn_places(len(places))]
            found[name] = mean_intervals(kept, trials=TRIALS, images=images if len(set(images)) < len(images) else None)
    return found


def _wanted_label_places(end_ys: list[float], found: Mapping[str, list[Estimate]], y_axis: Axis) -> list[float]:
    """The place of each label: at the end of its line. Lines that end near each other are in the order of their means."""
    means = [float(np.mean([y_axis(p.value) for p in points])) for points in found.values()]
    return [INDISTINCT_ENDS * round(end / INDISTINCT_ENDS) + mean / 1000 for end, mean in zip(end_ys, means, strict=True)]


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
    right = CHART_WIDTH - 18 - LABEL_LETTER_WIDTH * min(24, max(map(len, found)))
    x_axis = axis(xs, LEFT_MARGIN, right, room=0.0)
    ends = [v for points in found.values() for p in points for v in (p.value, p.low, p.high)]
    y_axis = axis(ends, height - BOTTOM_MARGIN, TOP_MARGIN)
    at = [x_axis(x) for x in xs]
    end_ys = [y_axis(points[-1].value) for points in found.values()]
    labels = spread_labels(
        _wanted_label_places(end_ys, found, y_axis), LABEL_GAP, TOP_MARGIN, height - BOTTOM_MARGIN + LABEL_GAP / 2
    )
    series = []
    for (explainer, points), label, end in zip(found.items(), labels, end_ys, strict=True):
        ys = [y_axis(p.value) for p in points]
        lows, highs = ([y_axis(end) for end in ends] for ends in ([p.low for p in points], [p.high for p in points]))
        known = all(np.isfinite([*lows, *highs]))
        number = explainers.index(explainer)
        summary = f"{explainer}: from {points[0].value:.3g} to {points[-1].value:.3g}"
        around = band(at, lows, highs) if known else ""
        series.append(Series(explainer, number, style(number), line(at, ys), around, label, end, summary))
    x_label, y_label = about.axes if about.axes and len(about.axes) == 2 else ("", "")
    return CurveChart(
        metric=name,
        higher_is_better=about.higher_is_better,
        axes=(x_label, y_label),
        width=CHART_WIDTH,
        height=height,
        left=LEFT_MARGIN,
        right=right,
        top=TOP_MARGIN,
        bottom=height - BOTTOM_MARGIN,
        x_ticks=x_axis.ticks(),
        y_ticks=y_axis.ticks(),
        series=series,
        images=max(points[0].n for points in found.values()),
    )
