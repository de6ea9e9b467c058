"""What maps cost against what they are worth, laid out as a chart."""

from collections.abc import Mapping
from typing import NamedTuple

from seewhy.evaluation.run import Run
from seewhy.report.charts import Box, Scale, Style, Tick, line, scale, style
from seewhy.report.leaderboard import Column
from seewhy.report.run_numbers import COST, explainers_of

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 760.0, 62.0, 744.0, 16.0, 352.0
LETTER, LINE = 6.4, 14.0
SIDES = [
    *(("start", 9, 0), ("end", 9, 0), ("middle", 0, -15), ("middle", 0, 15)),
    *(("start", 7, -13), ("start", 7, 13), ("end", 7, -13), ("end", 7, 13)),
]
"""Where a name may stand: the end of it that is at the mark, how far away, and how far below; the best places first."""


class Point(NamedTuple):
    """An explainer: seconds for an image, its figure, and whether none is both cheaper and better.

    ``reference``: its maps look at no network, and it does not compete.

    ``x``, ``y``: of its mark; ``label_x``, ``label_y``, ``anchor``: of its name, or None where there was no room.
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
    """A chart of one metric; ``path`` joins the front."""

    metric: str
    higher_is_better: bool | None
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    points: list[Point]
    path: str


def seconds_each(run: Run) -> dict[str, float]:
    """Seconds that a map took, by explainer; one whose time is not known is not there."""
    spent = run.manifest.seconds.explainers
    rows = run.scores.select("explainer", "index", "explained").unique().group_by("explainer").len()
    counts: dict[str, int] = dict(rows.iter_rows())
    return {name: spent[name] / counts[name] for name in explainers_of(run) if spent.get(name, 0) > 0 and counts.get(name)}


def front(points: Mapping[str, tuple[float, float]]) -> list[str]:
    """Who is not beaten: for (cost, loss) of each, both better low, no other is as good in both and better in one."""
    found: list[str] = []
    best = float("inf")
    for name in sorted(points, key=lambda name: points[name]):
        cost, loss = points[name]
        if loss < best or (found and points[found[-1]] == (cost, loss)):
            found.append(name)
            best = loss
    return found


def scatters(run: Run, columns: list[Column]) -> list[Scatter]:
    """One for each metric where one figure is better than another."""
    each, names = seconds_each(run), explainers_of(run)
    reference = {name for name, about in run.manifest.explainers.items() if about.family == "reference"}
    charts = []
    for column in columns:
        better = column.measure.higher_is_better
        known = {name: column.cells[name].figure.value for name in names if name in each and name in column.cells}
        if better is None or column.measure.family == COST or not known:
            continue
        competing = {name: (each[name], -value if better else value) for name, value in known.items()}
        ahead = front({name: point for name, point in competing.items() if name not in reference})
        x_scale = scale([each[name] for name in known], LEFT, RIGHT - 60, log=True, room=0.06)
        y_scale = scale(known.values(), BOTTOM, TOP, room=0.08)
        charts.append(_scatter(column.measure.name, better, each, known, ahead, (x_scale, y_scale), names, reference))
    return charts


def _scatter(
    metric: str,
    better: bool,
    each: Mapping[str, float],
    known: Mapping[str, float],
    ahead: list[str],
    scales: tuple[Scale, Scale],
    names: list[str],
    reference: set[str],
) -> Scatter:
    x_scale, y_scale = scales
    marks = {name: (x_scale(each[name]), y_scale(value)) for name, value in known.items()}
    labels = _labels(marks, [*ahead, *(name for name in known if name not in ahead)])
    points = [
        Point(
            *(name, names.index(name), style(names.index(name)), each[name], value),
            *(name in ahead, name in reference),
            *marks[name],
            labels[name],
        )
        for name, value in known.items()
    ]
    path = line([marks[name][0] for name in ahead], [marks[name][1] for name in ahead]) if ahead else ""
    return Scatter(metric, better, x_scale.ticks(), y_scale.ticks(), points, path)


def _labels(marks: Mapping[str, tuple[float, float]], order: list[str]) -> dict[str, tuple[float, float, str] | None]:
    """Each name beside its mark, where it covers neither a mark nor a name; those that come first choose first."""
    taken = [Box(x - 5, y - 5, x + 5, y + 5) for x, y in marks.values()]
    found: dict[str, tuple[float, float, str] | None] = {}
    for name in order:
        (x, y), wide = marks[name], LETTER * len(name)
        found[name] = None
        for side, right, down in SIDES:
            left = {"start": x + right, "middle": x - wide / 2, "end": x - right - wide}[side]
            box = Box(left, y + down - LINE / 2, left + wide, y + down + LINE / 2)
            inside = box.left > LEFT and box.right < WIDTH and box.top > 0 and box.bottom < BOTTOM
            if inside and not any(box.meets(other) for other in taken):
                at = {"start": left, "middle": x, "end": left + wide}[side]
                found[name] = round(at, 1), round(y + down + 4, 1), side
                taken.append(box)
                break
    return found
