"""R-LIF, R-MIF and R-SRG: the probabilities of the draws, and the expectation over them."""

from dataclasses import replace

import pytest
import torch
from support import metric_oracles as oracle
from support.metric_cases import case_of
from support.metric_games import Additive, additive_case
from torch import nn

from seewhy import Classifier
from seewhy.metrics import metric
from seewhy.metrics.r_srg import draw_players


def test_draws_have_the_probabilities_of_drawing_without_replacement() -> None:
    weights = [0.5, 1.0, 0.25, 0.75]
    for size in (1, 2, 3):
        kept = draw_players(torch.tensor(weights), size, 40_000, torch.Generator().manual_seed(0))
        assert (kept.sum(1) == size).all()
        for members, chance in oracle.drawn_exactly(weights, size).items():
            row = torch.tensor([i in members for i in range(4)])
            assert float((kept == row).all(1).double().mean()) == pytest.approx(chance, abs=0.012)


def test_weights_of_zero_are_drawn_last_and_evenly() -> None:
    kept = draw_players(torch.tensor([1.0, 0.0, 0.0, 0.0]), 2, 30_000, torch.Generator().manual_seed(0))
    assert kept[:, 0].all()
    assert kept[:, 1:].double().mean(0).tolist() == pytest.approx([1 / 3] * 3, abs=0.015)


def test_r_lif_is_the_expectation_over_drawn_sets() -> None:
    weights, phi = [8.0, 4.0, 2.0, 1.0], [4.0, 3.0, 2.0, 1.0]
    case = additive_case(weights, phi, batch_size=4096)
    norm = [(p - 1) / 3 for p in phi]
    for name, w in (("r_lif", norm), ("r_mif", [1 - p for p in norm])):
        got = float(metric(name, size=2, value="logit", n_draws=20_000).score(case))
        expected = 0.0
        for size in range(1, 5):
            # the player of weight 0 enters when all others are there
            sets = oracle.drawn_exactly(w, size) if size < 4 else {frozenset(range(4)): 1.0}
            expected += sum(chance * sum(weights[i] for i in members) for members, chance in sets.items()) / 4
        assert got == pytest.approx(expected, abs=0.03)
    gain = metric("r_srg", size=2, value="logit", n_draws=64).score(case)
    parts = [metric(n, size=2, value="logit", n_draws=64).score(case) for n in ("r_lif", "r_mif")]
    assert torch.equal(gain, parts[0] - parts[1])


def test_fewer_sizes_estimate_the_same() -> None:
    case = case_of("cnn")
    full = metric("r_lif", size=2, n_draws=40).score(case)
    fewer = metric("r_lif", size=2, n_draws=40, steps=16).score(case)
    torch.testing.assert_close(fewer, full, atol=0.03, rtol=0)


@pytest.mark.parametrize("name", ["r_lif", "r_mif", "r_srg"])
def test_the_curve_has_the_means_of_each_size(name: str) -> None:
    """Of 40 players: the curve at k / 40 is the mean of sets of k players, and the score the mean of the curve."""
    weights, phi = [float(w) for w in torch.arange(40) % 7], [float(w) for w in torch.arange(40, 0, -1)]
    network = nn.Sequential(nn.Flatten(), nn.Linear(120, 2))
    base = replace(additive_case(weights[:4], phi[:4]), classifier=Classifier(network, (0.0,) * 3, (1.0,) * 3, (4, 10)),
                   images=torch.rand(1, 3, 4, 10), attributions=torch.tensor(phi).view(1, 4, 10))  # fmt: skip
    measure, case = metric(name, players="pixels", value="logit", n_draws=8), replace(base, value=Additive(weights))
    places, values = measure.curve(case)  # type: ignore[attr-defined]
    assert list(places) == [i / 40 for i in range(41)]
    assert float(values[0, 1:].mean()) == pytest.approx(float(measure.score(case)), abs=1e-4)
    assert float(values[0, -1]) == pytest.approx(0 if name == "r_srg" else sum(weights), abs=1e-4)
