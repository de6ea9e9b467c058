"""Cost against quality: the front, and what competes."""

import pytest
from support.report_pages import SCORES, board
from support.run_folders import write_run

from seewhy.evaluation.run import open_run
from seewhy.report.cost import front, scatters, seconds_each


def test_the_front_is_what_nothing_beats():
    points = {"cheap": (1.0, 5.0), "good": (3.0, 1.0), "beaten": (3.5, 2.0), "same": (3.0, 1.0), "costly": (9.0, 1.0)}
    assert front(points) == ["cheap", "good", "same"]


def test_cost_is_seconds_of_a_row_and_references_do_not_compete(tmp_path):
    explainers = {n: {"method": n, "family": "reference" if n == "a" else "cam", "options": {}} for n in "abc"}
    run = open_run(write_run(tmp_path / "run", SCORES, explainers=explainers))
    assert seconds_each(run) == pytest.approx({"a": 0.1, "b": 0.2, "c": 0.3})
    chart = scatters(run, [board(run.folder)])[0]
    assert [p.name for p in chart.marks if p.front] == ["b"]
    assert [p.name for p in chart.marks if p.reference] == ["a"]
    assert chart.marks[0].x < chart.marks[1].x < chart.marks[2].x
    assert chart.marks[0].y < chart.marks[2].y, "0.85 stands above 0.145"
