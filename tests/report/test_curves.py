"""Curves are means over images, with labels in the order of the lines."""

import numpy as np
import pytest
from support.report_pages import HIGH, NEAR, N
from support.run_folders import metric_about, write_run

from seewhy.evaluation.run import open_run
from seewhy.report.curves import curve_charts


def test_curves_are_means_over_images(tmp_path):
    drawn = {"gain": {"a": [[0.0, 1.0]] * N, "b": [[1.0, np.nan]] + [[1.0, 0.5]] * (N - 1)}}
    about = {"gain": metric_about(axes=["share", "probability"])}
    numbers = {"gain": {"a": HIGH, "b": NEAR}, "other": {"a": HIGH, "b": NEAR}}
    run = open_run(write_run(tmp_path / "run", numbers, about, curves=drawn, places={"gain": [0.0, 1.0]}))
    (chart,) = curve_charts(run)
    assert (chart.metric, chart.axes) == ("gain", ("share", "probability"))
    ends = [[float(xy.split(",")[1]) for xy in series.path[1:].split("L")] for series in chart.series]
    assert ends[0][0] > ends[0][1], "SVG counts downward"
    assert ends[1][0] == ends[0][1], "both are 1 there"
    assert ends[1][1] == pytest.approx((ends[0][0] + ends[0][1]) / 2)
    assert chart.series[1].summary == "b: from 1 to 0.5"


def test_labels_stand_in_the_order_of_the_lines(tmp_path):
    drawn = {"gain": {"a": [[1.0, 0.1, 0.5]] * 3, "b": [[1.0, 0.9, 0.5]] * 3}}
    run = open_run(
        write_run(tmp_path / "run", {"gain": {n: [0.5] * 3 for n in "ab"}}, curves=drawn, places={"gain": [0, 1, 2]})
    )
    a, b = curve_charts(run)[0].series
    assert a.end_y == b.end_y
    assert a.label_y > b.label_y, "b is above a"
