"""What maps cost against what they are worth, laid out as a chart."""

from collections.abc import Mapping
from typing import NamedTuple

from seewhy.evaluation.run import Run
from seewhy.report.charts import Axis, Rectangle, Style, Tick, axis, line, style
from seewhy.report.leaderboard import Ranking
from seewhy.report.run_numbers import COST, explainers_of

DRAWING_WIDTH = 760.0
PLOT = Rectangle(left=62.0, top=16.0, right=744.0, bottom=352.0)
NAME_LETTER_WIDTH, NAME_HEIGHT = 6.4, 14.0
NAME_PLACES = (
    ("start", 9, 0),
    ("end", 9, 0),
    ("middle", 0, -15),
    ("middle", 0, 15),
    ("start", 7, -13),
    ("start", 7, 13),
    ("end", 7, -13),
    ("end", 7, 13),
)
"""Where a name may stand, the best places first: the end of the name at the mark, how far away, and how far below."""


class Mark(NamedTuple):
    """An explainer in the chart.

    seconds    for an image
    value      its figure
    front      whether no explainer is both cheaper and better
    reference  whether its maps look at no network; it does not compete then
    label      x, y and anchor of its name; None where there was no room
    """

    name: str
    number: int
    style: Style
    seconds: float
    value: float
    front: bool
    reference: bool
    x: float
    y: float
    label: tuple[float, float, str] | None


class Scatter(NamedTuple):
    """The chart of one metric; ``path`` joins the marks of the front."""

    metric: str
    higher_is_better: bool | None
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    marks: list[Mark]
    path: str


def seconds_each(run: Run) -> dict[str, float]:
    """Seconds for a map, by explainer; explainers whose time is not known are left out."""
    spent = run.manifest.seconds.explainers
    rows = run.scores.select("explainer", "index", "explained").unique().group_by("explainer").len()
    counts: dict[str, int] = dict(rows.iter_rows())
    return {name: spent[name] / counts[name] for name in explainers_of(run) if spent.get(name, 0) > 0 and counts.get(name)}


def front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """The explainers that no other beats, by their (cost, loss): no other is as low in both and lower in one."""
    found: list[str] = []
    best = float("inf")
    for name in sorted(points, key=lambda name: points[name]):
        cost, loss = points[name]
        if loss < best or (found and points[found[-1]] == (cost, loss)):
            found.append(name)
            best = loss
    return found


def scatters(run: Run, rankings: list[Ranking]) -> list[Scatter]:
    """A chart for each metric by which one figure is better than another."""
    each, names = seconds_each(run), explainers_of(run)
    reference = {name for name, about in run.manifest.explainers.items() if about.family == "reference"}
    charts = []
    for ranking in rankings:
        better = ranking.metric.higher_is_better
        known = {name: ranking.entries[name].figure.value for name in names if name in each and name in ranking.entries}
        if better is None or ranking.metric.family == COST or not known:
            continue
        competing = {name: (each[name], -value if better else value) for name, value in known.items()}
        ahead = front({name: point for name, point in competing.items() if name not in reference})
        x_axis = axis([each[name] for name in known], PLOT.left, PLOT.right - 60, log=True, room=0.06)
        y_axis = axis(known.values(), PLOT.bottom, PLOT.top, room=0.08)
        charts.append(_scatter(ranking.metric.name, better, each, known, ahead, (x_axis, y_axis), names, reference))
    return charts


def _scatter(
    metric: str,
    better: bool,
    each: Mapping[str, float],
    known: Mapping[str, float],
    ahead: list[str],
    axes: tuple[Axis, Axis],
    names: list[str],
    reference: set[str],
) -> Scatter:
    x_axis, y_axis = axes
    places = {name: (x_axis(each[name]), y_axis(value)) for name, value in known.items()}
    labels = _labels(places, [*ahead, *(name for name in known if name not in ahead)])
    marks = [
        Mark(
            name=name,
            number=names.index(name),
            style=style(names.index(name)),
            seconds=each[name],
            value=value,
            front=name in ahead,
            reference=name in reference,
            x=places[name][0],
            y=places[name][1],
            label=labels[name],
        )
        for name, value in known.items()
    ]
    path = line([places[name][0] for name in ahead], [places[name][1] for name in ahead]) if ahead else ""
    return Scatter(metric, better, x_axis.ticks(), y_axis.ticks(), marks, path)


def _labels(marks: Mapping[str, tuple[float, float]], order: list[str]) -> dict[str, tuple[float, float, str] | None]:
    """The place of each name: beside its mark, where it covers neither a mark nor a name. Names choose in ``order``."""
    taken = [Rectangle(x - 5, y - 5, x + 5, y + 5) for x, y in marks.values()]
    found: dict[str, tuple[float, float, str] | None] = {}
    for name in order:
        (x, y), wide = marks[name], NAME_LETTER_WIDTH * len(name)
        found[name] = None
        for side, right, down in NAME_PLACES:
            left = {"start": x + right, "middle": x - wide / 2, "end": x - right - wide}[side]
            box = Rectangle(left, y + down - NAME_HEIGHT / 2, left + wide, y + down + NAME_HEIGHT / 2)
            inside = box.left > PLOT.left and box.right < DRAWING_WIDTH and box.top > 0 and box.bottom < PLOT.bottom
            if inside and not any(box.meets(other) for other in taken):
                at = {"start": left, "middle": x, "end": left + wide}[side]
                found[name] = round(at, 1), round(y + down + 4, 1), side
                taken.append(box)
                break
    return found
