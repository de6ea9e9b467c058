"""Finer-CAM's score, for every method with a selector: the target's logit less a part of those of similar classes."""

from copy import deepcopy
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from support.slow_cams import double, same
from support.tiny_models import CHEAP, SIZE, TINY, cnn, is_defined, model_for, tiny
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.explainers import EXPLAINERS, explainer
from seewhy.explainers.gradients import feature_gradients
from seewhy.explainers.selectors import FINER, similar_classes
from seewhy.maps import upsample
from seewhy.options import from_text

IMAGES = torch.rand(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
TARGETS = torch.tensor([1, 4, 2])
WITH_SELECTOR = [
    name
    for name, kind in EXPLAINERS.items()
    if kind.family != "learned" and any(f.name == "selector" for f in fields(kind))  # type: ignore[arg-type]
]
"""Learned methods have another selector: the number whose change their loss measures."""


def nearest(logits: list[float], c: int, m: int) -> list[int]:
    """The classes but c, from the one whose logit is nearest to that of c on; the first m."""
    others = [d for d in range(len(logits)) if d != c]
    return sorted(others, key=lambda d: (abs(logits[d] - logits[c]), d))[:m]


def comparing(classifier: Classifier, image: Tensor, strength: float, m: int) -> Classifier:
    """The network whose logits are y_c - strength * mean_d y_d, with the similar classes of this very image."""
    logits = classifier.logits(image[None])[0].tolist()
    mixed = torch.eye(len(logits), dtype=torch.float64)
    for c in range(len(logits)):
        similar = nearest(logits, c, m)
        for d in similar:
            mixed[c, d] -= strength / len(similar)
    module = deepcopy(classifier.module)
    for head in module.modules():
        if isinstance(head, nn.Linear) and head.out_features == len(logits):
            head.weight.data, head.bias.data = mixed @ head.weight.data, mixed @ head.bias.data
    return replace(classifier, module=module)


@pytest.mark.parametrize("model", ["cnn", "vit_registers"])
@pytest.mark.parametrize("name", WITH_SELECTOR)
def test_it_is_the_logit_of_a_network_that_compares(name: str, model: str) -> None:
    """Every method, also where it masks the image: the similar classes stay those of the whole image."""
    if (name == "cam" and model != "cnn") or not is_defined(name, model):
        pytest.skip("the method is not defined for this network")
    classifier = double(model)
    options: dict[str, Any] = {**CHEAP.get(name, {})}
    found: Any = explainer(name, classifier, **{**options, "selector": ("finer", 0.7, 2)})
    maps = found.explain(IMAGES, TARGETS)
    for i in range(len(IMAGES)):
        other = explainer(name, comparing(classifier, IMAGES[i], 0.7, 2), **{**options, "selector": "logit"})
        same(maps[i], other.explain(IMAGES[i : i + 1], TARGETS[i : i + 1])[0], 1e-7)
    if hasattr(found, "explain_classes"):
        each = found.explain_classes(IMAGES, torch.tensor([1, 4, 2]))
        for i in range(len(IMAGES)):
            same(each[i, i], maps[i], 1e-7)


@pytest.mark.parametrize("model", list(TINY))
def test_grad_cam_is_the_aggregate_of_finer_cam(model: str) -> None:
    """Written out: a map of weights for each similar class, their mean, the negative sums cut."""
    classifier, (strength, m) = double(model), FINER[1:]
    layer = classifier.live_layer(None)
    found = explainer("grad_cam", classifier, selector="finer").explain(IMAGES, TARGETS)
    for i, c in enumerate(TARGETS.tolist()):
        logits = classifier.logits(IMAGES[i : i + 1])[0].tolist()
        total = torch.zeros(())
        for d in nearest(logits, c, m):
            features, up = feature_gradients(classifier, IMAGES[i : i + 1], torch.tensor([c]), layer)
            _, down = feature_gradients(classifier, IMAGES[i : i + 1], torch.tensor([d]), layer)
            weights = (up - strength * down).mean((2, 3), keepdim=True)
            total = total + (weights * features).sum(1) / m
        same(found[i], upsample(total.relu(), (SIZE, SIZE))[0])


@pytest.mark.parametrize("m", [1, 3, 4, 9])
def test_similar_classes_have_the_nearest_logits(m: int) -> None:
    logits = torch.tensor([[0.5, 2.0, -1.0, 0.5, 0.6], [3.0, 3.0, 3.0, 3.0, 3.0]])
    found = similar_classes(TINY["cnn"](), logits, torch.tensor([[0, 3], [2, 4]]), ("finer", 0.6, m))
    for i, row in enumerate(logits.tolist()):
        for j, c in enumerate([[0, 3], [2, 4]][i]):
            assert found[i, j].tolist() == [c, *nearest(row, c, m)]


@pytest.mark.parametrize("name", ["grad_cam", "hires_cam", "occlusion"])
def test_two_classes_compare_with_each_other(name: str) -> None:
    """A network of one logit has the logits -z / 2 and z / 2: the map is 1.6 times that of the logit."""
    images, targets = IMAGES.float(), torch.tensor([1, 0, 1])
    maps = {}
    for k in (1, 2):
        for selector in ("logit", "finer"):
            method = explainer(name, replace(tiny(cnn(k=k)), classes=()), **{**CHEAP.get(name, {}), "selector": selector})
            maps[k, selector] = method.explain(images, targets)
    assert maps[1, "logit"].abs().max() > 1e-4
    torch.testing.assert_close(maps[1, "finer"], 1.6 * maps[1, "logit"], rtol=1e-4, atol=1e-6)
    assert not torch.allclose(maps[2, "finer"], maps[2, "logit"])


@pytest.mark.parametrize("name", WITH_SELECTOR)
def test_values_of_a_regression_have_no_similar_classes(name: str) -> None:
    classifier = replace(TINY[model_for(name)](), classes=(), outputs="values")
    with pytest.raises(SeewhyError, match="returns values, which have no probabilities: give selector=logit"):
        explainer(name, classifier, **{**CHEAP.get(name, {}), "selector": "finer"})
    with pytest.raises(SeewhyError, match="returns values, which have no probabilities"):
        EXPLAINERS[name](classifier, **{**CHEAP.get(name, {}), "selector": "finer"}).explain(IMAGES.float(), TARGETS)  # type: ignore[call-arg]


def test_the_numbers_are_reached_from_the_command_line() -> None:
    kind: Any = EXPLAINERS["grad_cam"]
    read = from_text(kind, {"selector": '["finer", 1, 5]'})
    assert kind(TINY["cnn"](), **read).selector == ("finer", 1.0, 5)
    assert kind(TINY["cnn"](), **from_text(kind, {"selector": "finer"})).selector == "finer"
    for wrong in (["finer", -1.0, 3], ["finer", 0.6, 0], ["finer", 0.6], ["logit", 0.6, 3]):
        with pytest.raises(SeewhyError, match="or a list of finer, a number of at least 0, a whole number of at least 1"):
            explainer("grad_cam", TINY["cnn"](), selector=wrong)


def test_a_strength_of_zero_is_the_logit() -> None:
    classifier, images = TINY["vit"](), IMAGES.float()
    plain = explainer("grad_cam", classifier).explain(images, TARGETS)
    assert torch.equal(explainer("grad_cam", classifier, selector=("finer", 0.0, 3)).explain(images, TARGETS), plain)
