"""The geometry of charts: axes, ticks and labels."""

import pytest

from seewhy.report.charts import axis, round_values, spread_labels


def test_scales_and_ticks():
    assert round_values(0.0, 1.0) == (pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1]), 1)
    assert round_values(-3.0, 22.0)[0] == [0, 5, 10, 15, 20]
    ten = axis([1.0, 100.0], 0.0, 100.0, log=True, room=0.0)
    assert ten(10.0) == 50
    assert axis([2.0], 0.0, 100.0)(2.0) == 50
    assert axis([float("nan")], 0.0, 1.0)(0.5) == 0.5


def test_labels_keep_their_distance_and_stay_near():
    assert spread_labels([10.0, 50.0], 5.0, 0.0, 100.0) == [10, 50]
    assert spread_labels([50.0] * 3, 10.0, 0.0, 100.0) == [40, 50, 60]
    placed = spread_labels([99.0, 98.0, 0.0], 10.0, 0.0, 100.0)
    assert placed == [100, 90, 0]
    many = spread_labels([5.0] * 30, 10.0, 0.0, 100.0)
    assert min(many) >= 0
    assert max(many) <= 100
