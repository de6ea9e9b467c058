"""The single-deletion score: against a literal re-writing, on a game with a known answer, and its players."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from support import metric_oracles as oracle
from support.metric_cases import SIZE, case_of
from support.metric_games import NETWORKS, additive_case, doubled, parts

from seewhy.errors import SeewhyError
from seewhy.masking.tokens import RemoveTokens
from seewhy.metrics import metric


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("value", "size"), [("logit", 4), ("probability", 6)])
def test_as_the_papers_code_has_it(network: str, value: str, size: int) -> None:
    case = doubled(network)
    got = metric("single_deletion", size=size, value=value, baseline="black").score(case)
    for i in range(len(case.images)):
        f, x, c, a, b = parts(case, i, "black")
        cells = oracle.patches(SIZE, SIZE, size)

        def read(image: oracle.Array) -> float:
            return float(f(image)[c]) if value == "logit" else oracle.probability(f, image, c)  # noqa: B023

        sums = [sum(a[p] for p in cell) for cell in cells]
        falls = [read(x) - read(oracle.without(x, b, cells, [j])) for j in range(len(cells))]
        assert float(got[i]) == pytest.approx(spearmanr(sums, falls).statistic, abs=1e-9)


def test_the_map_of_the_effects_scores_one_and_its_opposite_minus_one() -> None:
    options = {"size": 2, "value": "logit"}
    assert (
        float(metric("single_deletion", **options).score(additive_case([8.0, -4.0, 2.0, 1.0], [8.0, -4.0, 2.0, 1.0]))) == 1
    )
    assert (
        float(metric("single_deletion", **options).score(additive_case([8.0, -4.0, 2.0, 1.0], [-8.0, 4.0, -2.0, -1.0])))
        == -1
    )


def test_effects_that_differ_by_rounding_are_equal() -> None:
    """Two of four players do nothing but for rounding: whatever the noise says of their order, they share a rank."""
    for noise in ([1e-7, -1e-7], [-1e-7, 1e-7]):
        case = additive_case([8.0, 4.0, *noise], [4.0, 3.0, 2.0, 1.0])
        expected = spearmanr([4, 3, 2, 1], [8, 4, 0, 0]).statistic
        assert float(metric("single_deletion", size=2, value="logit").score(case)) == pytest.approx(expected, abs=1e-6)


def test_a_grid_of_four_by_default() -> None:
    case = case_of("cnn")
    assert torch.equal(metric("single_deletion").score(case), metric("single_deletion", size=SIZE // 4).score(case))


def test_the_grid_is_of_whole_patches_where_tokens_are_removed() -> None:
    """Patches of 4 pixels in 16: a quarter is one patch. As the case's own value function the answer is the same."""
    case = case_of("vit_registers")
    by_option = metric("single_deletion", removal="tokens").score(case)
    own = case_of("vit_registers", value=RemoveTokens(case.classifier))
    torch.testing.assert_close(metric("single_deletion", size=4).score(own), by_option)
    assert np.isfinite(by_option).all()


def test_players_that_the_network_cannot_remove_are_one_line() -> None:
    measure = metric("single_deletion", removal="tokens", size=3)
    with pytest.raises(SeewhyError, match="whole patches"):
        measure.suits(case_of("vit_registers").classifier)  # type: ignore[attr-defined]
