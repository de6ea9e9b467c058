"""A network computes in bfloat16 and in channels last, and its weights come back as they were."""

from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal, cast

import pytest
import torch
from support.tiny_models import TINY, tiny
from torch import Tensor, nn
from torch.nn.utils import prune

from seewhy.classifier.classifier import Classifier
from seewhy.describe import weights_digest
from seewhy.explainers.optimized.opti_cam import OptiCAM

IMAGES, TWO = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 3])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_network_that_views_its_weights_gets_them_as_they_are(precision: Literal["fp32", "bf16"]) -> None:
    """As those with weight standardization do."""

    class Standardized(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            w = self.weight
            mean = w.view(len(w), -1).mean(1)[:, None, None, None]
            return nn.functional.conv2d(x, w - mean, self.bias)

    module = nn.Sequential(Standardized(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    classifier, images = Classifier(module, input_size=(16, 16)), torch.rand(2, 3, 16, 16)
    expected = classifier.logits(images).detach()
    with classifier.running(precision):
        close = {"rtol": 0.05, "atol": 0.05} if precision == "bf16" else {}
        torch.testing.assert_close(classifier.logits(classifier.fast_layout(images)).float(), expected, **close)


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.parametrize("reparametrized", ["weight_norm", "spectral_norm", "l1_unstructured"])
def test_weights_that_are_computed_at_every_pass_are_computed_exactly(reparametrized: str) -> None:
    """Old-style reparametrizations keep what they compute a weight from beside it: in bf16 it lost digits, or failed."""
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 16, 3)
    if reparametrized == "l1_unstructured":
        prune.l1_unstructured(conv, "weight", 0.3)
    else:
        getattr(nn.utils, reparametrized)(conv)
    module = nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)).eval()
    classifier, images = Classifier(module, input_size=(16, 16)), torch.rand(2, 3, 16, 16)
    kept = {name: p.clone() for name, p in module.named_parameters()}
    expected = classifier.logits(images).detach()
    with classifier.running("bf16"):
        assert all(p.dtype == torch.float32 for name, p in conv.named_parameters() if name not in ("weight", "bias"))
        torch.testing.assert_close(classifier.logits(classifier.fast_layout(images)).float(), expected, rtol=0.02, atol=0.02)
    torch.testing.assert_close(dict(module.named_parameters()), kept, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_are_rearranged_once_while_the_network_is_at_work(dtype: torch.dtype) -> None:
    """A convolution would do it at every pass; afterwards they are the very same tensors, whatever happened."""
    conv = nn.Conv2d(3, 5, 3, dtype=dtype)
    module = nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    classifier, images = Classifier(module, input_size=(16, 16)), torch.rand(2, 3, 16, 16, dtype=dtype)
    before, expected = conv.weight.data_ptr(), classifier.logits(images).detach()
    with suppress(KeyError), classifier.running():
        assert conv.weight.is_contiguous(memory_format=torch.channels_last)
        assert conv.weight.dtype == dtype
        torch.testing.assert_close(classifier.logits(classifier.fast_layout(images)), expected)
        with classifier.running():
            torch.testing.assert_close(classifier.logits(classifier.fast_layout(images)), expected)
        raise KeyError
    assert conv.weight.data_ptr() == before
    assert conv.weight.is_contiguous()


class Ending(nn.Module):
    """The classifier's network with something done to its logits, so that no layer returns them."""

    def __init__(self, network: nn.Module, end: str) -> None:
        super().__init__()
        self.network, self.end = network, end

    def forward(self, x: Tensor) -> Tensor:
        logits = self.network(x)
        return {"scaled": 1.5 * logits, "log_softmax": logits.log_softmax(1), "part": logits[:, :-1]}[self.end]


@pytest.mark.parametrize("end", ["scaled", "log_softmax", "part"])
def test_in_bfloat16_the_last_layer_stays_exact_whatever_follows_it(end: str) -> None:
    """Logits of three digits stand still, and Opti-CAM took a standing image for a finished one."""
    plain = TINY["cnn"]()
    classifier = replace(plain, module=Ending(plain.module, end), classes=(), feature_layer=f"network.{plain.layer}")
    OptiCAM(classifier, steps=1).explain(IMAGES, TWO)  # what is found out once costs passes of its own
    rows = []
    handle = classifier.module.register_forward_hook(lambda _m, args, _o: rows.append(len(args[0])))
    for precision in ("fp32", "bf16"):
        OptiCAM(classifier, steps=25, precision=cast(Any, precision)).explain(IMAGES, TWO)
        rows.append(0)
    handle.remove()
    cut = rows.index(0)
    assert sum(rows[cut:]) > 0.8 * sum(rows[:cut])


def test_a_weight_that_the_head_shares_stays_as_the_head_needs_it() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features, self.mixed, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 8), nn.Linear(8, 8)
            self.head.weight = self.mixed.weight

        def forward(self, x: Tensor) -> Tensor:
            return cast(Tensor, self.head(self.mixed(self.features(x).relu().mean((2, 3))).relu()))

    classifier = replace(tiny(Tied()), classes=(), feature_layer="features")
    with torch.no_grad(), classifier.running("bf16"):
        assert classifier.logits(IMAGES).dtype == torch.float32


def test_the_state_dict_and_the_digest_are_those_of_the_own_weights_in_every_block() -> None:
    classifier = TINY["cnn"]()
    before, digest = {k: v.clone() for k, v in classifier.module.state_dict().items()}, weights_digest(classifier.module)
    with classifier.running("bf16"):
        inside = classifier.module.state_dict()
        assert weights_digest(classifier.module) == digest
        assert any(p.dtype == torch.bfloat16 for p in classifier.module.parameters())
    assert all(torch.equal(inside[name], value) and inside[name].dtype == value.dtype for name, value in before.items())
    assert not any(layer._state_dict_hooks for layer in classifier.module.modules())
