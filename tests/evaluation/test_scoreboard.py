"""The table of an evaluation for a terminal, the interval of each figure, and the lines about failures."""

from dataclasses import replace

import polars as pl
import pytest
import torch
from rich.console import Console

import seewhy
from seewhy.evaluation.evaluate import Evaluation
from seewhy.evaluation.failures import Failure
from seewhy.evaluation.scoreboard import MAX_COLUMNS, failed, figures_table, interval
from seewhy.evaluation.statistics import figure_interval, mean_interval


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    classifier = seewhy.load("shapes", options={"size": 32})
    dataset = seewhy.DATASETS["shapes"](n=5, size=32)  # type: ignore[call-arg]
    metrics = ["complexity", "sparseness", "relevance_mass", "class_masks", "seconds"]
    return seewhy.evaluate(classifier, ["grad_cam", "saliency"], metrics, dataset)


def printed(evaluation: Evaluation) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(figures_table(evaluation))
    return capture.get()


def test_the_table_has_every_figure_and_says_which_way_is_better(evaluation: Evaluation) -> None:
    heading, *rows = printed(evaluation).splitlines()
    assert heading.split()[0] == "explainer"
    assert "relevance_mass ↑" in heading
    assert "seconds ↓" in heading
    assert [row.split()[0] for row in rows] == ["grad_cam", "saliency"]
    for row in rows:
        name, *figures = row.split()
        assert figures == [f"{evaluation.table()[name][metric]:.4g}" for metric in evaluation.metrics]
    assert len(evaluation.metrics) <= MAX_COLUMNS


def test_an_interval_is_that_of_the_statistics(evaluation: Evaluation) -> None:
    scores = evaluation.scores("grad_cam", "relevance_mass")
    found = interval(evaluation, "grad_cam", "relevance_mass")
    assert found == mean_interval(scores.numpy(), images=evaluation.image_ids("grad_cam", "relevance_mass"))
    rows = evaluation.scores("grad_cam", "class_masks")
    reduce = evaluation.metrics["class_masks"].reduce  # type: ignore[attr-defined]
    expected = figure_interval(rows.numpy(), lambda drawn: reduce(torch.from_numpy(drawn)))
    assert interval(evaluation, "grad_cam", "class_masks") == pytest.approx(expected)
    assert interval(evaluation, "grad_cam", "seconds") is None, "one measurement stands for a batch"


def test_nothing_failed(evaluation: Evaluation) -> None:
    assert failed(evaluation) == []


def test_a_notebook_shows_the_table_with_intervals(evaluation: Evaluation) -> None:
    page = evaluation._repr_html_()
    rows = page.split("<tr>")
    assert len(rows) == 2 + 2
    for explainer, row in zip(["grad_cam", "saliency"], rows[2:], strict=True):
        assert row.startswith(f"<th>{explainer}</th>")
        cells = row.split("<td")[1:]
        for name, cell in zip(evaluation.metrics, cells, strict=True):
            assert f"{evaluation.table()[explainer][name]:.4g}" in cell
            estimate = interval(evaluation, explainer, name)
            assert ("<small>" in cell) == (estimate is not None)
            if estimate is not None:
                assert f"<small>{estimate.low:.3g} to {estimate.high:.3g}</small>" in cell
    assert "5 images; below each figure its 95 % interval" in page


def test_names_and_errors_are_no_markup(evaluation: Evaluation) -> None:
    bad = "<script>x</script>"
    frame = evaluation.frame.with_columns(explainer=pl.col("explainer").replace("grad_cam", bad))
    failure = Failure(0, "a<b>.png", bad, "", "<img src=x>")
    page = replace(evaluation, frame=frame, failures=[failure])._repr_html_()
    assert "&lt;script&gt;" in page
    for raw in ("<script", "<img", "a<b>"):
        assert raw not in page
