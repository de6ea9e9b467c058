"""Nothing is computed on two devices: every method and metric on networks and images that are elsewhere."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from support.elsewhere import DEVICE, There, elsewhere, moved
from support.metric_cases import SMALL, case_of
from support.tiny_models import CHEAP, TINY, is_defined
from support.tiny_models import ready_explainer as explainer
from torch import Tensor
from torch.nn import functional as F

from seewhy.explainers import EXPLAINERS
from seewhy.explainers.base import ExplainsClasses
from seewhy.masking.baselines import baseline_images
from seewhy.metrics import METRICS, metric

NETWORKS = ("cnn", "vit")


def here(x: Tensor) -> Tensor:
    assert isinstance(x, There), "what was asked there is answered there"
    assert x.device == DEVICE
    return x.here


def test_what_a_gpu_refuses_is_refused() -> None:
    """The instrument itself: it must see a forgotten device."""
    x, y = torch.rand(3), moved(torch.rand(3))
    with elsewhere():
        for mixed in (
            lambda: x + y,
            lambda: torch.stack([y[0], x[0]]),
            lambda: y.index_put((torch.tensor([1]),), torch.ones(1)),
            lambda: F.linear(y, torch.rand(2, 3)),
            lambda: torch.where(y > 0.5, y, torch.zeros(3)),
            lambda: x[moved(torch.tensor([1]))],
        ):
            with pytest.raises(RuntimeError, match="two devices"):
                mixed()
        with pytest.raises(TypeError, match="numpy"):
            y.numpy()


def test_what_a_gpu_computes_is_computed() -> None:
    x = torch.rand(3, 4)
    y = moved(x)
    with elsewhere():
        assert torch.equal(here(y * 2 + torch.tensor(1.0)), x * 2 + 1)
        assert torch.equal(here(y[torch.tensor([2, 0])]), x[[2, 0]])
        assert torch.equal(here(y[:, [2, 0]]), x[:, [2, 0]])
        assert torch.equal(here(torch.zeros(2, device=y.device)), torch.zeros(2))
        assert torch.equal(here(torch.rand(3, 4).to(y) * 0 + y), x)
        assert torch.equal(y.cpu(), x)
        assert type(y.cpu()) is Tensor
        z = y.clone().requires_grad_()
        (slope,) = torch.autograd.grad((z * z).sum(), z)
        assert torch.equal(here(slope), 2 * x)
        z.data[1] = 0
        assert here(z.detach())[1].abs().sum() == 0
        assert y.new_tensor([1.0, 2.0]).tolist() == [1, 2]


@pytest.mark.parametrize(("name", "network"), [(e, n) for e in EXPLAINERS for n in NETWORKS if is_defined(e, n)])
def test_an_explainer(name: str, network: str, batch: tuple[Tensor, Tensor]) -> None:
    classifier, options = TINY[network](), CHEAP.get(name, {})
    expected = explainer(name, classifier, **options).explain(*batch)
    with elsewhere():
        there = explainer(name, moved(classifier), **options)
        found = here(there.explain(moved(batch[0]), moved(batch[1])))
        classes = moved(torch.tensor([0, 2]))
        several = here(there.explain_classes(moved(batch[0]), classes)) if isinstance(there, ExplainsClasses) else None
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert several is None or several.shape[1] == 2


@pytest.mark.parametrize("baseline", ["black", "white", "mean_color", "blur", "rise_blur", "darkest", "noise", 0.3])
def test_a_baseline(baseline: Any, batch: tuple[Tensor, Tensor]) -> None:
    classifier = TINY["cnn"]()
    with elsewhere():
        found = here(baseline_images(baseline, moved(classifier), moved(batch[0])))
    torch.testing.assert_close(found, baseline_images(baseline, classifier, batch[0]))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", sorted(set(METRICS) - {"label_randomization", "seconds", "peak_memory"}))
def test_a_metric(name: str, network: str) -> None:
    """Less the measurements, and the test that needs the built-in networks."""
    case, measure = case_of(network), metric(name, **SMALL.get(name, {}))
    expected = measure.score(case)
    with elsewhere():
        there = moved(replace(case, explainer=None))
        there = replace(there, explainer=replace(case.explainer, classifier=there.classifier))  # type: ignore[type-var]
        found = measure.score(there)
        found = here(found) if isinstance(found, There) else found
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
