"""SaCo: against the paper's algorithm, pair by pair, and on games with known answers."""

import pytest
from support import metric_oracles as oracle
from support.metric_cases import SIZE, case_of
from support.metric_games import NETWORKS, additive_case, doubled, parts

from seewhy.masking.tokens import RemoveTokens
from seewhy.masking.values import HasPlayers
from seewhy.metrics import metric


def saco(s: list[float], falls: list[float]) -> float:
    """Algorithm 1."""
    found = total = 0.0
    for i in range(len(s) - 1):
        for j in range(i + 1, len(s)):
            weight = s[i] - s[j] if falls[i] >= falls[j] else -(s[i] - s[j])
            found += weight
            total += abs(weight)
    return found / total


@pytest.mark.parametrize("network", NETWORKS)
def test_algorithm_1(network: str) -> None:
    case = doubled(network)
    got = metric("saco", groups=8, baseline="black").score(case)
    for i in range(len(case.images)):
        f, x, c, a, b = parts(case, i, "black")
        pixels = oracle.pixels(SIZE, SIZE)
        order = oracle.order_of(oracle.player_means(a, pixels))
        each = len(order) // 8
        groups = [order[start : start + each] for start in range(0, len(order), each)]
        s = [sum(float(a[pixels[p][0]]) for p in group) for group in groups]
        whole = oracle.probability(f, x, c)
        falls = [whole - oracle.probability(f, oracle.without(x, b, pixels, group), c) for group in groups]
        assert float(got[i]) == pytest.approx(saco(s, falls), abs=1e-4)


def test_a_pair_counts_by_what_is_claimed() -> None:
    """Attributions 4, 3, 2, 1; the last two are exchanged: one pair of weight 1 of pairs that weigh 1+2+3+1+2+1 is wrong."""
    options = {"players": "patches", "size": 2, "groups": 4, "value": "logit"}
    assert float(
        metric("saco", **options).score(additive_case([8.0, 4.0, 2.0, 1.0], [4.0, 3.0, 2.0, 1.0]))
    ) == pytest.approx(1)
    assert float(
        metric("saco", **options).score(additive_case([1.0, 2.0, 4.0, 8.0], [4.0, 3.0, 2.0, 1.0]))
    ) == pytest.approx(-1)
    assert float(
        metric("saco", **options).score(additive_case([8.0, 4.0, 1.0, 2.0], [4.0, 3.0, 2.0, 1.0]))
    ) == pytest.approx(8 / 10, abs=1e-4)
    assert float(
        metric("saco", **options).score(additive_case([5.0, 5.0, 5.0, 5.0], [4.0, 3.0, 2.0, 1.0]))
    ) == pytest.approx(1)  # ">="


def test_players_of_a_surrogate_take_the_place_of_pixels() -> None:
    case = case_of("vit_registers")

    class Surrogate(RemoveTokens):
        def players(self, images):  # type: ignore[no-untyped-def]
            from seewhy.masking.tokens import network_patches

            return network_patches("tokens", self.classifier, images)

    value = Surrogate(case.classifier)
    assert isinstance(value, HasPlayers)
    own = case_of("vit_registers", value=value)
    patches = metric("saco", players="patches", size=4, removal="tokens").score(case)
    assert metric("saco").score(own).tolist() == pytest.approx(patches.tolist(), abs=1e-6)
