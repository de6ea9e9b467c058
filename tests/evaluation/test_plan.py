"""Which images a limit takes."""

import numpy as np
import pytest
from support.evaluations import METRICS, N, measured

from seewhy.errors import SeewhyError
from seewhy.evaluation.plan import spread_order


def test_a_few_images_are_spread_evenly_and_are_among_more() -> None:
    for n in (1, 2, 7, 16, 200):
        ranks = spread_order(n)
        assert sorted(ranks) == list(range(n))
        for few in (3, 5, 20):
            there = [i for i in range(n) if ranks[i] < few]
            gaps = np.diff([-1, *there, n])
            assert len(there) == min(few, n)
            assert gaps.max() <= 2 * n / few + 2


def test_slow_ones_are_asked_for_fewer_images() -> None:
    limits = {"deletion": 5, "grad_cam": 3, "watched/complexity": 0}
    found = measured(None, limits=limits)
    counts = {(e, m): len(found.image_ids(e, m)) for e in ("watched", "grad_cam") for m in METRICS}
    assert counts == {
        ("watched", "deletion"): 5,
        ("watched", "relevance_mass"): N,
        ("watched", "complexity"): 0,
        ("grad_cam", "deletion"): 3,
        ("grad_cam", "relevance_mass"): 3,
        ("grad_cam", "complexity"): 3,
    }
    assert set(found.image_ids("grad_cam", "deletion")) < set(found.image_ids("watched", "deletion"))
    whole = measured(None)
    a, b = ({r[:5]: r.value for r in e.rows} for e in (found, whole))
    assert all(b[key] == pytest.approx(value, abs=1e-5) for key, value in a.items())
    with pytest.raises(SeewhyError, match="a limit for delition, which is no explainer, metric or EXPLAINER/METRIC"):
        measured(None, limits={"delition": 3})
