"""Black and white deletion: against literal re-writings, and by hand."""

import pytest
import torch
from support import metric_oracles as oracle
from support.metric_games import doubled, parts
from torch import nn

from seewhy import Classifier, explainer, load
from seewhy.data import Shapes, batches
from seewhy.metrics import Case, metric


@pytest.mark.parametrize(("name", "color"), [("black_deletion", 0.0), ("white_deletion", 1.0)])
def test_color_deletion(name: str, color: float) -> None:
    case = doubled("cnn", n=6)
    case.attributions[0, :9] = 0  # many zeros, never deleted
    case.attributions[1] = case.attributions[1].round()  # many ties
    fractions = [0, 0.03, 0.05, 0.07, *(i / 10 for i in range(1, 10))]
    got = metric(name).score(case)
    for i in range(len(case.images)):
        f, x, _, a, _ = parts(case, i, "black")
        kept = oracle.allegiance(f, x, a, color, fractions)
        assert float(got[i]) == pytest.approx(oracle.trapezoid(kept, fractions), abs=1e-9)


def test_color_deletion_by_hand() -> None:
    """Values .9 .9 .5 .1: a quarter deletes none (ties at the threshold stay), a half both; of 0.9 no more than 0.9."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    with torch.no_grad():
        module[1].weight.zero_()[1, 0] = 1  # class 1 by the first red pixel
        module[1].bias.copy_(torch.tensor([0.5, 0.0]))
    classifier = Classifier(module, (0.0,) * 3, (1.0,) * 3, (2, 2))
    maps = torch.tensor([[[0.9, 0.9], [0.5, 0.1]]])
    one = torch.ones(1, dtype=torch.long)
    case = Case(classifier, torch.ones(1, 3, 2, 2), one, one, maps)
    assert float(metric("black_deletion", fractions=(0.0, 0.25)).score(case)) == 0.25
    assert float(metric("black_deletion", fractions=(0.0, 0.5)).score(case)) == 0.25  # a trapezoid from 1 to 0
    assert float(metric("white_deletion").score(case)) == pytest.approx(0.9)
    assert float(metric("black_deletion", fractions=(0.0, 0.5), amount=0.25).score(case)) == 0.5
    constant = Case(classifier, torch.ones(1, 3, 2, 2), one, one, torch.ones(1, 2, 2))
    assert float(metric("black_deletion").score(constant)) == pytest.approx(0.9)


def test_the_literal_inactive_map_fails_white_deletion() -> None:
    """Equation 6 as printed is nowhere positive: its largest values are where nothing is, and zero is never deleted."""
    classifier = load("shapes")
    batch = next(batches(Shapes(n=12), 12))
    targets = classifier.logits(batch.images).argmax(1)
    areas = {}
    for form in ("magnitude", "equation"):
        method = explainer("inactive_saliency", classifier, reading=form)
        case = Case(classifier, batch.images, targets, targets, method.explain(batch.images, targets))
        areas[form] = float(metric("white_deletion", reads="raw").score(case).mean())
    assert areas["magnitude"] < areas["equation"]
