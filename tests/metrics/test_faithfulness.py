"""Faithfulness as a correlation: against literal re-writings, and where the map is exact."""

import pytest
import torch
from support import metric_oracles as oracle
from support.metric_cases import SIZE, case_of
from support.metric_games import NETWORKS, doubled, parts
from torch import nn

from seewhy import Classifier
from seewhy.metrics import Case, metric


@pytest.mark.parametrize("network", NETWORKS)
def test_faithfulness_estimate(network: str) -> None:
    case = doubled(network)
    got = metric("faithfulness_estimate", features=30).score(case)
    for i in range(len(case.images)):
        expected = oracle.faithfulness_estimate(*parts(case, i, "darkest"), 30)
        assert float(got[i]) == pytest.approx(expected, abs=1e-9)


def linear_case() -> Case:
    """logit 1 = sum of w x, logit 0 = 0, black baseline: removing a pixel costs exactly its w x."""
    generator = torch.Generator().manual_seed(1)
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 2))
    weight = torch.randn(3, 8, 8, generator=generator)
    with torch.no_grad():
        module[1].weight.zero_()[1] = weight.flatten()
        module[1].bias.zero_()
    images = torch.rand(2, 3, 8, 8, generator=generator)
    one = torch.ones(2, dtype=torch.long)
    return Case(Classifier(module, (0.0,) * 3, (1.0,) * 3, (8, 8)), images, one, one, (weight * images).sum(1))


def test_faithfulness_is_one_for_the_exact_map_and_minus_one_for_its_opposite() -> None:
    case = linear_case()
    options = {"value": "logit", "baseline": "black"}
    names = {
        "faithfulness_correlation": {"subset_size": 9, "runs": 20},
        "faithfulness_estimate": {"features": 8, "reads": "raw"},
    }
    for name, own in names.items():
        measure = metric(name, **options, **own)
        assert measure.score(case).tolist() == pytest.approx([1, 1], abs=1e-5)
        opposite = Case(case.classifier, case.images, case.explained, case.scored, -case.attributions)
        assert measure.score(opposite).tolist() == pytest.approx([-1, -1], abs=1e-5)


def test_groups_of_the_faithfulness_estimate_fit_the_image() -> None:
    """896 pixels are 56 groups at 224; at 16 x 16 they would be one, and at 32 x 32 two, whose correlation is 1 or -1."""
    assert metric("faithfulness_estimate") == metric("faithfulness_estimate", features=0)
    case = case_of("cnn")
    same = metric("faithfulness_estimate", features=round(SIZE**2 / 56)).score(case)
    assert torch.equal(metric("faithfulness_estimate").score(case), same)
    assert metric("faithfulness_estimate").score(case).abs().max() < 0.99
