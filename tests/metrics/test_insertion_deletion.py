"""Deletion, insertion and AOPC against literal re-writings."""

import pytest
from support import metric_oracles as oracle
from support.metric_cases import SIZE
from support.metric_games import NETWORKS, doubled, parts

from seewhy.metrics import metric
from seewhy.metrics.curves import subset_sizes


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("size", [4, 5])
def test_deletion_insertion_and_aopc(network: str, size: int) -> None:
    case = doubled(network)
    options = {"players": "patches", "size": size, "baseline": "black"}
    deletion = metric("deletion", steps=1000, **options).score(case)
    insertion = metric("insertion", steps=1000, **options).score(case)
    aopc = metric("aopc", regions=5, **options).score(case)
    for i in range(len(case.images)):
        division = oracle.patches(SIZE, SIZE, size)
        down = oracle.deletion_curve(*parts(case, i, "black"), division)
        up = oracle.insertion_curve(*parts(case, i, "black"), division)
        shares = [k / len(division) for k in range(len(division) + 1)]
        assert float(deletion[i]) == pytest.approx(oracle.trapezoid(down, shares), abs=1e-9)
        assert float(insertion[i]) == pytest.approx(oracle.trapezoid(up, shares), abs=1e-9)
        assert float(aopc[i]) == pytest.approx(oracle.aopc(down, 5), abs=1e-9)


def test_deletion_of_pixels_in_steps() -> None:
    """Steps that do not divide the number of pixels: exact counts, true shares."""
    case = doubled("cnn")
    got = metric("deletion", steps=7, baseline="white").score(case)
    ks = subset_sizes(SIZE**2, 7)
    assert ks == [0, 37, 73, 110, 146, 183, 219, 256]
    for i in range(len(case.images)):
        f, x, c, a, b = parts(case, i, "white")
        division, order = oracle.pixels(SIZE, SIZE), oracle.order_of(list(a.flatten()))
        values = [oracle.probability(f, oracle.without(x, b, division, order[:k]), c) for k in ks]
        assert float(got[i]) == pytest.approx(oracle.trapezoid(values, [k / 256 for k in ks]), abs=1e-9)


@pytest.mark.parametrize(("p", "width", "sizes"), [(9, 3, [0, 3, 6, 9]), (10, 4, [0, 4, 8, 10]), (3, 8, [0, 3])])
def test_a_step_of_a_fixed_width(p: int, width: int, sizes: list[int]) -> None:
    """The last step takes the rest."""
    assert metric("deletion", width=width).sizes(p) == sizes  # type: ignore[attr-defined]
    assert metric("insertion", width=width).sizes(p) == sizes  # type: ignore[attr-defined]


def test_a_width_of_one_pixel_is_every_size_and_no_width_goes_by_steps() -> None:
    case = doubled("cnn")
    every = metric("deletion", width=1).score(case)
    assert every.tolist() == pytest.approx(metric("deletion", steps=SIZE * SIZE).score(case).tolist())
    assert metric("deletion").sizes(224 * 224) == list(range(0, 224 * 224 + 1, 224))  # type: ignore[attr-defined]
