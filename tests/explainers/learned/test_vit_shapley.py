"""ViT-Shapley: its least squares and its normalization written out, and exact Shapley values as the solution."""

import pytest
import torch
from support.tiny_models import TINY
from torch import Tensor

from seewhy import explainer
from seewhy.explainers.learned.learned_explainer import ValuedSets
from seewhy.explainers.learned.vit_shapley import ViTShapley, additively_normalized
from seewhy.masking.shapley import exact_values


def vit_shapley(model: str = "vit_registers", **options: object) -> ViTShapley:
    made = explainer("vit_shapley", TINY[model](), **{"sets": 4, **options})
    assert isinstance(made, ViTShapley)
    return made.untrained()


def test_the_loss_is_the_squared_error_of_the_sums_times_the_players() -> None:
    n, m, p, k, method = 2, 3, 6, 5, vit_shapley()
    torch.manual_seed(0)
    phi = torch.randn(n, p, 1, k, dtype=torch.float64) / 10
    sets = ValuedSets(torch.rand(n, m, p) > 0.5, torch.randn(n, m, k), torch.ones(n, m, dtype=torch.bool))
    found = method.errors(phi, sets)
    empty = method.net.empty.double().softmax(0)
    for i in range(n):
        for j in range(m):
            v = sets.logits[i, j].double().softmax(0)
            squares = 0.0
            for c in range(k):
                total = float(empty[c])
                for player in range(p):
                    total += float(phi[i, player, 0, c]) if sets.kept[i, j, player] else 0.0
                squares += (total - float(v[c])) ** 2
            assert float(found[i, j]) == pytest.approx(p * squares / k, rel=1e-5)


def test_the_normalization_spreads_what_is_missing_evenly() -> None:
    phi, empty, whole = torch.randn(2, 6, 5), torch.rand(5), torch.rand(2, 5)
    found = additively_normalized(phi, empty, whole)
    for i in range(2):
        for c in range(5):
            missing = whole[i, c] - empty[c] - sum(phi[i, j, c] for j in range(6))
            for j in range(6):
                torch.testing.assert_close(found[i, j, c], phi[i, j, c] + missing / 6)
    torch.testing.assert_close(found.sum(1), whole - empty)


@pytest.mark.parametrize("model", ["vit_registers", "cnn", "cnn_multilabel"])
def test_the_maps_sum_to_what_the_image_gains(model: str, batch: tuple[Tensor, Tensor]) -> None:
    """v(all) is the explained network's own prediction, v(none) that of an image without any player."""
    method = vit_shapley(model, small=False)
    seen = method.see(batch[0])
    scores = method.scores(seen)
    classifier = method.classifier
    gained = classifier.to_probabilities(seen.logits) - classifier.to_probabilities(method.net.empty[None])
    torch.testing.assert_close(scores.sum(1), gained, atol=1e-5, rtol=1e-4)
    raw = vit_shapley(model, small=False, normalize=False)
    assert float((raw.scores(raw.see(batch[0])).sum(1) - gained).abs().max()) > 1e-3
    assert float(raw.scores(seen).abs().max()) <= 1  # bounded by tanh


def test_the_solution_is_the_shapley_values() -> None:
    """The least squares over all sets, weighed by the kernel, has the exact Shapley values as its minimum."""
    p, k = 5, 5
    torch.manual_seed(2)
    kept = (torch.arange(2**p)[:, None] >> torch.arange(p)) % 2 == 1
    logits = torch.randn(2**p, k)
    values = logits.softmax(1).double()
    exact = exact_values(lambda asked: values[(asked.long() << torch.arange(p)).sum(1)], p).values
    method = vit_shapley()
    method.net.empty.copy_(logits[0])
    sizes = kept.sum(1)
    inside = (sizes > 0) & (sizes < p)
    weights = [exp_weight(p, int(s)) for s in sizes[inside]]
    sets = ValuedSets(kept[None, inside], logits[None, inside], torch.ones(1, int(inside.sum()), dtype=torch.bool))
    phi = torch.zeros(1, p, k, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([phi], max_iter=500, tolerance_grad=1e-12, tolerance_change=1e-14)

    def closure() -> Tensor:
        optimizer.zero_grad()
        normal = additively_normalized(phi, values[0], values[-1:])
        loss = (method.errors(normal[:, :, None], sets) * torch.tensor(weights, dtype=torch.float64)).sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    found = additively_normalized(phi.detach(), values[0], values[-1:])[0]
    torch.testing.assert_close(found, exact, atol=1e-5, rtol=0)


def exp_weight(p: int, s: int) -> float:
    """The Shapley kernel of one set of s of p players."""
    chosen = 1.0
    for i in range(s):
        chosen = chosen * (p - i) / (i + 1)
    return (p - 1) / (chosen * s * (p - s))


@pytest.mark.parametrize("sampler", ["kernel", "released"])
def test_sets_come_in_pairs(sampler: str, batch: tuple[Tensor, Tensor]) -> None:
    method = vit_shapley(sampler=sampler, sets=6)
    kept = method.draw(None, method.see(batch[0]), 16, torch.Generator().manual_seed(0))
    assert torch.equal(kept[:, :3], ~kept[:, 3:])
    assert not torch.equal(kept[0], kept[1])
