"""A figure, its interval, who leads, and the ranks are those that the statistics give."""

import numpy as np
import pytest
from support.report_pages import HIGH, NEAR, SCORES, N, board, report
from support.run_folders import metric_about, write_run

from seewhy.evaluation.statistics import figure_interval, mean_interval, median_interval


def test_a_figure_is_the_mean_with_the_interval_of_the_statistics(tmp_path):
    found = board(write_run(tmp_path / "run", SCORES))
    assert found.entries["a"].figure.value == pytest.approx(0.85)
    assert found.entries["c"].figure.value == pytest.approx(0.145)
    for name, scores in SCORES["gain"].items():
        assert found.entries[name].figure == pytest.approx(mean_interval(scores))
        assert found.entries[name].median == pytest.approx(median_interval(scores, trials=1000))
    assert found.entries["a"].rows == N
    assert found.entries["a"].left_out == 0


def test_the_best_and_those_that_may_be_as_good_are_marked(tmp_path):
    found = board(write_run(tmp_path / "run", SCORES))
    assert {name: cell.standing for name, cell in found.entries.items()} == {"a": "best", "b": "level", "c": ""}
    assert found.leader == "a"
    assert found.order == ["a", "b", "c"]
    assert [found.entries[name].rank.rank for name in "abc"] == [1, 2, 3]
    assert found.entries["c"].rank.low == 3


@pytest.mark.parametrize(("names", "n", "wanted"), [("ab", 5, 6), ("ab", 6, None), ("abc", 6, 7), ("abcdef", 9, 10)])
def test_too_few_images_for_the_test_are_said(tmp_path, names, n, wanted):
    """However they differ: of n images the smallest p-value is 2^(1 - n), times the number of pairs."""
    scores = {"gain": {name: [0.1 * i + 0.001 * j for j in range(n)] for i, name in enumerate(names)}}
    found = board(write_run(tmp_path / "run", scores))
    assert found.wanted == wanted
    assert bool(found.level) == (wanted is not None)
    assert (f"take at least {wanted}" in report(tmp_path / "run").text) == (wanted is not None)


def test_lower_may_be_better_and_neither_may_be(tmp_path):
    abouts = {"gain": metric_about(False), "size": metric_about(None), "seconds": metric_about(False, "cost")}
    folder = write_run(tmp_path / "run", dict.fromkeys(abouts, SCORES["gain"]), abouts)
    assert board(folder).leader == "c"
    assert {cell.standing for cell in board(folder, "size").entries.values()} == {""}
    assert board(folder, "size").entries["a"].rank is None
    cost = board(folder, "seconds").entries["a"]
    assert np.isnan(cost.figure.low), "one measurement stands in every row of its batch"
    assert (cost.figure.value, cost.median, cost.rank, cost.standing) == (pytest.approx(0.85), None, None, "")


def test_a_metric_with_several_numbers_makes_its_own_figure(tmp_path):
    # class_masks: the probabilities under the maps of two classes, without a mask, and which class is the own one
    rows = [[0.9, 0.2, 0.8, 1.0, 0.0], [0.3, 0.7, 0.8, 0.0, 1.0]] * 4
    worse = [[0.5, 0.5, 0.8, 1.0, 0.0], [0.5, 0.4, 0.8, 0.0, 1.0]] * 4
    about = metric_about(True, "specificity", metric="class_masks")
    found = board(write_run(tmp_path / "run", {"masks": {"a": rows, "b": worse}}, {"masks": about}), "masks")
    assert found.entries["a"].figure.value == pytest.approx((0.7 + 0.4) / 2)
    assert found.entries["b"].figure.value == pytest.approx((0.0 - 0.1) / 2)
    by_hand = figure_interval(rows, lambda drawn: float(((drawn[:, 0] - drawn[:, 1]) * (drawn[:, 3] - drawn[:, 4])).mean()))
    assert found.entries["a"].figure == pytest.approx(by_hand)
    assert found.entries["a"].median is None
    assert {name: cell.standing for name, cell in found.entries.items()} == {"a": "best", "b": ""}
    assert [found.entries[name].rank.rank for name in "ab"] == [1, 2]
    assert np.isnan(found.entries["a"].rank.low)


def test_scores_that_are_not_finite_are_left_out_and_said(tmp_path):
    folder = write_run(tmp_path / "run", {"gain": {"a": [np.nan, *HIGH[1:]], "b": NEAR}, "all": {"a": [np.inf] * N}})
    found = board(folder)
    assert found.entries["a"].figure.value == pytest.approx(np.mean(HIGH[1:]))
    assert (found.entries["a"].rows, found.entries["a"].left_out) == (N - 1, 1)
    assert found.shared == N - 1
    text = report(folder).text
    assert "n = 9, 1 not finite" in text
    assert "all is not in the table: it has no finite score" in text
    assert "gain is compared on 9 images" in text


def test_the_rows_of_one_image_are_drawn_together(tmp_path):
    keys = [(i, c) for i in range(5) for c in (0, 1)]
    found = board(write_run(tmp_path / "run", SCORES, keys=keys))
    assert found.entries["a"].figure == pytest.approx(mean_interval(HIGH, images=[i for i, _ in keys]))
    assert (found.entries["a"].figure.n, found.entries["a"].rows, found.shared) == (5, 10, 5)


def test_an_explainer_with_fewer_images_is_compared_on_them(tmp_path):
    found = board(write_run(tmp_path / "run", {"gain": {"a": HIGH, "b": NEAR[:6]}}))
    assert (found.entries["a"].figure.n, found.entries["b"].figure.n, found.shared) == (10, 6, 6)
    assert found.leader == "a"


def test_one_with_few_images_does_not_leave_the_others_only_these(tmp_path):
    """It has no rank, and is compared with the best on what both have: on four images nothing can be told apart."""
    low = [value - 0.5 for value in HIGH]
    found = board(write_run(tmp_path / "run", {"gain": {"a": HIGH, "b": low, "few": low[:4]}}))
    assert found.shared == 10
    assert {name: cell.standing for name, cell in found.entries.items()} == {"a": "best", "b": "", "few": "level"}
    assert [found.entries[name].rank is None for name in ("a", "b", "few")] == [False, False, True]
    better = board(write_run(tmp_path / "other", {"gain": {"a": low, "b": low, "few": HIGH[:4]}}))
    assert better.leader in ("a", "b"), "the best is one of those that were seen on most images"
