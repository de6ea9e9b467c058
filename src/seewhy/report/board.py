"""The table of a leaderboard: a row for each explainer of each run, a column for each metric."""

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import NamedTuple

from seewhy.report.digits import decimals
from seewhy.report.leaderboard import Ranking, RankingEntry, Standing
from seewhy.report.run_numbers import COST
from seewhy.report.verdict import recommended, recommended_first

PRINTED_COLUMNS = 7
"""So many columns fit on a page of paper."""
Titled = tuple[str, Sequence[Ranking]]
"""The title of a run, and the rankings by its metrics."""


class Row(NamedTuple):
    """An explainer of a run; ``run``: the place of the run among all."""

    run: int
    title: str
    name: str


class Column(NamedTuple):
    """A metric.

    digits     after the point; None for three significant digits
    images     behind most figures
    low, high  the ends of all its intervals
    rankings   by the place of the run
    """

    name: str
    family: str
    higher_is_better: bool | None
    recommended: str
    digits: int | None
    images: int
    low: float
    high: float
    rankings: Mapping[int, Ranking]

    def entry(self, row: Row) -> RankingEntry | None:
        """The figure of an explainer; None where there is none."""
        return self.rankings[row.run].entries.get(row.name) if row.run in self.rankings else None

    def mark(self, row: Row) -> Standing:
        """The mark of an explainer among those of its run, where it says something."""
        return self.rankings[row.run].mark(row.name) if self.entry(row) else ""


class Board(NamedTuple):
    """A leaderboard of one run or of several."""

    rows: list[Row]
    columns: list[Column]

    @property
    def several(self) -> bool:
        """Whether rows of several runs are in it."""
        return len({row.run for row in self.rows}) > 1

    @property
    def families(self) -> dict[str, list[Column]]:
        """The columns by family; families are in the order of their first metric."""
        found: dict[str, list[Column]] = {}
        for column in self.columns:
            found.setdefault(column.family, []).append(column)
        return found

    @property
    def printed(self) -> list["Board"]:
        """The same in parts that fit on paper; empty where it fits as it is."""
        columns = [column for group in self.families.values() for column in group]
        parts = [columns[i : i + PRINTED_COLUMNS] for i in range(0, len(columns), PRINTED_COLUMNS)]
        return [Board(self.rows, part) for part in parts] if len(parts) > 1 else []


def board(runs: Sequence[Titled]) -> Board:
    """The leaderboard of runs. The rows of a run are in the order of its first metric."""
    by_name: dict[str, dict[int, Ranking]] = {}
    for place, (_, rankings) in enumerate(runs):
        for ranking in rankings:
            by_name.setdefault(ranking.metric.name, {})[place] = ranking
    rows = []
    for place, (title, rankings) in enumerate(runs):
        names = [name for ranking in recommended_first(rankings) for name in ranking.order]
        rows += [Row(place, title, name) for name in dict.fromkeys(names)]
    order = recommended_first([next(iter(found.values())) for found in by_name.values()])
    return Board(rows, [_column(by_name[ranking.metric.name]) for ranking in order])


def _column(rankings: Mapping[int, Ranking]) -> Column:
    first = next(iter(rankings.values()))
    figures = [entry.figure for ranking in rankings.values() for entry in ranking.entries.values()]
    ends = [end for figure in figures for end in figure[:3] if isfinite(end)]
    return Column(
        name=first.metric.name,
        family=first.metric.family,
        higher_is_better=first.metric.higher_is_better,
        recommended=recommended(first),
        digits=None if first.metric.family == COST else decimals(figure.value for figure in figures),
        images=max(figure.n for figure in figures),
        low=min(ends),
        high=max(ends),
        rankings=rankings,
    )
