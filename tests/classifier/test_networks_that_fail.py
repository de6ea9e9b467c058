"""A network that fails: nothing is concluded from it that stays, and nothing is swallowed."""

from contextlib import suppress
from dataclasses import replace
from itertools import product

import pytest
import torch
from support.tiny_models import TINY, cnn, tiny
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.explainers import explainer
from seewhy.metrics import Case, metric

IMAGES = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(2))
TARGETS = torch.tensor([0, 3, 1])


def failing(classifier: Classifier, at: int, error: BaseException) -> list[int]:
    """The network fails at one of its passes; counts them."""
    passes = [0]

    def fail(*_: object) -> None:
        passes[0] += 1
        if passes[0] == at:
            raise error

    classifier.module.register_forward_pre_hook(fail)
    return passes


FEW: dict[str, dict[str, object]] = {
    "rise": {"samples": 4},
    "relax": {"samples": 4},
    "occlusion": {"window": 8, "stride": 8},
    "lime": {"samples": 4, "players": "patches", "size": 8},
    "kernel_shap": {"samples": 4, "players": "patches", "size": 8},
    "permutation_shapley": {"samples": 4, "players": "patches", "size": 8},
    "opti_cam": {"steps": 2},
    "integrated_gradients": {"steps": 3},
    "grad_cam": {},
    "score_cam": {},
    "ablation_cam": {"closed_form": False},
}


@pytest.mark.parametrize("name", FEW)
def test_a_stop_iteration_of_the_network_is_no_shorter_answer(name: str) -> None:
    """RISE returned two maps for three images: the exception ended the loop over the images."""
    classifier = TINY["cnn"]()
    method = explainer(name, classifier, **FEW[name])
    method.explain(IMAGES, TARGETS)  # what is found once is found now
    counted = TINY["cnn"]()
    whole = explainer(name, counted, **FEW[name])
    whole.explain(IMAGES, TARGETS)
    passes = failing(counted, -1, KeyError())
    whole.explain(IMAGES, TARGETS)
    failing(classifier, passes[0], StopIteration("the data are at their end"))
    with pytest.raises(RuntimeError, match="Sequential raised StopIteration"):
        method.explain(IMAGES, TARGETS)


def test_a_stop_iteration_in_a_metric_and_in_a_call() -> None:
    classifier = TINY["cnn"]()
    case = Case(classifier, IMAGES, TARGETS, TARGETS, torch.rand(3, 16, 16))
    for call in (lambda: metric("deletion", steps=3).score(replace(case)), lambda: classifier.probabilities(IMAGES)):
        call()  # what is found once is found now
        classifier.module._forward_pre_hooks.clear()
        failing(classifier, 1, StopIteration())
        with pytest.raises(RuntimeError, match="raised StopIteration"):
            call()


@pytest.mark.parametrize(
    ("error", "at"),
    product([torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory: 9 bytes")], [1, 2]),
    ids=str,
)
def test_a_first_call_without_memory_leaves_the_fast_layout(error: Exception, at: int) -> None:
    assert tiny(cnn()).fast_layout(IMAGES).is_contiguous(memory_format=torch.channels_last)
    classifier = tiny(cnn())
    failing(classifier, at, error)
    with suppress(type(error)):  # a trial pass may fail without harm
        classifier.fast_layout(IMAGES)
    assert classifier.fast_layout(IMAGES).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("error", [KeyError("once"), RuntimeError("cuDNN error"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("what", ["layer", "heads", "spatial_layers", "n_classes", "class_map_layer"])
def test_a_failure_is_not_kept(error: BaseException, what: str) -> None:
    classifier, fresh = Classifier(tiny(cnn()).module, input_size=(16, 16)), tiny(cnn())
    failing(classifier, 1, error)
    with suppress(type(error)):  # a trial pass may fail without harm
        getattr(classifier, what)
    assert getattr(classifier, what) == getattr(fresh, what)


class CountsStrides(nn.Module):
    """Takes contiguous tensors alone."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = cnn()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x.view(len(x), -1).view(x.shape))


def test_a_network_that_needs_the_slow_layout_still_has_it() -> None:
    assert tiny(CountsStrides()).fast_layout(IMAGES).is_contiguous()
