"""The fast preset of Opti-CAM: its steps against numpy, one image at a time in float64, and what they are worth."""

from copy import deepcopy
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from support.tiny_models import TINY
from torch import Tensor, nn
from torch.nn.functional import interpolate

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.explainers import FastOptiCAM, OptiCAM, explainer
from seewhy.explainers.optimized.feature_masks import combination
from seewhy.explainers.optimized.opti_cam_fast import solve_damped, tilt
from seewhy.maps import min_max
from seewhy.masking.baselines import blend

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
TARGETS = torch.tensor([2, 4])


def double(model: str) -> Classifier:
    classifier = TINY[model]()
    return replace(classifier, module=deepcopy(classifier.module).double())


def said(classifier: Classifier, images: Tensor, masks: Tensor, targets: Tensor) -> Tensor:
    """The log-probability of the class under the mask."""
    logits = classifier.logits(blend(images, masks, torch.zeros_like(images))).detach()
    return logits.log_softmax(1).gather(1, targets[:, None])[:, 0]


def share_of_range(cells: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return (cells - cells.min()) / (cells.max() - cells.min())


def followed(features: np.ndarray[Any, Any], u: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any], damping: float) -> Any:
    """Three tilts of the weights, each through the covariance that numpy finds."""
    for _ in range(3):
        w = np.exp(u - u.max()) / np.exp(u - u.max()).sum()
        level = features - features.mean(1, keepdims=True)
        s, target = w @ level, wanted - wanted.mean()
        covariance = np.cov(level.T, aweights=w, ddof=0)
        alpha = max(np.polyfit(target, s, 1)[0], 0)
        ridge = damping * np.trace(covariance) / len(s) + np.finfo(float).eps * np.square(features).mean()
        v = np.linalg.inv(covariance + ridge * np.eye(len(s))) @ (alpha * target - s)
        change = (level - s) @ v
        u = u + change * min(1, 4 / np.abs(change).max())
    return u


def oracle(classifier: Classifier, features: Tensor, image: Tensor, c: int, steps: int, damping: float) -> Tensor:
    """The best of the masks of the first ``steps`` variables u."""
    grid, f = features.shape[1:], features.flatten(1).numpy()
    u, first, second, masks, losses = np.zeros(len(f)), np.zeros(f.shape[1]), np.zeros(f.shape[1]), [], []
    for t in range(1, steps + 1):
        cells = np.exp(u) @ f / np.exp(u).sum()
        m = torch.tensor(share_of_range(cells)).requires_grad_()
        fine = interpolate(m.view(1, 1, *grid), image.shape[1:], mode="bilinear")[0, 0]
        mask = (fine - fine.min()) / (fine.max() - fine.min())
        p = classifier.logits((image * mask)[None]).softmax(1)[0, c]
        loss = -(p / (1 - p)).log()
        g = torch.autograd.grad(loss, m)[0].numpy()
        masks.append(mask.detach())
        losses.append(float(loss.detach()))
        first, second = 0.85 * first + 0.15 * g, 0.98 * second + 0.02 * g * g
        rate = 0.2 / (1 + (t - 1) / 20)
        step = -rate * first / (1 - 0.85**t) / (np.sqrt(second / (1 - 0.98**t)) + 1e-8)
        u = followed(f, u, m.detach().numpy() + step, damping)
    return masks[int(np.argmin(losses))]


@pytest.mark.parametrize("damping", [0.2, 2.0])
@pytest.mark.parametrize("model", ["cnn", "vit"])
def test_every_step_is_that_of_the_equations(model: str, damping: float) -> None:
    classifier = double(model)
    features = OptiCAM(classifier).features(IMAGES).detach()
    for steps in (1, 2, 3, 6):
        ours = FastOptiCAM(classifier, steps=steps, damping=damping).explain(IMAGES, TARGETS)
        parts = zip(features, IMAGES, TARGETS, strict=True)
        theirs = torch.stack([oracle(classifier, f, x, int(c), steps, damping) for f, x, c in parts])
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    assert not torch.allclose(ours, FastOptiCAM(classifier, steps=1).explain(IMAGES, TARGETS), atol=1e-3)


def test_the_weights_take_a_small_step_of_the_map() -> None:
    """Hardly damped, and with channels enough, the map after the tilt is the map that was wanted."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(3, 40, 3, 4, generator=generator, dtype=torch.float64)
    u = torch.randn(3, 40, generator=generator, dtype=torch.float64)
    wanted = combination(features, u) + 0.01 * torch.randn(3, 3, 4, generator=generator, dtype=torch.float64)
    reached = combination(features, tilt(features, u, wanted, damping=1e-9))

    def apart(a: Tensor, b: Tensor) -> Tensor:
        return 1 - torch.nn.functional.cosine_similarity(
            *((m.flatten(1) - m.flatten(1).mean(1, keepdim=True)) for m in (a, b))
        )

    before = apart(combination(features, u), wanted)
    assert (apart(reached, wanted) < 1e-3 * before).all()


@pytest.mark.parametrize(("d", "p"), [(5, 9), (9, 5), (6, 6)])
def test_channels_or_cells_give_the_same_solution(d: int, p: int) -> None:
    generator = torch.Generator().manual_seed(d)
    apart = torch.randn(2, d, p, generator=generator, dtype=torch.float64)
    w = torch.rand(2, d, generator=generator, dtype=torch.float64)
    right = torch.randn(2, p, generator=generator, dtype=torch.float64)
    least = torch.tensor([0.02, 0.5], dtype=torch.float64)
    v = solve_damped(apart, w, right, 0.3, least)
    for i in range(2):
        covariance = sum(w[i, k] * torch.outer(apart[i, k], apart[i, k]) for k in range(d))
        assert isinstance(covariance, Tensor)
        ridge = 0.3 * covariance.trace() / p + least[i]
        torch.testing.assert_close(covariance @ v[i] + ridge * v[i], right[i])


@pytest.mark.parametrize("options", [{}, {"objective": "io_mask"}, {"objective": "io_diff"}, {"layer": ("2", "6")}])
def test_more_steps_are_never_worse(options: dict[str, Any]) -> None:
    """The best mask is kept, so that the loss of the map that is returned cannot rise with the steps."""
    method = FastOptiCAM(double("cnn"), **options)
    wanted = TARGETS[:, None, None]
    blank, aim = torch.zeros_like(IMAGES), method.aim(IMAGES, wanted)
    losses = []
    for steps in (1, 2, 4, 8, 16):
        maps = FastOptiCAM(method.classifier, steps=steps, **options).explain(IMAGES, TARGETS)
        losses.append(method.loss(IMAGES, blank, maps, wanted, aim).detach())
    for worse, better in pairwise(losses):
        assert (better <= worse + 1e-9).all()
    assert losses[-1].sum() < losses[0].sum()


def test_a_seventh_of_the_steps_is_worth_them_all_on_the_built_in_transformer() -> None:
    classifier = seewhy.load("shapes/vit")
    batch = seewhy.DATASETS["shapes"](n=24, seed=3).batch(range(24))
    fast = said(classifier, batch.images, FastOptiCAM(classifier).explain(batch.images, batch.labels), batch.labels).exp()
    slow = said(classifier, batch.images, OptiCAM(classifier).explain(batch.images, batch.labels), batch.labels).exp()
    short = OptiCAM(classifier, steps=15).explain(batch.images, batch.labels)
    assert fast.mean() > slow.mean() - 0.005
    assert fast.mean() > said(classifier, batch.images, short, batch.labels).exp().mean()


def test_an_image_in_a_batch_is_the_image_alone() -> None:
    classifier = double("cnn")
    images = torch.cat([IMAGES, IMAGES[:1].flip(3)])
    targets = torch.tensor([2, 4, 1])
    for tolerance in (1e-10, 0.05):
        method = FastOptiCAM(classifier, tolerance=tolerance)
        alone = [method.explain(images[i : i + 1], targets[i : i + 1]) for i in range(3)]
        torch.testing.assert_close(method.explain(images, targets), torch.cat(alone), rtol=0, atol=1e-7)


def test_a_change_below_the_tolerance_ends_it() -> None:
    classifier = double("cnn")
    stopped = FastOptiCAM(classifier, tolerance=1e9).explain(IMAGES, TARGETS)
    two = FastOptiCAM(classifier, steps=2).explain(IMAGES, TARGETS)
    torch.testing.assert_close(stopped, two, rtol=0, atol=0)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.37, -31.7])
def test_features_that_do_not_vary_are_a_mask_of_zeros(value: float) -> None:
    """Nothing can be combined; what differs by rounding is not blown up, and nothing is divided by zero."""
    scales = torch.linspace(0.5, 2, 9)[:, None, None]
    features = (value * scales).expand(2, 9, 7, 7).contiguous()
    u = torch.zeros(2, 9)
    wanted = torch.rand(2, 7, 7, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(tilt(features, u, wanted, 0.2), u, rtol=0, atol=1e-2)


@pytest.mark.parametrize("method", [OptiCAM, FastOptiCAM])
@pytest.mark.parametrize("side", [32, 8])
def test_grids_that_show_nothing_are_masks_of_zeros(method: type[OptiCAM], side: int) -> None:
    """Patches of a constant image all look alike, and a grid of one cell has no places."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 8, stride=8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    classifier = Classifier(module.eval(), mean=(0.0,) * 3, std=(1.0,) * 3, input_size=(32, 32))
    images = torch.rand(40, 3, 1, 1, generator=torch.Generator().manual_seed(1)).expand(-1, -1, side, side)
    maps = method(classifier, layer="1").explain(images, torch.arange(40) % 4)
    torch.testing.assert_close(maps, torch.zeros_like(maps), rtol=0, atol=0)


def test_weights_that_chose_one_channel_stay_finite() -> None:
    features = torch.randn(1, 30, 4, 4, generator=torch.Generator().manual_seed(1))
    u = torch.full((1, 30), -90.0)
    u[0, 3] = 60.0
    wanted = torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(2))
    for _ in range(40):
        u = tilt(features, u, wanted, 0.2)
        assert u.isfinite().all()


def test_many_cells_are_solved_by_several_threads() -> None:
    """A batched LU failed here, with two threads and no fault in the matrices."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(4, 512, 13, 13, generator=generator).relu()
    wanted = min_max(features.mean(1)) + 0.3 * torch.randn(4, 13, 13, generator=generator)
    before, u = torch.get_num_threads(), torch.zeros(4, 512)
    try:
        torch.set_num_threads(2)
        for _ in range(5):
            u = tilt(features, u, wanted, 0.2)
    finally:
        torch.set_num_threads(before)
    assert u.isfinite().all()
    for a, b, c in zip(features.mean(1), combination(features, u), wanted, strict=True):
        start, reached = (torch.corrcoef(torch.stack([m.flatten(), c.flatten()]))[0, 1] for m in (a, b))
        assert reached > max(start, torch.tensor(0.9))


def test_a_network_that_answers_nan_keeps_the_first_mask() -> None:
    classifier = double("cnn")
    first = FastOptiCAM(classifier, steps=1).explain(IMAGES, TARGETS)
    handle = classifier.module.register_forward_hook(lambda _m, _a, out: out * torch.tensor([[float("nan")], [1.0]]))
    maps = FastOptiCAM(classifier, steps=6).explain(IMAGES, TARGETS)
    handle.remove()
    torch.testing.assert_close(maps[0], first[0])
    torch.testing.assert_close(maps[1], FastOptiCAM(classifier, steps=6).explain(IMAGES, TARGETS)[1])


def test_bf16_is_worth_the_same() -> None:
    classifier = seewhy.load("shapes")
    batch = seewhy.DATASETS["shapes"](n=12, seed=3).batch(range(12))
    exact = FastOptiCAM(classifier).explain(batch.images, batch.labels)
    rough = FastOptiCAM(classifier, precision="bf16").explain(batch.images, batch.labels)
    assert rough.dtype == torch.float32
    assert not torch.equal(exact, rough)
    exact, rough = (said(classifier, batch.images, m, batch.labels).exp() for m in (exact, rough))
    assert (exact.mean() - rough.mean()).abs() < 0.01


def test_what_it_cannot_do_is_refused() -> None:
    with pytest.raises(SeewhyError, match=r"cannot take damping=0\.0: give a number of at least 0\.001"):
        explainer("opti_cam_fast", TINY["cnn"](), damping=0.0)
    with pytest.raises(SeewhyError, match="cannot take normalization='sigmoid': give range"):
        explainer("opti_cam_fast", TINY["cnn"](), normalization="sigmoid")
