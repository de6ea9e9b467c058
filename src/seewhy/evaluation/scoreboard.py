"""The table of an evaluation for a terminal, and the interval of each figure."""

from math import isnan, nan

from rich.table import Table
from rich.text import Text
from torch import from_numpy

from seewhy.evaluation.evaluate import Evaluation
from seewhy.evaluation.failures import Failure
from seewhy.evaluation.statistics import Estimate, figure_interval, mean_interval
from seewhy.metrics import Metric
from seewhy.metrics.base import Reduces

MAX_COLUMNS = 8
"""Up to this many metrics are columns of the table; more metrics are rows."""
MAX_READS = 2_000_000_000
"""Budget of one bootstrap: resamples x scores. At least 200 resamples are drawn."""


def figures_table(evaluation: Evaluation) -> Table:
    """Figures by explainer and metric. An arrow says which way is better, and the best figure is bold."""
    metrics = evaluation.metrics
    figures = {e: {name: row.get(name, nan) for name in metrics} for e, row in evaluation.table().items()}
    headings = {name: f"{name} {arrow(m.higher_is_better)}".strip() for name, m in metrics.items()}
    best = {name: _best([row[name] for row in figures.values()], m) for name, m in metrics.items()}

    def cell(explainer: str, name: str) -> Text:
        value = figures[explainer][name]
        style = "bold" if len(figures) > 1 and value == best[name] else ""
        return Text("–" if isnan(value) else f"{value:.4g}", style=style)

    shown = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    shown.add_column("metric" if len(metrics) > MAX_COLUMNS else "explainer", no_wrap=True)
    if len(metrics) > MAX_COLUMNS:
        for explainer in figures:
            shown.add_column(explainer, justify="right")
        for name in metrics:
            shown.add_row(headings[name], *(cell(explainer, name) for explainer in figures))
    else:
        for name in metrics:
            shown.add_column(headings[name], justify="right")
        for explainer in figures:
            shown.add_row(explainer, *(cell(explainer, name) for name in metrics))
    return shown


def arrow(higher_is_better: bool | None) -> str:
    """The sign of the better direction; none where no direction is better."""
    return {True: "↑", False: "↓", None: ""}[higher_is_better]


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
        reduce, trials = metric.reduce, max(200, min(2_000, MAX_READS // scores.numel()))
        found = figure_interval(numbers, lambda drawn: reduce(from_numpy(drawn)), trials=trials, seed=seed, images=images)
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
