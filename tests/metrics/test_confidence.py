"""Average drop, gain and increase: against literal re-writings, by hand, and where probabilities round to 1."""

import numpy as np
import pytest
import torch
from support import metric_oracles as oracle
from support.metric_games import NETWORKS, doubled, parts
from torch import Tensor, nn

from seewhy import Classifier
from seewhy.metrics import Case, metric


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("baseline", ["black", "mean_color", "blur"])
def test_drop_gain_and_increase(network: str, baseline: str) -> None:
    case = doubled(network)
    scores = [metric(f"average_{name}", baseline=baseline).score(case) for name in ("drop", "gain", "increase")]
    for i in range(len(case.images)):
        expected = oracle.drop_gain_increase(*parts(case, i, baseline))
        assert [float(s[i]) for s in scores] == pytest.approx(expected, abs=1e-9)


def odds_case(weight: float, bias: float, maps: Tensor) -> Case:
    """Two pixels of value 1; the log-odds of class 1 are weight * (first red pixel) + bias, so p = sigmoid of that."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(6, 2))
    with torch.no_grad():
        module[1].weight.zero_()[1, 0] = weight
        module[1].bias.copy_(torch.tensor([0.0, bias]))
    one = torch.ones(1, dtype=torch.long)
    return Case(Classifier(module, (0.0,) * 3, (1.0,) * 3, (1, 2)), torch.ones(1, 3, 1, 2), one, one, maps)


def test_drop_gain_and_increase_by_hand() -> None:
    """p = 3/4 on the image; a mask that hides the first pixel leaves 1/2, or 9/10 where the pixel speaks against."""
    hide = torch.tensor([[[0.0, 1.0]]])
    falls = odds_case(float(np.log(3)), 0.0, hide)  # log-odds log 3, without the pixel 0
    rises = odds_case(float(np.log(3) - np.log(9)), float(np.log(9)), hide)  # without the pixel log 9
    drop, gain, increase = (metric(f"average_{name}") for name in ("drop", "gain", "increase"))
    assert [float(m.score(falls)) for m in (drop, gain, increase)] == pytest.approx([1 / 3, 0, 0], abs=1e-6)
    assert [float(m.score(rises)) for m in (drop, gain, increase)] == pytest.approx([0, 0.6, 1], abs=1e-6)
    keep = torch.tensor([[[1.0, 0.0]]])
    kept = odds_case(float(np.log(3)), 0.0, keep)  # the second pixel says nothing
    assert [float(m.score(kept)) for m in (drop, gain, increase)] == pytest.approx([0, 0, 0], abs=1e-6)


def test_gain_where_the_probability_rounds_to_one() -> None:
    """1 - p is e^-30 and falls to e^-31: in float32 both probabilities are 1, and the gain is 1 - 1/e."""
    case = odds_case(-1.0, 31.0, torch.tensor([[[0.0, 1.0]]]))
    assert float(case.probability(case.logits)) == 1
    assert float(metric("average_gain").score(case)) == pytest.approx(1 - np.exp(-1), rel=1e-4)
    assert float(metric("average_increase").score(case)) == 1
