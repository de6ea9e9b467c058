"""The table of an evaluation for a terminal or a notebook, and the interval of each figure."""

from html import escape
from math import isnan, nan

from rich.table import Table
from rich.text import Text
from torch import from_numpy

from seewhy.evaluation.evaluate import Evaluation
from seewhy.evaluation.failures import Failure
from seewhy.evaluation.statistics import Estimate, figure_interval, mean_interval
from seewhy.metrics import Metric
from seewhy.metrics.base import Reduces
from seewhy.text import printable

MAX_COLUMNS = 8
"""Up to this many metrics are columns of the table; more metrics are rows."""
_ARROWS = {True: "↑", False: "↓", None: ""}


def figures_table(evaluation: Evaluation) -> Table:
    """Figures by explainer and metric. An arrow says which way is better, and the best figure is bold."""
    metrics = evaluation.metrics
    figures = {e: {name: row.get(name, nan) for name in metrics} for e, row in evaluation.table().items()}
    headings = {name: f"{name} {_ARROWS[m.higher_is_better]}".strip() for name, m in metrics.items()}
    best = {name: _best([row[name] for row in figures.values()], m) for name, m in metrics.items()}

    def cell(explainer: str, name: str) -> Text:
        value = figures[explainer][name]
        style = "bold" if len(figures) > 1 and value == best[name] else ""
        return Text("–" if isnan(value) else f"{value:.4g}", style=style)

    first, rows, columns = "explainer", list(figures), list(headings.values())
    cells = [[cell(explainer, name) for name in metrics] for explainer in figures]
    if len(metrics) > MAX_COLUMNS:
        first, rows, columns, cells = "metric", columns, rows, [list(row) for row in zip(*cells, strict=True)]
    shown = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    shown.add_column(first, no_wrap=True)
    for name in columns:
        shown.add_column(Text(printable(name)), justify="right")
    for name, row in zip(rows, cells, strict=True):
        shown.add_row(Text(printable(name)), *row)  # as Text, since "[1,2]" is no markup
    return shown


def as_html(evaluation: Evaluation) -> str:
    """The same table for a notebook, with the 95 % interval of each figure over the images, and what failed below it."""
    metrics, table = evaluation.metrics, evaluation.table()
    best = {name: _best([row.get(name, nan) for row in table.values()], m) for name, m in metrics.items()}

    def cell(explainer: str, name: str) -> str:
        value = table[explainer].get(name, nan)
        if isnan(value):
            return "<td>–</td>"
        said = f"{value:.4g}"
        if len(table) > 1 and value == best[name]:
            said = f"<b>{said}</b>"
        if (found := interval(evaluation, explainer, name)) is not None:
            said += f"<br><small>{found.low:.3g} to {found.high:.3g}</small>"
        return f'<td style="text-align: right">{said}</td>'

    def heading(name: str) -> str:
        return f"<th>{escape(printable(name))}</th>"

    above = "".join(heading(f"{name} {_ARROWS[m.higher_is_better]}".strip()) for name, m in metrics.items())
    rows = [f"<tr>{heading(e)}{''.join(cell(e, name) for name in metrics)}</tr>" for e in table]
    below = [f"{len(evaluation.images)} images; below each figure its 95 % interval", *failed(evaluation)]
    said = "<br>".join(escape(printable(line)) for line in below)
    return f"<table><thead><tr><th>explainer</th>{above}</tr></thead><tbody>{''.join(rows)}</tbody></table><p>{said}</p>"


def _best(values: list[float], metric: Metric) -> float | None:
    values = [value for value in values if not isnan(value)]
    if metric.higher_is_better is None or not values:
        return None
    return max(values) if metric.higher_is_better else min(values)


def interval(evaluation: Evaluation, explainer: str, name: str, seed: int = 0) -> Estimate | None:
    """The 95 % interval of a figure over images; None for one image, for a cost, and for scores that are not finite."""
    metric, scores = evaluation.metrics[name], evaluation.scores(explainer, name)
    if not scores.isfinite().all() or metric.family == "cost":  # of a cost, one measurement stands in every row of a batch
        return None
    images, numbers = evaluation.image_ids(explainer, name), scores.numpy()
    if isinstance(metric, Reduces):
        reduce = metric.reduce
        found = figure_interval(numbers, lambda drawn: reduce(from_numpy(drawn)), seed=seed, images=images)
    else:
        found = mean_interval(numbers, seed=seed, images=images)
    return found if found.n > 1 else None


def failed(evaluation: Evaluation) -> list[str]:
    """A line for each kind of failure: what failed, on how many images, and why on the first of them."""
    kinds: dict[tuple[str, str], list[Failure]] = {}
    for failure in evaluation.failures:
        kinds.setdefault((failure.explainer, failure.metric), []).append(failure)
    return [
        f"{' of '.join(p for p in (metric, explainer) if p) or 'reading'} failed on {len(several)} "
        f"{'image' if len(several) == 1 else 'images'}: {several[0].image_id}: {several[0].error}"
        for (explainer, metric), several in kinds.items()
    ]
