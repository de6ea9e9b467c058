"""Every registered metric keeps the contract, on a network with a softmax, one with sigmoids, and a transformer."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from support.metric_cases import SMALL, case_of
from support.tiny_models import double_by_default

from seewhy.errors import SeewhyError
from seewhy.metrics import METRICS, metric
from seewhy.metrics.base import NEEDS, score
from seewhy.options import described
from seewhy.testing.metrics import CHECKS, Check

NETWORKS = ("cnn_inplace", "cnn_multilabel", "vit_registers")
BUILT_IN_ONLY = {"label_randomization"}
"""Needs a second network that fits the first: tried on the built-in ones, in test_metrics_randomization.py."""


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", sorted(set(METRICS) - BUILT_IN_ONLY))
def test_contract(name: str, network: str, check: Check) -> None:
    check(metric(name, **SMALL.get(name, {})), case_of(network))


@pytest.mark.parametrize("name", METRICS)
def test_what_a_metric_declares(name: str) -> None:
    kind = METRICS[name]
    low, high = kind.range
    assert low < high
    assert kind.higher_is_better in (True, False, None)
    assert set(kind.needs) <= set(NEEDS)
    assert kind.target in ("label", "predicted", "any")
    for heading in ("Rewards:", "Fooled by:", "Defined:"):
        assert heading in (kind.__doc__ or ""), f"{name} does not say {heading}"
    if kind.family != "cost":
        assert "$$" in (kind.__doc__ or "")
        assert "Source:" in (kind.__doc__ or "")
    for option in described(kind):
        assert option.text, f"{name} does not describe {option.name}"


@pytest.mark.parametrize("name", [name for name in METRICS if METRICS[name].needs])
def test_what_is_missing_is_named(name: str) -> None:
    for need in set(METRICS[name].needs) - {"forward_passes"}:  # a part of the cost
        maker = {"map_classes": None} if need == "class_maps" else {}  # else the explainer is asked for them
        case = case_of("cnn", data_name="the shelf", **{need: None}, **maker)
        with pytest.raises(SeewhyError, match=f"{name} needs {NEEDS[need]}, which the shelf does not have"):
            score(name, metric(name), case)


NOT_IN_DOUBLE = {"seconds", "forward_equivalents", "peak_memory", "parameter_randomization"}
"""Measurements; and a network that is drawn anew, for which torch draws other numbers in float64."""


@pytest.mark.parametrize("name", sorted(set(METRICS) - BUILT_IN_ONLY - NOT_IN_DOUBLE))
def test_double_precision(name: str) -> None:
    """In float64 the same numbers, and float64 comes out."""
    single, double = case_of("cnn"), case_of("cnn")
    measure = metric(name, **SMALL.get(name, {}))
    classifier = replace(double.classifier, module=deepcopy(double.classifier.module).double())
    floats = {"images": double.images.double(), "attributions": double.attributions.double()}
    maps = double.class_maps.double() if double.class_maps is not None else None
    method = replace(double.explainer, classifier=classifier)  # type: ignore[type-var]
    double = replace(double, classifier=classifier, explainer=method, class_maps=maps, **floats)
    expected = measure.score(double)
    assert expected.dtype == torch.float64
    torch.testing.assert_close(measure.score(single).double(), expected, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("name", sorted(set(METRICS) - BUILT_IN_ONLY - NOT_IN_DOUBLE | {"parameter_randomization"}))
def test_a_default_type_of_float64_changes_no_number(name: str) -> None:
    measure, case = metric(name, **SMALL.get(name, {})), case_of("cnn")
    expected = measure.score(case)
    with double_by_default():
        torch.testing.assert_close(measure.score(case), expected, rtol=1e-4, atol=1e-5)
