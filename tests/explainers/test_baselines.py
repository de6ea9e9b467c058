"""A baseline for each image stays with its image: in chunks, in wrappers, for several classes, and in metrics."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from support.tiny_models import TINY
from torch import Tensor

from seewhy.errors import SeewhyError
from seewhy.explainers import Explainer, explainer
from seewhy.masking.values import RemovePixels
from seewhy.metrics import Case, metric
from seewhy.metrics.cost import measure

N = 5
GENERATOR = torch.Generator().manual_seed(5)
IMAGES = torch.rand(N, 3, 16, 16, generator=GENERATOR)
EACH = torch.rand(N, 3, 16, 16, generator=GENERATOR)
"""A baseline for each image."""
TARGETS = torch.tensor([0, 3, 1, 2, 4])
CLASSIFIER = TINY["cnn"]()


def method(name: str, baselines: Tensor, **options: object) -> Explainer:
    """The method with these baselines; ``of`` a gradient method that has them, if its name says so."""
    name, _, read = name.partition(" of ")
    if read:
        return explainer(name, CLASSIFIER, of=method(read, baselines), **options)
    few: dict[str, dict[str, Any]] = {
        "integrated_gradients": {"steps": 4},
        "gradient_shap": {"samples": 4, "baselines": ("black", baselines)},
        "rise": {"samples": 8},
        "relax": {"samples": 8},
        "lime": {"samples": 8, "players": "patches", "size": 8},
        "kernel_shap": {"samples": 8, "players": "patches", "size": 8},
        "exact_shapley": {"players": "patches", "size": 8},
        "opti_cam": {"steps": 2},
        "occlusion": {"window": 8, "stride": 8},
    }
    given = {"baseline": baselines} if name != "gradient_shap" else {}
    return explainer(name, CLASSIFIER, **few.get(name, {}), **given, **options)


GRADIENTS = [
    "integrated_gradients",
    "gradient_shap",
    "positive_saliency of integrated_gradients",
    "negative_saliency of gradient_shap",
    "active_saliency of integrated_gradients",
    "inactive_saliency of gradient_shap",
]
MASKED = ["occlusion", "rise", "relax", "lime", "kernel_shap", "exact_shapley", "score_cam", "opti_cam"]


@pytest.mark.parametrize("size", [1, 2, 32])
@pytest.mark.parametrize("name", GRADIENTS + MASKED)
def test_each_image_has_its_own_baseline(name: str, size: int) -> None:
    alone = [method(name, EACH[i : i + 1]).explain(IMAGES[i : i + 1], TARGETS[i : i + 1]) for i in range(N)]
    together = method(name, EACH, batch_size=size).explain(IMAGES, TARGETS)
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", [*GRADIENTS, "occlusion", "score_cam"])
def test_each_image_has_its_own_baseline_for_several_classes(name: str) -> None:
    classes = torch.tensor([1, 4])
    maps: Any = method(name, EACH, batch_size=2)
    several = maps.explain_classes(IMAGES, classes)
    for j, c in enumerate(classes):
        torch.testing.assert_close(several[:, j], maps.explain(IMAGES, c.expand(N)), rtol=1e-3, atol=1e-5)


def test_more_images_than_a_batch() -> None:
    images = torch.rand(33, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    targets, each = torch.zeros(33, dtype=torch.long), images.flip(0)
    maps = method("integrated_gradients", each).explain(images, targets)
    last = method("integrated_gradients", each[32:]).explain(images[32:], targets[32:])
    torch.testing.assert_close(maps[32:], last)


@pytest.mark.parametrize("name", GRADIENTS)
@pytest.mark.parametrize("call", ["explain", "explain_classes"])
def test_two_baselines_for_four_images_are_refused(name: str, call: str) -> None:
    """With batch_size=2 they fit each chunk."""
    with pytest.raises(SeewhyError, match="2 baselines do not belong to 4 images: give one for each image, or one for all"):
        getattr(method(name, EACH[:2], batch_size=2), call)(IMAGES[:4], TARGETS[:4])


def test_a_gray_for_each_image_and_one_for_all() -> None:
    grays = torch.linspace(0, 1, N)[:, None, None, None]
    maps = method("integrated_gradients", grays, batch_size=2).explain(IMAGES, TARGETS)
    for i, gray in enumerate(grays.flatten().tolist()):
        alone = explainer("integrated_gradients", CLASSIFIER, steps=4, baseline=gray)
        torch.testing.assert_close(maps[i : i + 1], alone.explain(IMAGES[i : i + 1], TARGETS[i : i + 1]))
    one = method("integrated_gradients", EACH[:1], batch_size=2).explain(IMAGES, TARGETS)
    same = method("integrated_gradients", EACH[0], batch_size=2).explain(IMAGES, TARGETS)
    torch.testing.assert_close(one, same)


def test_metrics_that_explain_some_of_the_images() -> None:
    each = method("integrated_gradients", EACH)
    maps, cost = measure(each, IMAGES, TARGETS)
    assert cost.forward_equivalents > 0
    case = Case(CLASSIFIER, IMAGES, TARGETS, TARGETS, maps, explainer=each, batch_size=2)
    whole = metric("adcc_coherency").score(replace(case, batch_size=32))
    torch.testing.assert_close(metric("adcc_coherency").score(case), whole, rtol=1e-3, atol=1e-5)


def test_some_images_of_a_case_keep_their_own_baselines() -> None:
    """Images with different numbers of superpixels are scored in groups."""
    each, rows = method("integrated_gradients", EACH), torch.tensor([3, 1])
    maps = each.explain(IMAGES, TARGETS)
    case = Case(CLASSIFIER, IMAGES, TARGETS, TARGETS, maps, explainer=each, value=RemovePixels(CLASSIFIER, EACH))
    part = case.rows(rows)
    torch.testing.assert_close(part.explainer.explain(part.images, part.explained), maps[rows])  # type: ignore[union-attr]
    for size in (2, 6):
        measure_ = metric("pixel_flipping", size=size, players="superpixels")
        alone = [
            measure_.score(replace(case.rows(torch.tensor([i])), value=RemovePixels(CLASSIFIER, EACH[i]))) for i in range(N)
        ]
        torch.testing.assert_close(measure_.score(case), torch.cat(alone), rtol=1e-3, atol=1e-5)
