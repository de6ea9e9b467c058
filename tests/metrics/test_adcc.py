"""ADCC and its parts against literal re-writings."""

import pytest
import torch
from support import metric_oracles as oracle
from support.metric_games import doubled, parts

from seewhy.metrics import metric


def test_adcc_of_its_parts() -> None:
    case = doubled("cnn")
    coherency, complexity = metric("adcc_coherency").score(case), metric("adcc_complexity").score(case)
    drop = metric("average_drop", baseline="mean_color").score(case)
    got = metric("adcc").score(case)
    for i in range(len(case.images)):
        f, x, c, a, b = parts(case, i, "mean_color")
        m = oracle.min_max(a)
        masked = torch.from_numpy(x * m + b * (1 - m))[None]
        assert case.explainer is not None
        again = case.explainer.explain(masked, torch.tensor([c]))[0].numpy()
        expected = (1 + oracle.pearson(list(m.flatten()), list(oracle.min_max(again).flatten()))) / 2
        assert float(coherency[i]) == pytest.approx(expected, abs=1e-9)
        assert float(complexity[i]) == pytest.approx(float(m.mean()), abs=1e-9)
        assert float(drop[i]) == pytest.approx(oracle.drop_gain_increase(f, x, c, a, b)[0], abs=1e-9)
        numbers = (float(t[i]) for t in (coherency, complexity, drop))
        assert float(got[i]) == pytest.approx(oracle.adcc(*numbers), abs=1e-9)
