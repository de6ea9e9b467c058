"""The similarity of maps is a rank correlation, and the least similar ones are shown."""

import numpy as np
import pytest

from seewhy.report.map_similarity import map_similarity


def test_likeness_is_rank_correlation_of_coarse_maps():
    ramp = np.arange(28 * 28, dtype=np.float32).reshape(28, 28)
    key = (3, 1)
    maps = {"a": {key: ramp}, "b": {key: 5 * ramp**3}, "c": {key: -ramp}, "d": {key: np.ones((28, 28), np.float32)}, "e": {}}
    found = map_similarity(maps)
    assert found.explainers == ["a", "b", "c", "d"]
    assert found.means[0, :3] == pytest.approx([1, 1, -1])
    assert np.isnan(found.means[3]).all(), "a constant map orders nothing"
    lowest = found.lowest(["a", "b", "c", "d"])
    assert [(d.first, d.second, round(d.correlation, 6)) for d in lowest] == [("a", "c", -1.0)], "no image twice"
    assert found.lowest(["a", "b"])[0].correlation == pytest.approx(1)
    assert map_similarity({"a": {}}).lowest(["a"]) == []


def test_the_images_with_the_least_agreement_are_different_images_and_pairs():
    random = np.random.default_rng(0)
    keys = [(image, explained) for image in range(5) for explained in (0, 1)]
    maps = {name: {key: random.normal(size=(28, 28)).astype(np.float32) for key in keys} for name in "abc"}
    lowest = map_similarity(maps).lowest(list("abc"))
    assert len(lowest) == 3, "of three pairs"
    assert len({d.key.image for d in lowest}) == 3
    assert len({(d.first, d.second) for d in lowest}) == 3
    assert [d.correlation for d in lowest] == sorted(d.correlation for d in lowest)
    twice = {"a": {(0, 0): maps["a"][0, 0], (0, 1): maps["a"][0, 1]}, "b": maps["b"], "c": maps["c"]}
    assert len(map_similarity(twice).lowest(list("abc"))) == 1, "two rows of one image"
