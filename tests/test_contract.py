"""Every explainer x every promise x every tiny model."""

import pytest
from conftest import CHEAP, TINY
from torch import Tensor

from seewhy.explainers import EXPLAINERS, explainer
from seewhy.testing import CHECKS, Check


@pytest.mark.parametrize("model", list(TINY))
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", list(EXPLAINERS))
def test_contract(name: str, check: Check, model: str, batch: tuple[Tensor, Tensor]) -> None:
    check(lambda classifier: explainer(name, classifier, **CHEAP.get(name, {})), TINY[model](), *batch)
