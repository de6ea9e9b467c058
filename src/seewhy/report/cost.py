"""What maps cost against what they are worth, laid out as a chart."""

from collections.abc import Mapping
from typing import NamedTuple

from seewhy.evaluation.run import Run
from seewhy.report.charts import Rectangle, Tick, axis, line
from seewhy.report.leaderboard import Ranking

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
    timed = [name for name in run.manifest.explainers if spent.get(name, 0) > 0 and name in counts]
    return {name: spent[name] / counts[name] for name in timed}


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
    each = seconds_each(run)
    judging = [ranking for ranking in rankings if ranking.metric.has_ranks]
    return [_scatter(run, ranking, each) for ranking in judging if not each.keys().isdisjoint(ranking.entries)]


def _scatter(run: Run, ranking: Ranking, each: Mapping[str, float]) -> Scatter:
    about, better = run.manifest.explainers, ranking.metric.higher_is_better
    known = {name: ranking.entries[name].figure.value for name in each if name in ranking.entries}
    competing = {name: value for name, value in known.items() if about[name].family != "reference"}
    ahead = front({name: (each[name], -value if better else value) for name, value in competing.items()})
    x_axis = axis([each[name] for name in known], PLOT.left, PLOT.right - 60, log=True, room=0.06)
    y_axis = axis(known.values(), PLOT.bottom, PLOT.top, room=0.08)
    places = {name: (x_axis(each[name]), y_axis(value)) for name, value in known.items()}
    labels = _labels(places, [*ahead, *(name for name in known if name not in ahead)])
    numbers = {name: number for number, name in enumerate(about)}
    marks = [
        Mark(
            name=name,
            number=numbers[name],
            seconds=each[name],
            value=known[name],
            front=name in ahead,
            reference=name not in competing,
            x=x,
            y=y,
            label=labels[name],
        )
        for name, (x, y) in places.items()
    ]
    path = line([places[name][0] for name in ahead], [places[name][1] for name in ahead]) if ahead else ""
    return Scatter(ranking.metric.name, better, x_axis.ticks(), y_axis.ticks(), marks, path)


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
