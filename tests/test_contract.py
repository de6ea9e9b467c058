"""Every explainer x every promise x every tiny model."""

import pytest
import torch
from conftest import CHEAP, TINY, double_by_default
from torch import Tensor

from seewhy.explainers import EXPLAINERS, explainer
from seewhy.testing import CHECKS, Check


@pytest.mark.parametrize("model", list(TINY))
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", list(EXPLAINERS))
def test_contract(name: str, check: Check, model: str, batch: tuple[Tensor, Tensor]) -> None:
    check(lambda classifier: explainer(name, classifier, **CHEAP.get(name, {})), TINY[model](), *batch)


@pytest.mark.parametrize("model", ["cnn", "vit"])
@pytest.mark.parametrize("name", list(EXPLAINERS))
def test_a_default_type_of_float64_changes_no_map(name: str, model: str, batch: tuple[Tensor, Tensor]) -> None:
    """A seed draws the same, and nothing is silently promoted."""
    method = explainer(name, TINY[model](), **CHEAP.get(name, {}))
    expected = method.explain(*batch)
    with double_by_default():
        torch.testing.assert_close(method.explain(*batch), expected, rtol=1e-4, atol=1e-5)
