"""The tables of a report for other programs: Markdown, LaTeX and csv."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from math import isnan

import polars as pl

from seewhy.evaluation.run import Run
from seewhy.report.digits import decimals, number
from seewhy.report.leaderboard import Cell, Column
from seewhy.report.run_numbers import COST

ARROW = {True: "↑", False: "↓", None: ""}
MARK = {"best": "★", "level": "≈", "": ""}
FIELDS = (
    *("run", "explainer", "metric", "family", "better", "figure", "low", "high", "images", "rows", "left out", "median"),
    *("median low", "median high", "standing", "rank", "rank mean", "rank low", "rank high", "first"),
)
"""Columns of the csv."""
LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {c: "\\" + c for c in "&%$#_{}"}
BETTER = {True: "higher", False: "lower", None: "neither"}
Titled = tuple[str, Sequence[Column]]
"""The title of a run, and its metrics."""


def by_family(columns: Iterable[Column]) -> dict[str, list[Column]]:
    """Metrics of one family together; families in the order of their first metric."""
    found: dict[str, list[Column]] = {}
    for column in columns:
        found.setdefault(column.measure.family, []).append(column)
    return found


def places(column: Column) -> int | None:
    """Digits after the point for the figures of a metric; None, three that count, for costs: they span decades."""
    if column.measure.family == COST:
        return None
    return decimals(cell.figure.value for cell in column.cells.values())


def half_width(cell: Cell) -> float:
    """Half of the 95 % interval; NaN where there is none."""
    return (cell.figure.high - cell.figure.low) / 2


def as_csv(runs: Iterable[Titled]) -> str:
    """A line for each run, explainer and metric, in full precision; empty where there is no such number."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FIELDS)
    for title, columns in runs:
        for column in columns:
            m = column.measure
            for name, cell in column.cells.items():
                median = cell.median[:3] if cell.median else (None,) * 3
                writer.writerow(
                    [
                        *(title, name, m.name, m.family, BETTER[m.higher_is_better]),
                        *map(_filled, cell.figure[:3]),
                        *(cell.figure.n, cell.rows, cell.left_out),
                        *map(_filled, median),
                        cell.standing,
                        *map(_filled, cell.rank or (None,) * 5),
                    ]
                )
    return text.getvalue()


def scores_csv(runs: Iterable[tuple[str, Run]]) -> str:
    """All rows of all runs."""
    frames = [run.scores.select(pl.lit(title).alias("run"), pl.all()) for title, run in runs]
    return pl.concat(frames).write_csv()


def as_markdown(runs: Iterable[Titled]) -> str:
    """For each run and family of metrics a table: figure ± half of its interval."""
    lines = []
    for title, columns in runs:
        lines += [f"# {_markdown(title)}", ""]
        for family, group in by_family(columns).items():
            headings = [
                "explainer",
                *(f"{_markdown(c.measure.name)} {ARROW[c.measure.higher_is_better]}".strip() for c in group),
            ]
            lines += [f"## {_markdown(family)}", "", _line(headings), _line(["---", *["---:"] * len(group)])]
            lines += [_line([_markdown(name), *cells]) for name, cells in _body(group, _markdown_cell)]
            lines.append("")
    return "\n".join([*lines, f"{NOTE} ★ the best; ≈ its difference to the best may be chance.", ""])


NOTE = "Figure ± half of its 95 % interval over images."


def as_latex(runs: Iterable[Titled]) -> str:
    """The tables of ``as_markdown``; they need the package booktabs."""
    lines = [r"% needs \usepackage{booktabs}", "% bold: the best; a circle: its difference to the best may be chance"]
    for title, columns in runs:
        for family, group in by_family(columns).items():
            arrows = {True: r" $\uparrow$", False: r" $\downarrow$", None: ""}
            headings = ["explainer", *(_latex(c.measure.name) + arrows[c.measure.higher_is_better] for c in group)]
            caption = _latex(f"{title}: {family}. ") + NOTE.replace("±", r"$\pm$").replace("%", r"\,\%").replace(
                " \\,", "\\,"
            )
            lines += ["", r"\begin{table}", r"\centering", rf"\caption{{{caption}}}"]
            lines += [rf"\begin{{tabular}}{{l{'r' * len(group)}}}", r"\toprule", " & ".join(headings) + r" \\", r"\midrule"]
            lines += [" & ".join([_latex(name), *cells]) + r" \\" for name, cells in _body(group, _latex_cell)]
            lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join([*lines, ""])


def _body(group: Sequence[Column], shown: Callable[[Cell, int | None], str]) -> list[tuple[str, list[str]]]:
    """Explainers that have a number in this family, and their cells; the best by the first metric comes first."""
    names = dict.fromkeys(name for column in group for name in column.order)
    digits = [places(column) for column in group]
    return [
        (name, [shown(c.cells[name], d) if name in c.cells else "" for c, d in zip(group, digits, strict=True)])
        for name in names
    ]


def _markdown_cell(cell: Cell, digits: int | None) -> str:
    figure = number(cell.figure.value, digits)
    text = figure if isnan(half_width(cell)) else f"{figure} ± {number(half_width(cell), digits)}"
    return f"**{text}** {MARK[cell.standing]}" if cell.standing else text


def _latex_cell(cell: Cell, digits: int | None) -> str:
    figure = number(cell.figure.value, digits)
    text = figure if isnan(half_width(cell)) else rf"{figure} \pm {number(half_width(cell), digits)}"
    marked = {"best": rf"{{\boldmath${text}$}}", "level": rf"${text}^\circ$", "": f"${text}$"}
    return marked[cell.standing]


def _filled(value: float | None) -> float | str:
    return "" if value is None or isnan(value) else value


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _markdown(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>#|~&])", r"\\\1", " ".join(text.split()))


def _latex(text: str) -> str:
    return "".join(LATEX.get(letter, letter) for letter in text)
