"""LIME and KernelSHAP: the regressions written again, exact Shapley values, games with a known answer, and Captum."""

from collections import Counter
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from itertools import combinations, permutations, product
from math import comb, exp, factorial, sqrt
from typing import Any

import pytest
import torch
from support.tiny_models import SIZE, TINY, cnn, tiny
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.explainers import explainer
from seewhy.explainers.perturbation.kernel_shap import KernelShap, all_coalitions, leverage_coalitions, sample_coalitions
from seewhy.explainers.perturbation.lime import Lime
from seewhy.masking.players import divide

NINE: dict[str, Any] = {"players": "patches", "size": 6}
"""Nine patches of the tiny images, 6 or 4 pixels along a side."""


def double(name: str) -> Classifier:
    classifier = TINY[name]()
    return replace(classifier, module=deepcopy(classifier.module).double())


def pictures(n: int = 2, seed: int = 1) -> Tensor:
    return torch.rand(n, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def striped() -> Tensor:
    """Two pictures that divide into different numbers of superpixels."""
    images = pictures(2)
    images[1] = torch.arange(SIZE) % 2
    return images


def linear(weight: Tensor, bias: float = 0.3) -> Classifier:
    layer = nn.Linear(weight.shape[1], len(weight), dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.fill_(bias)
    return Classifier(nn.Sequential(nn.Flatten(), layer), mean=(0.5,) * 3, std=(0.5,) * 3, input_size=(SIZE, SIZE))


def values(classifier: Classifier, image: Tensor, gray: float, ids: Tensor, c: int) -> dict[frozenset[int], float]:
    """v(S), the logit, of every coalition."""
    p = int(ids.max()) + 1
    found = {}
    for size in range(p + 1):
        for players in combinations(range(p), size):
            kept = torch.isin(ids, torch.tensor(players, dtype=torch.long))
            found[frozenset(players)] = float(classifier.logits(torch.where(kept, image, gray)[None])[0, c].detach())
    return found


def shapley_by_hand(v: dict[frozenset[int], float], p: int) -> list[float]:
    """Equation 8 of the paper: the mean gain by a player, over sizes and coalitions without it."""
    found = []
    for i in range(p):
        total = 0.0
        for s, value in v.items():
            if i not in s:
                chance = factorial(len(s)) * factorial(p - len(s) - 1) / factorial(p)
                total += chance * (v[s | {i}] - value)
        found.append(total)
    return found


def test_the_formula_by_hand_is_the_mean_over_orders() -> None:
    """So that the oracle itself is right."""
    v = {frozenset(s): float(torch.randn(())) for n in range(5) for s in combinations(range(4), n)}
    gains = [0.0] * 4
    for order in permutations(range(4)):
        for place, i in enumerate(order):
            before = frozenset(order[:place])
            gains[i] += (v[before | {i}] - v[before]) / 24
    assert shapley_by_hand(v, 4) == pytest.approx(gains)


# -- KernelSHAP -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["cnn", "vit", "functional"])
@pytest.mark.parametrize("baseline", ["black", 0.7])
def test_kernel_shap_of_all_coalitions_is_the_shapley_value(model: str, baseline: Any) -> None:
    classifier, image = double(model), pictures(1)[0]
    ids = divide(image[None], "patches", 6).ids[0]
    gray = 0.0 if baseline == "black" else baseline
    found = KernelShap(classifier, **NINE, samples=510, baseline=baseline, batch_size=64).explain_classes(
        image[None], torch.tensor([3, 0])
    )
    for j, c in enumerate((3, 0)):
        expected = torch.tensor(shapley_by_hand(values(classifier, image, gray, ids, c), 9), dtype=torch.float64)
        assert expected.std() > 1e-4
        torch.testing.assert_close(found[0, j], expected[ids], rtol=0, atol=1e-10)


def test_a_sample_of_coalitions_comes_near_the_shapley_value() -> None:
    """Nearer with more, and nearer than the values differ among themselves."""
    classifier, images, target = double("functional"), pictures(1), torch.tensor([2])
    exact = KernelShap(classifier, **NINE, samples=510).explain(images, target)
    spread = exact.std()

    def error(samples: int) -> float:
        return sum(
            float((KernelShap(classifier, **NINE, samples=samples, seed=s).explain(images, target) - exact).square().mean())
            for s in range(6)
        )

    few, many = (error(n) ** 0.5 / 6**0.5 for n in (40, 400))
    assert many < 0.1 * spread
    assert many < 0.7 * few


@pytest.mark.parametrize("samples", [30, 509, 510, 600])
def test_kernel_shap_adds_up_exactly(samples: int) -> None:
    """Also where coalitions are fewer than players, with superpixels, and in probabilities."""
    classifier, images = double("cnn"), striped()
    for options in (NINE, {"players": "superpixels", "size": 30}, {"players": "patches", "size": 2, "samples": 30}):
        method = KernelShap(classifier, **{"samples": samples, **options}, selector="probability", baseline=0.2)
        maps = method.explain_classes(images, torch.arange(5))
        players = divide(images, method.players, method.size)
        change = classifier.probabilities(images) - classifier.probabilities(torch.full_like(images, 0.2))
        for c in range(5):
            torch.testing.assert_close(players.means(maps[:, c]).sum(1), change[:, c].detach(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["lime", "kernel_shap"])
@pytest.mark.parametrize("samples", [100, 2000])
def test_an_additive_game_is_recovered(name: str, samples: int) -> None:
    """The logit is a sum over pixels: every player is worth its own part, whatever the coalitions.

    The images have different numbers of players.
    """
    weight = torch.randn(3, 3 * SIZE * SIZE, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    classifier, images = linear(weight), striped()
    plain: dict[str, Any] = {"ridge": 0.0, "width": 0.5, "selector": "logit"} if name == "lime" else {}
    method: Any = explainer(name, classifier, size=30, samples=samples, baseline=0.4, **plain)
    players = divide(images, "superpixels", 30)
    assert len(set(players.counts.tolist())) == 2
    maps = method.explain_classes(images, torch.tensor([2, 0]))
    for j, c in enumerate((2, 0)):
        worth = (weight[c].view(3, SIZE, SIZE) / 0.5 * (images - 0.4)).sum(1)
        expected = players.means(worth) * players.sizes()
        for i in range(2):
            torch.testing.assert_close(maps[i, j], expected[i][players.ids[i]], rtol=0, atol=1e-9)


def test_players_without_influence_get_nothing_and_equal_ones_the_same() -> None:
    """A product of two patches: each gets half of it, the others 0."""

    class Product(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            y = x[:, 0, 0, 0] * x[:, 0, 15, 15]
            return torch.stack([y, -y], 1)

    classifier = Classifier(Product(), mean=(0.0,) * 3, std=(1.0,) * 3, input_size=(SIZE, SIZE))
    images = torch.ones(1, 3, SIZE, SIZE, dtype=torch.float64)
    maps = KernelShap(classifier, **NINE, baseline="black").explain(images, torch.tensor([0]))
    expected = torch.zeros(SIZE, SIZE, dtype=torch.float64)
    expected[:6, :6] = expected[12:, 12:] = 0.5
    torch.testing.assert_close(maps[0], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("p", [2, 3, 7, 30])
def test_coalitions_are_drawn_by_the_shapley_kernel(p: int) -> None:
    """Sizes s in proportion to 1 / (s (p - s)); every player in half of the coalitions; each with its complement."""
    kept, weights = sample_coalitions(p, 20_000, seed=1)
    assert torch.equal(kept[:20_000], ~kept[20_000:])
    assert weights.unique().tolist() == [1.0]
    share = torch.bincount(kept.sum(1), minlength=p + 1) / len(kept)
    kernel = torch.tensor([0.0] + [1 / (s * (p - s)) for s in range(1, p)] + [0.0])
    torch.testing.assert_close(share, kernel / kernel.sum(), rtol=0, atol=0.01)
    torch.testing.assert_close(kept[:20_000].float().mean(0), torch.full((p,), 0.5), rtol=0, atol=0.015)


def test_all_coalitions_are_there_once() -> None:
    kept, weights = all_coalitions(5)
    assert len(kept.unique(dim=0)) == len(kept) == 30
    of_size = {s: float(weights[kept.sum(1) == s].sum()) for s in range(1, 5)}
    for s, weight in of_size.items():
        assert weight == pytest.approx(4 / (s * (5 - s)))


# -- its draw by leverage scores ----------------------------------------------------------------------------------------


def constant(p: int, pairs: int) -> float:
    """The c for which the expected number of coalitions is 2 pairs, by halving an interval."""
    low, high = 0.0, float(2**p)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(min(comb(p, s), middle) for s in range(1, p)) < 2 * pairs else (low, middle)
    return high


@pytest.mark.parametrize(("p", "pairs"), [(5, 7), (6, 10), (6, 25)])
def test_coalitions_are_drawn_with_their_probabilities(p: int, pairs: int) -> None:
    """min(1, c / C(p, s)): the leverage score is 1 / C(p, s). The kernel divided by it is the weight."""
    c, seen, draws = constant(p, pairs), Counter[tuple[bool, ...]](), 800
    for seed in range(draws):
        kept, weights = leverage_coalitions(p, pairs, seed)
        seen.update(map(tuple, kept.tolist()))
    for coalition in product([False, True], repeat=p):
        s = sum(coalition)
        chance = min(1, c / comb(p, s)) if 0 < s < p else 0
        assert seen[coalition] / draws == pytest.approx(chance, abs=4 * sqrt(chance * (1 - chance) / draws) + 1e-12)
    for row, weight in zip(kept.tolist(), weights.tolist(), strict=True):
        s = sum(row)
        kernel = (p - 1) / (comb(p, s) * s * (p - s))
        assert weight == pytest.approx(kernel / min(1, c / comb(p, s)))


@pytest.mark.parametrize(
    ("p", "pairs"), [(3, 1), (4, 6), (7, 20), (7, 62), (12, 500), (13, 41), (50, 512), (200, 60), (1500, 7)]
)
def test_no_coalition_is_drawn_twice_and_each_has_its_complement(p: int, pairs: int) -> None:
    kept, weights = leverage_coalitions(p, pairs, seed=3)
    assert len(kept) == len(weights) == 2 * pairs
    assert len(kept.unique(dim=0)) == 2 * pairs
    assert torch.equal(kept[:pairs], ~kept[pairs:])
    assert kept.sum(1).min() > 0
    assert weights.isfinite().all()
    assert weights.min() > 0
    assert torch.equal(leverage_coalitions(p, pairs, seed=3)[0], kept)


@pytest.mark.parametrize("p", [2, 3, 5, 6])
def test_all_pairs_have_the_weights_of_the_kernel(p: int) -> None:
    """So that the values are exact as soon as every coalition is drawn."""
    (kept, weights), (every, kernel) = leverage_coalitions(p, 2 ** (p - 1) - 1, seed=0), all_coalitions(p)
    found = dict(zip(map(tuple, kept.tolist()), weights.tolist(), strict=True))
    assert found == pytest.approx(dict(zip(map(tuple, every.tolist()), kernel.tolist(), strict=True)))


def test_the_values_are_the_projected_regression() -> None:
    """Leverage SHAP as it is written: Z is projected by P = I - 11' / n, and the part of the constraint is put back."""
    classifier, images, n = double("vit"), pictures(1), 9
    method = KernelShap(classifier, **NINE, samples=60, baseline=0.4, seed=5)
    found = divide(images, "patches", 6).means(method.explain(images, torch.tensor([2])))[0]
    ids = divide(images, "patches", 6).ids[0]
    v = values(classifier, images[0], 0.4, ids, 2)
    none, whole = v[frozenset()], v[frozenset(range(n))]
    c, rows, target = constant(n, 30), [], []
    for coalition in leverage_coalitions(n, 30, seed=5)[0].double():
        s = int(coalition.sum())
        root = sqrt(1 / (comb(n, s) * s * (n - s)) / min(1, c / comb(n, s)))
        rows.append(root * coalition)
        players = frozenset(i for i in range(n) if coalition[i])
        target.append(root * (v[players] - none - s * (whole - none) / n))
    projection = torch.eye(n, dtype=torch.float64) - 1 / n
    b = torch.tensor(target, dtype=torch.float64)
    solution = torch.linalg.lstsq(torch.stack(rows) @ projection, b, driver="gelsd").solution
    torch.testing.assert_close(found, projection @ solution + (whole - none) / n, rtol=0, atol=1e-9)


def test_large_draws_come_to_the_exact_values() -> None:
    """509 coalitions of 510: nearly all. And the mean over many draws is nearer than one draw is."""
    classifier, images, target = double("functional"), pictures(1), torch.tensor([2])
    exact = KernelShap(classifier, **NINE, samples=510).explain(images, target)
    spread = float(exact.std())
    nearly = KernelShap(classifier, **NINE, samples=508).explain(images, target)
    assert 0 < float((nearly - exact).square().mean().sqrt()) < 0.01 * spread
    draws = [KernelShap(classifier, **NINE, samples=60, seed=s).explain(images, target) - exact for s in range(12)]
    alone = sum(float(d.square().mean()) for d in draws) / 12
    assert float(torch.stack(draws).mean(0).square().mean()) < alone / 3


# -- LIME -------------------------------------------------------------------------------------------------------------


def lime_loss(b: Tensor, z: Tensor, scores: Tensor, weights: Tensor, ridge: float) -> Tensor:
    """Equation 2 and the penalty; the intercept is the last entry of b."""
    loss = ridge * b[:-1].square().sum()
    for row, score, weight in zip(z, scores, weights, strict=True):
        loss = loss + weight * (score - (row @ b[:-1] + b[-1])) ** 2
    return loss


@pytest.mark.parametrize("distance", ["cosine", "l2"])
@pytest.mark.parametrize("ridge", [0.01, 1.0])
def test_lime_minimizes_equation_2(distance: Any, ridge: float) -> None:
    """The gradient of the loss, written as a loop, vanishes at its weights and the best intercept."""
    classifier, image, c = double("cnn_multilabel"), pictures(1)[0], 4
    method = Lime(classifier, **NINE, samples=60, distance=distance, width=0.4, ridge=ridge, baseline="white", seed=8)
    z = torch.rand(60, 9, generator=torch.Generator().manual_seed(8)) < 0.5
    z[0] = True
    ids = divide(image[None], "patches", 6).ids[0]
    scores = torch.stack([classifier.logits(torch.where(row[ids], image, 1.0)[None])[0, c].sigmoid() for row in z]).detach()
    weights = []
    for row in z.double():
        ones = torch.ones(9, dtype=torch.float64)
        cosine = float(row @ ones / (row.norm() * ones.norm())) if row.any() else 0.0
        d = 1 - cosine if distance == "cosine" else float((row - ones).norm()) / 3
        weights.append(exp(-(d**2) / (2 * 0.4**2)))
    found = method.explain(image[None], torch.tensor([c]))[0]
    b = torch.stack([found[ids == i][0] for i in range(9)])
    w = torch.tensor(weights, dtype=torch.float64)
    intercept = (w * (scores - z.double() @ b)).sum() / w.sum()
    full = torch.cat([b, intercept[None]]).requires_grad_()
    (gradient,) = torch.autograd.grad(lime_loss(full, z.double(), scores, w, ridge), full)
    assert b.abs().max() > 1e-4
    torch.testing.assert_close(gradient, torch.zeros_like(gradient), rtol=0, atol=1e-10)


def test_lime_draws_each_player_in_half_of_the_masks_and_starts_with_the_image() -> None:
    kept = Lime(tiny(cnn()), samples=20_000).coalitions(12)[0]
    assert bool(kept[0].all())
    torch.testing.assert_close(kept.float().mean(0), torch.full((12,), 0.5), rtol=0, atol=0.015)


# -- both -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lime", "kernel_shap"])
def test_a_picture_of_one_player(name: str) -> None:
    """One patch: KernelSHAP gives it the whole change; LIME its share after the penalty."""
    classifier, images = double("cnn"), pictures(1)
    change = (classifier.logits(images) - classifier.logits(torch.zeros_like(images)))[0, 1].detach()
    plain: dict[str, Any] = {"ridge": 0.0} if name == "lime" else {}
    method = explainer(name, classifier, players="patches", size=16, selector="logit", baseline="black", samples=9, **plain)
    torch.testing.assert_close(method.explain(images, torch.tensor([1])), change.expand(1, SIZE, SIZE), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["lime", "kernel_shap"])
def test_equal_coalitions_are_run_once(name: str) -> None:
    classifier, seen = tiny(cnn()), []
    method = explainer(name, classifier, players="patches", size=8, samples=500, batch_size=5)
    method.explain(pictures(1).float(), torch.tensor([0]))
    handle = classifier.module[0].register_forward_hook(lambda m, inputs, output: seen.append(len(inputs[0])))
    try:
        method.explain(pictures(1).float(), torch.tensor([0]))
    finally:
        handle.remove()
    assert seen == [5, 5, 5, 1]


@pytest.mark.parametrize("name", ["lime", "kernel_shap"])
def test_bfloat16_agrees(name: str) -> None:
    classifier, images, targets = tiny(cnn()), pictures(3).float(), torch.tensor([0, 3, 1])
    exact, rough = (
        explainer(name, classifier, size=12, samples=200, precision=precision).explain(images, targets).flatten(1)
        for precision in ("fp32", "bf16")
    )
    assert not torch.equal(exact, rough)
    for one, other in zip(exact, rough, strict=True):
        assert float(torch.corrcoef(torch.stack([one, other]))[0, 1]) > 0.95


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("lime", {"width": 0.0}, "width=0.0: give a number above 0"),
        ("lime", {"samples": 0}, "samples"),
        ("lime", {"ridge": -1.0}, "ridge"),
        ("lime", {"distance": "l1"}, "cosine or l2"),
        ("kernel_shap", {"players": "cells"}, "superpixels"),
        ("kernel_shap", {"samples": "many"}, "samples"),
    ],
)
def test_wrong_options_are_named(name: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(SeewhyError, match=said):
        explainer(name, tiny(cnn()), **options)


@pytest.mark.parametrize("name", ["lime", "kernel_shap"])
def test_too_many_players_are_refused(name: str) -> None:
    with pytest.raises(SeewhyError, match="4096 players are too many"):
        explainer(name, tiny(cnn()), players="pixels").explain(torch.rand(1, 3, 64, 64), torch.tensor([0]))


# -- Captum -----------------------------------------------------------------------------------------------------------


def captum(part: str) -> Any:
    return pytest.importorskip(f"captum.{part}", reason="captum is not installed: this test compares with it")


@pytest.mark.parametrize("model", ["cnn", "vit", "functional"])
def test_lime_is_captums(model: str) -> None:
    """The same masks, its ridge in place of its lasso, and the distance between masks."""
    pytest.importorskip("sklearn")
    linear_model = captum("_utils.models.linear_model")
    classifier, images, target = double(model), pictures(1), 3
    ids = divide(images, "superpixels", 10).ids
    ours = Lime(classifier, size=10, samples=80, ridge=1.0, baseline=0.3, seed=4)
    masks = iter(ours.coalitions(int(ids.max()) + 1)[0].long())
    theirs = captum("attr").Lime(
        classifier.probabilities,
        interpretable_model=linear_model.SkLearnRidge(alpha=1.0),
        similarity_func=lambda x, y, z, **_: float((-((1 - z.double().mean().sqrt()) ** 2) / (2 * 0.25**2)).exp()),
        perturb_func=lambda x, **_: next(masks)[None],
    )
    expected = theirs.attribute(
        images, baselines=0.3, target=target, feature_mask=ids[:, None], n_samples=80, perturbations_per_eval=8
    )
    found = ours.explain(images, torch.tensor([target]))
    assert found.std() > 1e-4
    torch.testing.assert_close(found, expected[:, 0].to(found), rtol=1e-4, atol=1e-6)  # its regression is in float32


@pytest.mark.parametrize("model", ["cnn", "vit", "functional"])
def test_kernel_shap_is_captums(model: str) -> None:
    """The same coalitions; Captum comes near the constraint by weights of 1000000."""
    pytest.importorskip("sklearn")
    classifier, images, target = double(model), pictures(1), 3
    ids = divide(images, "superpixels", 10).ids
    p = int(ids.max()) + 1
    coalitions, _ = sample_coalitions(p, 40, seed=4)
    theirs = captum("attr").KernelShap(classifier.logits)
    ends = torch.tensor([[1], [0]]).expand(2, p)

    def perturbed(*_: object, **__: object) -> Iterator[Tensor]:
        yield from torch.cat([ends, coalitions.long()]).split(1)

    theirs.perturb_func = perturbed
    expected = theirs.attribute(images, baselines=0.3, target=target, feature_mask=ids[:, None], n_samples=82)
    ours = KernelShap(classifier, size=10, samples=80, sampling="kernel", baseline=0.3, seed=4)
    found = ours.explain(images, torch.tensor([target]))
    assert found.std() > 1e-4
    torch.testing.assert_close(found, expected[:, 0].to(found), rtol=0, atol=float(1e-3 * found.abs().max()))


def test_many_draws_of_captum_come_to_the_same() -> None:
    """Its own sampling, unpaired: the exact values within its noise."""
    pytest.importorskip("sklearn")
    classifier, images, target = double("functional"), pictures(1), 2
    ids = divide(images, "patches", 6).ids
    exact = KernelShap(classifier, **NINE, samples=510, baseline="black").explain(images, torch.tensor([target]))
    torch.manual_seed(3)
    theirs = captum("attr").KernelShap(classifier.logits)
    expected = theirs.attribute(images, target=target, feature_mask=ids[:, None], n_samples=6000, perturbations_per_eval=50)
    assert (expected[:, 0] - exact).std() < 0.2 * exact.std()
