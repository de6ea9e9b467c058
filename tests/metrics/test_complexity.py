"""Metrics of simplicity: by hand, against literal re-writings, at their bounds, and against Quantus where it is right."""

from math import log

import pytest
import torch
from support import metric_oracles_regions as oracle
from support.tiny_models import TINY
from torch import Tensor

from seewhy.metrics.case import Case
from seewhy.metrics.complexity import Complexity, EffectiveSize, Sparseness, TieShare

METRICS = [Complexity(), Sparseness(), EffectiveSize(), EffectiveSize(threshold=0.3), TieShare()]


def case(maps: Tensor) -> Case:
    n, h, w = maps.shape
    return Case(TINY["cnn"](), torch.rand(n, 3, h, w), torch.zeros(n).long(), torch.zeros(n).long(), maps)


def complexity(maps: Tensor) -> Tensor:
    return Complexity().score(case(maps))


def sparseness(maps: Tensor) -> Tensor:
    return Sparseness().score(case(maps))


def effective_size(maps: Tensor, threshold: float = 1e-5) -> Tensor:
    return EffectiveSize(threshold).score(case(maps))


def tie_share(maps: Tensor) -> Tensor:
    return TieShare().score(case(maps))


def random_maps() -> Tensor:
    maps = torch.randn(9, 6, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    maps[::3] = (maps[::3] * 2).round() / 2
    maps[1::3] = maps[1::3].relu()
    return torch.cat([maps, maps[:1] * 0, maps[:1] * 0 - 2])


def same(actual: Tensor, expected: list[float], tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=actual.dtype), rtol=tolerance, atol=tolerance)


def test_by_hand() -> None:
    maps = torch.tensor([[[1.0, -2.0], [1.0, 0.0]]], dtype=torch.float64)
    same(complexity(maps), [1.5 * log(2)])
    same(sparseness(maps), [(-3 * 0 - 1 * 1 + 1 * 1 + 3 * 2) / (4 * 4)])
    same(effective_size(maps), [3 / 4])
    same(effective_size(maps, 0.5), [1 / 4])  # |a| > half of the largest: strictly
    same(tie_share(maps), [2 / 4])


def test_against_the_oracle() -> None:
    maps = random_maps()
    for metric, expected in {
        Complexity(): [oracle.complexity(a) for a in maps.numpy()],
        Sparseness(): [oracle.sparseness(a) for a in maps.numpy()],
        EffectiveSize(threshold=0.3): [oracle.effective_size(a, 0.3) for a in maps.numpy()],
        TieShare(): [oracle.tie_share(a) for a in maps.numpy()],
    }.items():
        same(metric.score(case(maps)), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bounds(dtype: torch.dtype) -> None:
    """One pixel is the simplest map; an even map and a map of zeros are the most complex."""
    one = torch.zeros(1, 40, 50, dtype=dtype)
    one[0, 3, 4] = -7
    even = torch.cat([torch.zeros_like(one), torch.full_like(one, 0.3), torch.full_like(one, -1e-30)])
    assert complexity(one).tolist() == [0]
    same(sparseness(one), [1 - 1 / 2000], 1e-6)
    same(effective_size(one), [1 / 2000], 1e-6)
    same(complexity(even), [log(2000)] * 3, 1e-6)
    assert sparseness(even).tolist() == [0, 0, 0]
    assert effective_size(even).tolist() == tie_share(even).tolist() == [1, 1, 1]
    assert tie_share(torch.arange(12, dtype=dtype).view(1, 3, 4)).tolist() == [0]


@pytest.mark.parametrize("metric", METRICS, ids=repr)
def test_scale_place_and_company_do_not_matter(metric: object) -> None:
    maps = random_maps()
    whole = metric.score(case(maps))
    assert whole.isfinite().all()
    assert (whole >= metric.range[0]).all()
    assert (whole <= metric.range[1]).all()
    for i in range(len(maps)):
        same(metric.score(case(maps[i : i + 1])), whole[i : i + 1].tolist())
    same(metric.score(case(maps * -64)), whole.tolist())
    shuffled = maps.flatten(1)[:, torch.randperm(42, generator=torch.Generator().manual_seed(1))].view_as(maps)
    same(metric.score(case(shuffled)), whole.tolist())


@pytest.mark.parametrize("metric", METRICS, ids=repr)
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_single_precision(metric: object, scale: float) -> None:
    maps = random_maps().float()
    scores = metric.score(case(maps * scale))
    assert scores.dtype == torch.float32
    same(scores, metric.score(case(maps.double())).tolist(), 1e-5)


def test_quantus_agrees() -> None:
    """On positive maps that it does not normalize over the batch; it adds 1e-7 before the Gini index."""
    quantus = pytest.importorskip("quantus", reason="Quantus is not installed: this test compares with it")
    maps = torch.rand(6, 6, 7, generator=torch.Generator().manual_seed(2), dtype=torch.float64) + 0.01
    settings = {"normalise": False, "abs": True, "disable_warnings": True}
    a = maps[:, None].numpy()
    entropy = quantus.Complexity(**settings)
    same(complexity(maps), [float(v) for v in entropy.evaluate_batch(x_batch=a, a_batch=a.copy())], 1e-9)
    gini = quantus.Sparseness(**settings).evaluate_batch(x_batch=a, a_batch=a.copy())
    same(sparseness(maps), [float(v) for v in gini], 1e-6)
    counted = quantus.EffectiveComplexity(eps=0.5, **settings).evaluate_batch(a_batch=a / a.max((1, 2, 3), keepdims=True))
    same(effective_size(maps, 0.5) * 42, [float(v) for v in counted], 1e-9)
