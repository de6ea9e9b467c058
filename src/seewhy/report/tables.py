"""The tables of a report for other programs: Markdown, LaTeX and csv."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from math import isnan

import polars as pl

from seewhy.evaluation.run import Run
from seewhy.evaluation.statistics import Estimate
from seewhy.report.board import Board, Column, Row, Titled, board
from seewhy.report.digits import number
from seewhy.text import csv_of, defused, printable

ARROWS = {True: "↑", False: "↓", None: ""}
MARKS = {"best": "★", "level": "≈", "": ""}
CSV_COLUMNS = [
    "run", "explainer", "metric", "family", "better", "figure", "low", "high", "images", "rows", "left out", "median",
    "median low", "median high", "standing", "rank", "rank mean", "rank low", "rank high", "first",
]  # fmt: skip
LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # after the end of a line, it would open an option
    "*": "{*}",
} | {c: "\\" + c for c in "&%$#_{}"}
MOST_COLUMNS = 5
"""A LaTeX table of more metrics is made as narrow as the text."""
INTERVALS = r"Figure $\pm$ half of its 95\,\% interval over images."
BETTER = {True: "higher", False: "lower", None: "neither"}


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


def as_markdown(runs: Sequence[Titled], conclusions: Iterable[str] = ()) -> str:
    """What is concluded, and a table for each family of metrics: the figure ± half of its interval.

    A table of several runs has their names in a column of its own.
    """
    found = board(runs)
    lines = [f"# {_markdown(title)}" for title, _ in runs[:1]] if len(runs) == 1 else ["# Leaderboard"]
    lines += ["", *(f"{_markdown(text)}\n" for text in conclusions)]
    several = ["run"] if len(runs) > 1 else []
    for family, columns in found.families.items():
        names = [f"{_markdown(c.name)} {ARROWS[c.higher_is_better]}".strip() for c in columns]
        heads = [*several, "explainer", *names]
        lines += [f"## {_markdown(family)}", "", _line(heads), _line(["---"] * (len(several) + 1) + ["---:"] * len(columns))]
        for row in _rows(found, columns):
            cells = [_markdown_cell(column, row) for column in columns]
            lines.append(_line([*([_markdown(row.title)] if several else []), _markdown(row.name), *cells]))
        lines.append("")
    note = (
        "Figure ± half of its 95 % interval over images. ★ the best of its run; ≈ its difference to the best may be chance."
    )
    return "\n".join([*lines, f"{note} Without a mark: told from the best, or nothing in the column of this run is.", ""])


def as_latex(runs: Sequence[Titled]) -> str:
    """The same for LaTeX with the package booktabs: a table for each family, or one table of several runs."""
    found = board(runs)
    lines = [r"% needs \usepackage{booktabs}; a wide table also \usepackage{graphicx}"]
    lines += ["% bold: the best of its run; a circle: its difference to the best may be chance"]
    parts = dict.fromkeys(["Explainers on the same images"], found.columns) if len(runs) > 1 else found.families
    for family, columns in parts.items():
        caption = family if len(runs) > 1 else f"{runs[0][0]}: {family}"
        lines += ["", r"\begin{table}", r"\centering", rf"\caption{{{_latex(caption)}. {INTERVALS}}}"]
        lines += [*_tabular(found, columns), r"\end{table}"]
    return "\n".join([*lines, ""])


def _tabular(found: Board, columns: Sequence[Column]) -> list[str]:
    """The lines of a LaTeX table. The rows of a run stand below its name, where there are several runs."""
    arrows = {True: r" $\uparrow$", False: r" $\downarrow$", None: ""}
    headings = ["explainer", *(_latex(c.name) + arrows[c.higher_is_better] for c in columns)]
    lines = [rf"\begin{{tabular}}{{l{'r' * len(columns)}}}", r"\toprule", " & ".join(headings) + r" \\"]
    before = None
    for row in _rows(found, columns):
        if row.run != before:
            lines.append(r"\midrule")
            if found.several:
                lines.append(rf"\multicolumn{{{len(headings)}}}{{l}}{{\textit{{{_latex(row.title)}}}}} \\")
        before = row.run
        lines.append(" & ".join([_latex(row.name), *(_latex_cell(column, row) for column in columns)]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}"]
    return [r"\resizebox{\textwidth}{!}{%", *lines, "}"] if len(columns) > MOST_COLUMNS else lines


def _rows(found: Board, columns: Sequence[Column]) -> list[Row]:
    """The rows that have a figure in these columns; those of a run in the order of the first column that it has."""
    rows: list[Row] = []
    for run in dict.fromkeys(row.run for row in found.rows):
        names = dict.fromkeys(name for c in columns if run in c.rankings for name in c.rankings[run].order)
        of_run = {row.name: row for row in found.rows if row.run == run}
        rows += [of_run[name] for name in names]
    return rows


def _markdown_cell(column: Column, row: Row) -> str:
    if (entry := column.entry(row)) is None:
        return ""
    text, mark = _with_half(entry.figure, column.digits, "±"), column.mark(row)
    return f"{f'**{text}**' if mark == 'best' else text} {MARKS[mark]}".strip()


def _latex_cell(column: Column, row: Row) -> str:
    if (entry := column.entry(row)) is None:
        return ""
    text = _with_half(entry.figure, column.digits, r"\pm")
    return {"best": rf"{{\boldmath${text}$}}", "level": rf"${text}^\circ$", "": f"${text}$"}[column.mark(row)]


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
