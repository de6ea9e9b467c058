"""A borrowed network: its layers are read, and it comes back as it was."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import pytest
import torch
from support.networks import Wrapped
from support.tiny_models import TINY, cnn, tiny
from torch import Tensor

from seewhy.classifier.borrow import buffers_kept, outside_inference
from seewhy.classifier.classifier import frozen
from seewhy.errors import SeewhyError
from seewhy.testing.explainers import expect_same, snapshot


def test_capture_keeps_outputs_with_their_graph_from_later_in_place_operations() -> None:
    classifier = TINY["cnn_inplace"]()
    images = torch.rand(2, 3, 16, 16)
    with classifier.capture("5", "6") as outputs:
        score = classifier.logits(images)[:, 1].sum()
    assert outputs["5"].min() < 0
    assert torch.equal(outputs["6"], outputs["5"].relu())
    first, second = torch.autograd.grad(score, [outputs["5"], outputs["6"]])
    torch.testing.assert_close(first, second * (outputs["5"] > 0))
    assert torch.equal(outputs["5"], outputs["5"].clone())
    assert not classifier.module.get_submodule("5")._forward_hooks


def test_a_captured_leaf_starts_the_graph() -> None:
    classifier = TINY["cnn"]()
    images = torch.rand(2, 3, 16, 16).requires_grad_()
    with classifier.capture("6", leaf=True) as outputs:
        score = classifier.logits(images).sum()
    assert outputs["6"].is_leaf
    (gradient,) = torch.autograd.grad(score, outputs["6"], retain_graph=True)
    assert gradient.abs().max() > 0
    with pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad(score, images)


def test_capture_names_what_is_missing() -> None:
    classifier = TINY["functional"]()
    with pytest.raises(SeewhyError, match=r"no layer 'shard'.*Did you mean 'shared'"), classifier.capture("shard"):
        pass
    with pytest.raises(SeewhyError, match="not reached"), classifier.capture("last") as outputs:
        _ = outputs["last"]
    assert not any(m._forward_hooks for m in classifier.module.modules())


def test_frozen_restores_the_exact_state_also_after_an_exception() -> None:
    module = cnn()
    module.train()
    module[1].eval()
    module[0].weight.requires_grad_(False)
    before = snapshot(module)
    try:
        with frozen(module):
            assert not any(m.training for m in module.modules())
            assert not any(p.requires_grad for p in module.parameters())
            raise KeyError
    except KeyError:
        expect_same(before, snapshot(module))
    else:
        pytest.fail("the exception was swallowed")


@dataclass
class Output:
    logits: Tensor
    hidden: Tensor


WRAPS: dict[str, Callable[[Tensor], object]] = {
    "dict": lambda z: {"aux": torch.zeros(len(z), 7), "logits": z},
    "dict of one matrix": lambda z: {"features": torch.zeros(len(z), 2, 4, 4), "scores": z},
    "dataclass": lambda z: Output(z, torch.zeros(len(z), 3)),
    "tuple": lambda z: (z, torch.zeros(len(z), 2, 4, 4)),
    "list": lambda z: [torch.zeros(()), z],
}


@pytest.mark.parametrize("kind", list(WRAPS))
def test_the_logits_are_found_in_any_output(kind: str) -> None:
    classifier = tiny(Wrapped(WRAPS[kind]))
    images = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(classifier.logits(images), classifier.module.body(classifier.normalize(images)))
    assert classifier.n_classes == 5


def test_an_output_that_could_be_two_things_is_refused() -> None:
    images = torch.rand(2, 3, 16, 16)
    with pytest.raises(SeewhyError, match="cannot tell the logits in a tuple with 2 entries"):
        tiny(Wrapped(lambda z: (z, z))).logits(images)
    with pytest.raises(SeewhyError, match="cannot tell the logits in a dict with a, b"):
        tiny(Wrapped(lambda z: {"a": z, "b": z})).logits(images)


def test_a_function_runs_outside_inference_mode_on_copies_of_what_was_made_there() -> None:
    """Whether gradients are on stays as the caller has it."""

    @outside_inference
    def gradient(images: Tensor, *, scale: Tensor) -> tuple[Tensor, bool]:
        assert not torch.is_inference_mode_enabled()
        enabled = torch.is_grad_enabled()
        with torch.enable_grad():
            images = images.requires_grad_()
            return torch.autograd.grad((images * scale).sum(), images)[0], enabled

    with torch.inference_mode():
        images, scale = torch.ones(2), torch.tensor([2.0, 3.0])
        found, enabled = gradient(images, scale=scale)
    assert found.tolist() == [2, 3]
    assert not enabled
    assert gradient(torch.ones(2), scale=torch.ones(2))[1]
    assert gradient.__name__ == "gradient"


def test_buffers_have_their_values_again_and_are_the_same_tensors() -> None:
    module = cnn().train()
    buffers = dict(module.named_buffers())
    values = {name: b.clone() for name, b in buffers.items()}
    with suppress(KeyError), buffers_kept(module):
        module(torch.rand(4, 3, 16, 16))
        assert not torch.equal(module[1].running_mean, values["1.running_mean"])
        raise KeyError
    for name, buffer in module.named_buffers():
        assert buffer is buffers[name]
        assert torch.equal(buffer, values[name])
