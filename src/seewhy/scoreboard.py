"""The table of an evaluation, for a terminal and for files."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text
from torch import from_numpy

from seewhy.evaluation import Evaluation
from seewhy.explainers import Explainer
from seewhy.metrics import Metric
from seewhy.metrics.base import Reduces
from seewhy.results import environment, staged
from seewhy.statistics import Estimate, figure_interval, mean_interval

WIDE = 8
"""With more metrics than this they are rows, not columns."""
NUMBERS = 2_000_000_000
"""That the resamples of one figure may read; a large dataset has fewer of them, but no less than 200."""
ARROW = {True: " ↑", False: " ↓", None: ""}


def table(evaluation: Evaluation) -> Table:
    """Explainers and metrics; an arrow says which way is better, and the best figure is bold."""
    figures, metrics = evaluation.table(), evaluation.metrics
    headings = {name: name + ARROW[m.higher_is_better] for name, m in metrics.items()}
    best = {name: _best([row[name] for row in figures.values()], m) for name, m in metrics.items()}

    def cell(explainer: str, name: str) -> Text:
        value = figures[explainer][name]
        return Text(f"{value:.4g}", style="bold" if len(figures) > 1 and value == best[name] else "")

    shown = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    shown.add_column("metric" if len(metrics) > WIDE else "explainer", no_wrap=True)
    if len(metrics) > WIDE:
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


def _best(values: list[float], metric: Metric) -> float | None:
    if metric.higher_is_better is None:
        return None
    return max(values) if metric.higher_is_better else min(values)


def interval(evaluation: Evaluation, explainer: str, name: str, seed: int = 0) -> Estimate | None:
    """The 95 % interval of a figure over images; None for one image, or scores that are not finite."""
    metric, scores = evaluation.metrics[name], evaluation.scores(explainer, name)
    if not scores.isfinite().all() or metric.family == "cost":  # one measurement stands in every row of its batch
        return None
    images, numbers = evaluation.images(explainer, name), scores.numpy()
    if isinstance(metric, Reduces):
        reduce, trials = metric.reduce, max(200, min(2_000, NUMBERS // scores.numel()))
        found = figure_interval(numbers, lambda drawn: reduce(from_numpy(drawn)), trials=trials, seed=seed, images=images)
    else:
        found = mean_interval(numbers, seed=seed, images=images)
    return found if found.n > 1 else None


def write(
    folder: str | Path, evaluation: Evaluation, explainers: Mapping[str, Explainer], details: Mapping[str, object]
) -> list[Path]:
    """``scores.csv`` (a row for each number), ``table.csv`` and ``manifest.json``; whole or not at all.

    ``table.csv`` has each figure, and the ends of its 95 % interval; they are empty where there is none.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["explainer", *(f"{name}{end}" for name in evaluation.metrics for end in ("", " low", " high"))])
    for explainer, figures in evaluation.table().items():
        cells: list[float | str] = []
        for name in evaluation.metrics:
            found = interval(evaluation, explainer, name)
            cells += [figures[name], *(("", "") if found is None else (found.low, found.high))]
        writer.writerow([explainer, *cells])
    manifest = {
        **details,
        **environment(),
        "explainers": {name: _options(method) for name, method in explainers.items()},
        "metrics": {
            name: {"options": _metric_options(m), "reads": m.reads, "paper": m.paper, "class in the paper": m.target}
            for name, m in evaluation.metrics.items()
        },
        "rows": len(evaluation.rows),
    }
    with staged(folder) as staging:
        (staging / "scores.csv").write_text(evaluation.csv(), encoding="utf-8")
        (staging / "table.csv").write_text(text.getvalue(), encoding="utf-8")
        (staging / "manifest.json").write_text(json.dumps(manifest, indent=2, default=str) + "\n", encoding="utf-8")
    return [Path(folder) / name for name in ("scores.csv", "table.csv", "manifest.json")]


def _metric_options(metric: Metric) -> dict[str, Any]:
    return asdict(metric) if is_dataclass(metric) and not isinstance(metric, type) else {}


def _options(explainer: Explainer) -> dict[str, object]:
    if not is_dataclass(explainer):
        return {}
    return {f.name: str(getattr(explainer, f.name)) for f in fields(explainer) if f.name != "classifier"}
