"""LIF, MIF, SRG and pixel flipping: against literal re-writings, and on games with known answers."""

from itertools import permutations

import pytest
import torch
from support import metric_oracles as oracle
from support.metric_cases import SIZE
from support.metric_games import NETWORKS, additive_case, doubled, parts
from torch import Tensor

from seewhy import load
from seewhy.data import Shapes, batches
from seewhy.masking.players import Players
from seewhy.masking.values import Game
from seewhy.metrics import Case, metric


@pytest.mark.parametrize("network", NETWORKS)
def test_lif_mif_and_srg(network: str) -> None:
    case = doubled(network)
    lif, mif, srg = (metric(n, size=4, baseline="black").score(case) for n in ("lif", "mif", "srg"))
    for i in range(len(case.images)):
        f, x, c, a, b = parts(case, i, "black")
        division = oracle.patches(SIZE, SIZE, 4)

        def v(kept: set[int]) -> float:
            gone = [p for p in range(len(division)) if p not in kept]  # noqa: B023
            return oracle.probability(f, oracle.without(x, b, division, gone), c)  # noqa: B023

        expected = oracle.lif_mif(v, oracle.player_means(a, division))
        assert (float(lif[i]), float(mif[i])) == pytest.approx(expected, abs=1e-9)
        assert float(srg[i]) == pytest.approx(expected[0] - expected[1], abs=1e-9)


def test_an_additive_game_by_hand() -> None:
    """Weights 8, 4, 2, 1 in their order: LIF = (8 + 12 + 14 + 15) / 4, MIF = (1 + 3 + 7 + 15) / 4."""
    case = additive_case([8.0, 4.0, 2.0, 1.0], [4.0, 3.0, 2.0, 1.0])
    options = {"size": 2, "value": "logit"}
    assert float(metric("lif", **options).score(case)) == pytest.approx(49 / 4)
    assert float(metric("mif", **options).score(case)) == pytest.approx(26 / 4)
    assert float(metric("srg", **options).score(case)) == pytest.approx(23 / 4)
    pixel_patches = {"players": "patches", **options}
    assert float(metric("deletion", **pixel_patches).score(case)) == pytest.approx((15 + 7 + 3 + 1 - 7.5) / 4)
    assert float(metric("insertion", **pixel_patches).score(case)) == pytest.approx((8 + 12 + 14 + 7.5) / 4)
    assert float(metric("aopc", regions=2, **pixel_patches).score(case)) == pytest.approx((0 + 8 + 12) / 3)
    flipping = metric("pixel_flipping", points=100, **pixel_patches).score(case)
    assert float(flipping) == pytest.approx((14 + 12 + 8 - 7 - 3 - 1) / 4)


def test_the_best_order_scores_best_and_its_reverse_worst() -> None:
    scores = {
        order: float(
            metric("srg", size=2, value="logit").score(additive_case([8.0, 4.0, 2.0, 1.0], list(map(float, order))))
        )
        for order in permutations((4, 3, 2, 1))
    }
    assert max(scores, key=lambda o: scores[o]) == (4, 3, 2, 1)
    assert min(scores, key=lambda o: scores[o]) == (1, 2, 3, 4)
    assert sum(scores.values()) == pytest.approx(0, abs=1e-4)


def test_maps_of_zeros_gain_nothing_from_their_order() -> None:
    """One permutation for every image would let chance look like a finding: the intervals of ten seeds must cover 0."""
    classifier = load("shapes")
    batch = next(batches(Shapes(n=40, size=96), 40))
    missed = 0
    for seed in range(10):
        case = Case(classifier, batch.images, batch.labels, batch.labels, torch.zeros(40, 96, 96), seed=seed)
        scores = metric("srg", size=24).score(case).double()
        missed += bool(abs(scores.mean()) > 2 * scores.std() / 40**0.5)
    assert missed <= 2


def test_pixel_flipping_asks_for_the_sizes_of_the_papers_code() -> None:
    """np.geomspace(1, 25, 15, dtype=int), with none: the sizes are cut to whole numbers, not rounded."""
    classifier, asked = load("shapes/cnn"), set[int]()

    def value(images: Tensor, players: Players) -> Game:
        def game(rows: Tensor, kept: Tensor) -> Tensor:
            asked.update(kept.sum(1).tolist())
            return classifier.logits(images[rows])

        return game

    images = torch.rand(1, 3, 50, 50, generator=torch.Generator().manual_seed(0))
    case = Case(classifier, images, torch.tensor([0]), torch.tensor([0]), torch.rand(1, 50, 50), value=value)
    metric("pixel_flipping", players="patches", size=10).score(case)
    assert {25 - kept for kept in asked} == {0, 1, 2, 3, 5, 6, 7, 9, 12, 15, 19, 25}
