"""Mean curves of a metric with a band over images, laid out as a chart."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from seewhy.evaluation.manifest import AboutMetric
from seewhy.evaluation.run import Run
from seewhy.evaluation.statistics import Array, Estimate, mean_intervals
from seewhy.report.charts import Scale, Style, Tick, band, line, scale, spread, style
from seewhy.report.run_numbers import explainers_of

WIDTH, LEFT, TOP, BOTTOM, GAP = 600.0, 52.0, 14.0, 46.0, 13.5
LETTER = 6.3
"""Width of a letter of the labels."""
NEAR = 30.0
"""Ends of lines that are nearer than this cannot be told apart."""
POINTS = 64
"""At most so many of a curve are drawn."""
TRIALS = 2_000


class Series(NamedTuple):
    """One explainer: paths, the label at the end of the line, and where the line ends."""

    name: str
    number: int
    style: Style
    path: str
    band: str
    label_y: float
    end_y: float
    said: str


class Curves(NamedTuple):
    """A chart. ``right`` and ``bottom`` end the plot; labels follow on the right."""

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


def curve_charts(run: Run) -> list[Curves]:
    """One for each metric whose curves are known."""
    grouped = run.curves.partition_by("metric", "explainer", as_dict=True, maintain_order=True)
    charts = []
    for name, about in run.manifest.metrics.items():
        frames = {e: grouped[name, e] for e in explainers_of(run) if (name, e) in grouped}
        at = [float(place) for place in run.manifest.curves.get(name, [])]
        found = _means(frames, at)
        if found:
            charts.append(_chart(name, about, at, found, explainers_of(run)))
    return charts


def _means(frames: Mapping[str, pl.DataFrame], places: list[float]) -> dict[str, list[Estimate]]:
    """At each place, of each explainer; curves of another length, or with a NaN, are left out."""
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


def _wanted(end_ys: list[float], found: Mapping[str, list[Estimate]], y_scale: Scale) -> list[float]:
    """Where each label would stand: at the end of its line; lines that end near each other in the order of their means."""
    means = [float(np.mean([y_scale(p.value) for p in points])) for points in found.values()]
    return [NEAR * round(end / NEAR) + mean / 1000 for end, mean in zip(end_ys, means, strict=True)]


def drawn_places(n: int) -> list[int]:
    """Which of n places are drawn: the first, the last, and others between them, evenly."""
    return sorted({round(i) for i in np.linspace(0, n - 1, min(n, POINTS))})


def _chart(
    name: str,
    about: AboutMetric,
    places: Sequence[float],
    found: Mapping[str, list[Estimate]],
    explainers: list[str],
) -> Curves:
    xs = [places[i] for i in drawn_places(len(places))]
    height = max(300.0, GAP * len(found) + TOP + BOTTOM)
    right = WIDTH - 18 - LETTER * min(24, max(map(len, found)))
    x_scale = scale(xs, LEFT, right, room=0.0)
    ends = [v for points in found.values() for p in points for v in (p.value, p.low, p.high)]
    y_scale = scale(ends, height - BOTTOM, TOP)
    at = [x_scale(x) for x in xs]
    end_ys = [y_scale(points[-1].value) for points in found.values()]
    labels = spread(_wanted(end_ys, found, y_scale), GAP, TOP, height - BOTTOM + GAP / 2)
    series = []
    for (explainer, points), label, end in zip(found.items(), labels, end_ys, strict=True):
        ys = [y_scale(p.value) for p in points]
        lows, highs = ([y_scale(end) for end in ends] for ends in ([p.low for p in points], [p.high for p in points]))
        known = all(np.isfinite([*lows, *highs]))
        number = explainers.index(explainer)
        said = f"{explainer}: from {points[0].value:.3g} to {points[-1].value:.3g}"
        around = band(at, lows, highs) if known else ""
        series.append(Series(explainer, number, style(number), line(at, ys), around, label, end, said))
    x_label, y_label = about.axes if about.axes and len(about.axes) == 2 else ("", "")
    return Curves(
        name,
        about.higher_is_better,
        (x_label, y_label),
        *(WIDTH, height, LEFT, right, TOP, height - BOTTOM),
        x_scale.ticks(),
        y_scale.ticks(),
        series,
        max(points[0].n for points in found.values()),
    )
