"""Which images are shown, and why these."""

import numpy as np
import pytest
from support.report_pages import HIGH, SCORES, N, report
from support.run_folders import write_run

from seewhy.evaluation.run import open_run
from seewhy.report.pictures import Gallery, draw_sample, extremes
from seewhy.report.run_numbers import Key, MetricValues


def test_the_sample_is_of_correct_images_one_a_class_and_depends_on_the_seed(tmp_path):
    labels = [[i % 12] for i in range(60)]
    correct = [i % 5 != 0 for i in range(60)]
    folder = write_run(tmp_path / "run", {"gain": {"a": [0.5] * 60}}, labels=labels, correct=correct, pictures=50)
    run = open_run(folder)
    keys = Gallery(run).keys
    samples = [draw_sample(run, keys, seed) for seed in (0, 0, 1)]
    assert samples[0] == samples[1] != samples[2]
    assert (samples[0].correct, samples[0].classes, len(samples[0].images)) == (8, 12, 8)
    for shown in samples[0].images:
        assert correct[shown.key.image]
        assert labels[shown.key.image] == [shown.label]
        assert shown.key.image < 50
    assert len({shown.label for shown in samples[0].images}) == 8


def test_without_labels_the_sample_is_of_predicted_classes(tmp_path):
    run = open_run(write_run(tmp_path / "run", SCORES, labels=[[]] * N, correct=[None] * N, pictures=N))
    sample = draw_sample(run, Gallery(run).keys, 0)
    assert sample.correct is None
    assert [shown.label for shown in sample.images] == [0] * 4 + [1] * 4
    assert "the labels are not known" in report(tmp_path / "run").text


@pytest.mark.parametrize("right", [0, 3, 10])
def test_there_are_eight_images_also_of_one_class(tmp_path, right):
    """Those that are classified correctly come first, and others fill up."""
    correct = [i < right for i in range(N)]
    run = open_run(write_run(tmp_path / "run", SCORES, labels=[[0]] * N, correct=correct, pictures=N))
    sample = draw_sample(run, Gallery(run).keys, 0)
    assert len({shown.key.image for shown in sample.images}) == 8
    assert sample.correct == min(8, right)
    assert set(range(right)) <= {shown.key.image for shown in sample.images} or right > 8
    few = open_run(write_run(tmp_path / "few", SCORES, labels=[[0]] * N, pictures=3))
    assert len(draw_sample(few, Gallery(few).keys, 0).images) == 3


def test_best_and_worst_are_those_with_pictures_and_no_row_is_both():
    keys = [Key(i, 0) for i in range(5)]
    values = MetricValues(keys, np.array([[0.1], [0.5], [0.3], [0.5], [0.9]]), 0)
    best, worst = extremes(values, keys[:4], True)
    assert [(row.key.image, row.score) for row in best] == [(1, 0.5), (3, 0.5)]
    assert [(row.key.image, row.score) for row in worst] == [(0, 0.1), (2, 0.3)]
    assert [row.key.image for row in extremes(values, keys, False)[0]] == [0, 2, 1]
    assert extremes(values, keys[:1], True)[1] == []


def test_of_several_labels_the_likeliest_is_no_mistake(tmp_path):
    folder = write_run(tmp_path / "run", {"gain": {"a": HIGH[:1]}}, labels=[[0, 1]], keys=[(0, 1)], pictures=1)
    assert "cat 90" in " ".join(report(folder).text.split())
    text = report(write_run(tmp_path / "two", {"gain": {"a": HIGH[:1]}}, labels=[[1]], correct=[False], pictures=1)).text
    assert "dog, taken for cat" in text
    assert "1 image, drawn at random (seed 0), not for its looks: of 1 class; none is classified correctly" in text
