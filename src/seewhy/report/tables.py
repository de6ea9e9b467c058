"""The tables of a report for other programs: Markdown, LaTeX and csv."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from math import isnan

import polars as pl

from seewhy.evaluation.run import Run
from seewhy.evaluation.statistics import Estimate
from seewhy.report.digits import decimals, number
from seewhy.report.leaderboard import Ranking, RankingEntry
from seewhy.report.run_numbers import COST
from seewhy.text import csv_of, defused, printable

ARROWS = {True: "↑", False: "↓", None: ""}
MARKS = {"best": "★", "level": "≈", "": ""}
CSV_COLUMNS = [
    "run", "explainer", "metric", "family", "better", "figure", "low", "high", "images", "rows", "left out", "median",
    "median low", "median high", "standing", "rank", "rank mean", "rank low", "rank high", "first",
]  # fmt: skip
LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {c: "\\" + c for c in "&%$#_{}"}
BETTER = {True: "higher", False: "lower", None: "neither"}
Titled = tuple[str, Sequence[Ranking]]
"""The title of a run, and the rankings by its metrics."""


def by_family(rankings: Iterable[Ranking]) -> dict[str, list[Ranking]]:
    """The rankings by family; families are in the order of their first metric."""
    found: dict[str, list[Ranking]] = {}
    for ranking in rankings:
        found.setdefault(ranking.metric.family, []).append(ranking)
    return found


def places(ranking: Ranking) -> int | None:
    """Digits after the point for the figures of a metric; None for costs, which span decades: three significant digits."""
    if ranking.metric.family == COST:
        return None
    return decimals(entry.figure.value for entry in ranking.entries.values())


def as_csv(runs: Iterable[Titled]) -> str:
    """A line for each run, explainer and metric, in full precision; a cell is empty where there is no such number.

    A text that a spreadsheet would compute begins with an apostrophe.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for title, rankings in runs:
        for ranking in rankings:
            m = ranking.metric
            for name, entry in ranking.entries.items():
                figure, median = entry.figure[:3], entry.median[:3] if entry.median else (None,) * 3
                line = [*map(defused, (title, name, m.name, m.family)), BETTER[m.higher_is_better], *map(_filled, figure)]
                line += [entry.figure.n, entry.rows, entry.left_out, *map(_filled, median), entry.standing]
                writer.writerow([*line, *map(_filled, entry.rank or (None,) * 5)])
    return text.getvalue()


def scores_csv(runs: Iterable[tuple[str, Run]]) -> str:
    """All rows of all runs."""
    frames = [run.scores.select(pl.lit(title).alias("run"), pl.all()) for title, run in runs]
    return csv_of(pl.concat(frames))


def as_markdown(runs: Iterable[Titled]) -> str:
    """A table for each run and family of metrics: the figure ± half of its interval."""
    lines = []
    for title, rankings in runs:
        lines += [f"# {_markdown(title)}", ""]
        for family, group in by_family(rankings).items():
            names = [f"{_markdown(c.metric.name)} {ARROWS[c.metric.higher_is_better]}".strip() for c in group]
            lines += [f"## {_markdown(family)}", "", _line(["explainer", *names]), _line(["---", *["---:"] * len(group)])]
            lines += [_line([_markdown(name), *cells]) for name, cells in _body(group, _markdown_entry)]
            lines.append("")
    note = "Figure ± half of its 95 % interval over images. ★ the best; ≈ its difference to the best may be chance."
    return "\n".join([*lines, note, ""])


def as_latex(runs: Iterable[Titled]) -> str:
    """The tables of ``as_markdown``, for LaTeX with the package booktabs."""
    lines = [r"% needs \usepackage{booktabs}", "% bold: the best; a circle: its difference to the best may be chance"]
    for title, rankings in runs:
        for family, group in by_family(rankings).items():
            arrows = {True: r" $\uparrow$", False: r" $\downarrow$", None: ""}
            headings = ["explainer", *(_latex(c.metric.name) + arrows[c.metric.higher_is_better] for c in group)]
            caption = _latex(f"{title}: {family}. ") + r"Figure $\pm$ half of its 95\,\% interval over images."
            lines += ["", r"\begin{table}", r"\centering", rf"\caption{{{caption}}}"]
            lines += [rf"\begin{{tabular}}{{l{'r' * len(group)}}}", r"\toprule", " & ".join(headings) + r" \\", r"\midrule"]
            lines += [" & ".join([_latex(name), *cells]) + r" \\" for name, cells in _body(group, _latex_entry)]
            lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join([*lines, ""])


def _body(group: Sequence[Ranking], shown: Callable[[RankingEntry, int | None], str]) -> list[tuple[str, list[str]]]:
    """The explainers that have a figure in this family, with their cells; the best by the first metric comes first."""
    names = dict.fromkeys(name for ranking in group for name in ranking.order)
    digits = [places(ranking) for ranking in group]
    return [
        (name, [shown(c.entries[name], d) if name in c.entries else "" for c, d in zip(group, digits, strict=True)])
        for name in names
    ]


def _markdown_entry(entry: RankingEntry, digits: int | None) -> str:
    text = _with_half(entry.figure, digits, "±")
    return f"**{text}** {MARKS[entry.standing]}" if entry.standing else text


def _latex_entry(entry: RankingEntry, digits: int | None) -> str:
    text = _with_half(entry.figure, digits, r"\pm")
    marked = {"best": rf"{{\boldmath${text}$}}", "level": rf"${text}^\circ$", "": f"${text}$"}
    return marked[entry.standing]


def _with_half(figure: Estimate, digits: int | None, sign: str) -> str:
    """The figure ± half of its 95 % interval, or the figure alone where it has no interval."""
    half = (figure.high - figure.low) / 2
    return number(figure.value, digits) + ("" if isnan(half) else f" {sign} {number(half, digits)}")


def _filled(value: float | None) -> float | str:
    return "" if value is None or isnan(value) else value


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", printable(" ".join(text.split())))


def _latex(text: str) -> str:
    return "".join(LATEX.get(letter, letter) for letter in printable(" ".join(text.split())))
