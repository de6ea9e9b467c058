"""Every explainer x every promise x every tiny model."""

import pytest
import torch
from support.tiny_models import CHEAP, LEARNED, TINY, double_by_default, is_defined
from support.tiny_models import ready_explainer as explainer
from torch import Tensor

from seewhy.errors import UnsuitedError
from seewhy.explainers import EXPLAINERS, ExplainsClasses
from seewhy.testing.explainers import CHECKS, Check, close


def _pairs(models: list[str]) -> list[tuple[str, str]]:
    """Each method with each model for which it is defined; learned ones, whose base runs the network, with two."""
    pairs = [(name, model) for name in EXPLAINERS for model in models if is_defined(name, model)]
    return [(name, model) for name, model in pairs if name not in LEARNED or model in ("cnn", "vit_registers")]


@pytest.mark.parametrize(("name", "model"), [(name, m) for name in EXPLAINERS for m in TINY if not is_defined(name, m)])
def test_a_method_that_is_not_defined_for_a_network_says_so(name: str, model: str) -> None:
    with pytest.raises(UnsuitedError, match="not defined for it") as error:
        explainer(name, TINY[model]())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(("name", "model"), _pairs(list(TINY)))
def test_contract(name: str, check: Check, model: str, batch: tuple[Tensor, Tensor]) -> None:
    check(lambda classifier: explainer(name, classifier, **CHEAP.get(name, {})), TINY[model](), *batch)


@pytest.mark.parametrize(("name", "model"), _pairs(["cnn", "vit"]))
def test_a_default_type_of_float64_changes_no_map(name: str, model: str, batch: tuple[Tensor, Tensor]) -> None:
    """A seed draws the same, and nothing is silently promoted."""
    method = explainer(name, TINY[model](), **CHEAP.get(name, {}))
    expected = method.explain(*batch)
    with double_by_default():
        torch.testing.assert_close(method.explain(*batch), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "model"), _pairs(list(TINY)))
def test_a_registered_method_does_not_mind_inference_mode(name: str, model: str, batch: tuple[Tensor, Tensor]) -> None:
    """Neither in it, nor outside with images, and classes predicted, that were made in it: no graph can keep those."""
    method, fresh = (explainer(name, TINY[model](), **CHEAP.get(name, {})) for _ in range(2))
    expected = method.explain(*batch)
    with torch.inference_mode():
        images, targets = (x.clone() for x in batch)
        found = fresh.explain(images, targets)
    assert not found.is_inference()
    close(found, expected, "in inference mode")
    close(method.explain(images, targets), expected, "what was made in inference mode")
    if isinstance(method, ExplainsClasses):
        close(method.explain_classes(images, targets[:1])[:1, 0], expected[:1], "classes of inference mode")
