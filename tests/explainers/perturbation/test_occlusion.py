"""Occlusion: the definition written slowly, what a linear network makes of it, numbers by hand, and Captum's own maps."""

from copy import deepcopy
from dataclasses import replace
from functools import cache
from math import exp
from typing import Any

import pytest
import torch
from support.tiny_models import TINY
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.explainers import Occlusion, explainer

TARGETS = torch.tensor([3, 1])


@cache
def double(model: str) -> Classifier:
    classifier = TINY[model]()
    return replace(classifier, module=deepcopy(classifier.module).double())


def pictures(h: int = 16, w: int = 16) -> Tensor:
    return torch.rand(2, 3, h, w, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def same(actual: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    scale = expected.abs().max().item()
    assert scale > 1e-5
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance * scale)


def oracle(classifier: Classifier, image: Tensor, c: int, window: int, stride: int, gray: float, of: str) -> Tensor:
    """One window and one pixel at a time."""

    def score(x: Tensor) -> float:
        z = classifier.logits(x[None])[0].tolist()
        if of == "logit":
            return z[c]
        return 1 / (1 + exp(-z[c])) if classifier.multilabel else exp(z[c]) / sum(exp(o) for o in z)

    def starts(side: int) -> list[int]:
        found = [0]
        while found[-1] + window < side:  # the border is not reached
            found.append(found[-1] + stride)
        return found

    h, w = image.shape[-2:]
    sums, counts = torch.zeros(h, w).double(), torch.zeros(h, w).double()
    for top in starts(h):
        for left in starts(w):
            hidden = image.clone()
            hidden[:, top : top + window, left : left + window] = gray
            sums[top : top + window, left : left + window] += score(image) - score(hidden)
            counts[top : top + window, left : left + window] += 1
    assert counts.min() >= 1
    return sums / counts


@pytest.mark.parametrize("of", ["probability", "logit"])
@pytest.mark.parametrize(("window", "stride", "gray"), [(6, 4, 0.0), (5, 5, 0.5), (16, 1, 0.0)])
@pytest.mark.parametrize("model", list(TINY))
@torch.no_grad()
def test_occlusion_is_the_mean_fall_over_the_windows(model: str, window: int, stride: int, gray: float, of: Any) -> None:
    classifier, images = double(model), pictures()
    method = Occlusion(classifier, window, stride, baseline=gray, selector=of, batch_size=7)
    for image, target, found in zip(images, TARGETS, method.explain(images, TARGETS), strict=True):
        same(found, oracle(classifier, image, int(target), window, stride, gray, of))


def linear(h: int, w: int) -> Classifier:
    """Five classes, each a weighted sum of the pixels."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * h * w, 5)).double()
    return Classifier(module, mean=(0.0,) * 3, std=(1.0,) * 3, input_size=(h, w))


@pytest.mark.parametrize(("h", "w"), [(12, 12), (12, 20)])
def test_windows_that_do_not_overlap_add_up_on_a_linear_network(h: int, w: int) -> None:
    """Windows of one pixel: input x gradient. Larger ones: its sum over the window. All of them: the logit without bias."""
    classifier, images = linear(h, w), pictures(h, w)
    contribution = explainer("input_x_gradient", classifier).explain(images, TARGETS)
    pixels = Occlusion(classifier, 1, 1, selector="logit").explain(images, TARGETS)
    same(pixels, contribution)
    squares = Occlusion(classifier, 4, 4, selector="logit").explain(images, TARGETS)
    sums = contribution.unflatten(2, (-1, 4)).unflatten(1, (-1, 4)).sum((2, 4))
    same(squares, sums.repeat_interleave(4, 1).repeat_interleave(4, 2))
    total = classifier.scores(images, TARGETS) - classifier.scores(torch.zeros_like(images), TARGETS)
    same(squares.sum((1, 2)) / 16, total.detach())


def test_a_window_is_cut_at_the_border_and_no_pixel_left_out() -> None:
    """Five pixels, windows of two at 0, 2 and 4: the last hides one pixel. The logit is the weighted sum 1, 2, 3, 4, 5."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(25, 2, bias=False))
    with torch.no_grad():
        module[1].weight.copy_(torch.stack([torch.eye(5).mul(torch.arange(1.0, 6)).flatten(), torch.zeros(25)]))
    classifier = Classifier(module, mean=(0.0,), std=(1.0,), input_size=(5, 5))
    image, target = torch.ones(1, 1, 5, 5), torch.tensor([0])
    found = Occlusion(classifier, 2, 2, selector="logit").explain(image, target)[0]
    expected = torch.zeros(5, 5)
    expected[:2, :2], expected[2:4, 2:4], expected[4, 4] = 3.0, 7.0, 5.0
    assert torch.equal(found, expected)
    overlapping = Occlusion(classifier, 2, 1, selector="logit").explain(image, target)[0]
    assert overlapping[0, 0] == 3.0  # one window: pixels 1 and 2 of the diagonal
    assert overlapping[1, 1] == (3.0 + 2.0 + 2.0 + 5.0) / 4
    assert overlapping[0, 4] == 0.0


def test_evidence_against_the_class_is_negative() -> None:
    classifier, images = linear(8, 8), pictures(8, 8)
    with torch.no_grad():
        classifier.module[1].weight[0] = -1.0
    assert Occlusion(classifier, 2).explain(images, torch.tensor([0, 0])).max() < 0
    assert Occlusion(classifier, 2, selector="logit").explain(images, torch.tensor([0, 0])).max() < 0


@pytest.mark.parametrize(("size", "window", "passes"), [((224, 224), 32, 13 * 13), ((16, 16), 2, 15 * 15), ((3, 3), 1, 9)])
def test_the_window_fits_the_image(size: tuple[int, int], window: int, passes: int) -> None:
    method = Occlusion(TINY["cnn"]())
    chosen, stride = method._sizes(torch.zeros(1, 3, *size))
    assert (chosen, stride) == (window, max(1, window // 2))
    from seewhy.explainers.perturbation.occlusion import covers

    assert len(covers(size[0], chosen, stride)) ** 2 == passes


@pytest.mark.parametrize(
    ("options", "says"),
    [({"window": 17}, "window=17 of 16 pixels"), ({"window": 0}, "window=0"), ({"window": 4, "stride": 5}, "skips pixels")],
)
def test_windows_that_cannot_be_are_refused(options: dict[str, object], says: str) -> None:
    with pytest.raises(SeewhyError, match=says):
        explainer("occlusion", TINY["cnn"](), **options).explain(torch.zeros(1, 3, 16, 16), torch.tensor([0]))


def test_no_more_images_than_the_batch_size_and_all_classes_from_the_same() -> None:
    classifier, images = double("cnn"), pictures()
    Occlusion(classifier, 8, 4).explain(images, TARGETS)  # probes once
    sizes: list[int] = []
    first: Any = classifier.module[0]
    count = first.register_forward_hook(lambda m, args, out: sizes.append(len(out)))
    Occlusion(classifier, 8, 4, batch_size=4).explain_classes(images, torch.arange(5))
    count.remove()
    assert max(sizes) == 4
    assert sum(sizes) == 2 * (1 + 9)


@pytest.mark.parametrize(("window", "stride"), [(4, 4), (5, 3), (7, 2), (16, 3)])
@pytest.mark.parametrize("model", ["cnn", "vit", "functional"])
def test_occlusion_is_captums(model: str, window: int, stride: int) -> None:
    attr = pytest.importorskip("captum.attr", reason="captum is not installed: this test compares with it")
    classifier, images = double(model), pictures()
    gray = images.flip(0) * 0.5
    expected = attr.Occlusion(classifier.logits).attribute(
        images,
        sliding_window_shapes=(3, window, window),
        strides=(3, stride, stride),
        baselines=gray,
        target=TARGETS,
        perturbations_per_eval=8,
    )
    found = Occlusion(classifier, window, stride, baseline=gray, selector="logit").explain(images, TARGETS)
    same(found, expected[:, 0].double(), 1e-6)
