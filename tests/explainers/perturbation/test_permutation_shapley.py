"""Shapley values from permutations: the draws written again, errors that hold, and a draw that ends in time."""

from typing import Any

import torch
from support.tiny_models import TINY

import seewhy
from seewhy.explainers import explainer
from seewhy.explainers.base import HasErrors
from seewhy.masking.players import divide

IMAGES = torch.rand(8, 3, 16, 16, generator=torch.Generator().manual_seed(3))
TARGETS = torch.tensor([0, 3, 1, 2, 4, 0, 1, 2])
SIXTEEN: dict[str, Any] = {"players": "patches", "size": 4}


def test_the_map_is_the_mean_gain_of_its_orders() -> None:
    """Two orders and their reverses, gone through player by player in float64."""
    method: Any = explainer("permutation_shapley", TINY["cnn"](), **SIXTEEN, samples=1, baseline=0.2, seed=7)
    classifier, c, image = TINY["cnn"](), 3, IMAGES[0]
    ids = divide(IMAGES[:1], "patches", 4).ids[0]
    generator = torch.Generator().manual_seed(7)
    ranks = torch.rand(2, 16, generator=generator, dtype=torch.float64).argsort(1)
    draws = torch.zeros(2, 16, dtype=torch.float64)
    for j, rank in enumerate(ranks.tolist()):
        order = sorted(range(16), key=rank.__getitem__)
        for way in (order, order[::-1]):
            seen = torch.full_like(image, 0.2)
            for i in way:
                before = classifier.logits(seen[None])[0, c].item()
                seen = torch.where(ids == i, image, seen)
                draws[j, i] += (classifier.logits(seen[None])[0, c].item() - before) / 2
    maps, errors = method.explain_with_errors(IMAGES[:1], torch.tensor([c]))
    torch.testing.assert_close(maps[0].double(), draws.mean(0)[ids], rtol=0, atol=1e-5)
    torch.testing.assert_close(errors[0].double(), (draws.std(0) / 2**0.5)[ids], rtol=0, atol=1e-5)


def test_it_is_within_its_errors_of_the_exact_values() -> None:
    few: dict[str, Any] = {"players": "patches", "size": 6}
    exact = explainer("exact_shapley", TINY["functional"](), **few).explain(IMAGES, TARGETS)
    away = []
    for seed in range(8):  # the images of one seed have the same orders
        method: Any = explainer("permutation_shapley", TINY["functional"](), **few, samples=480, seed=seed)  # 30 pairs
        maps, errors = method.explain_with_errors(IMAGES, TARGETS)
        away.append((maps - exact).abs() / errors)
    held = float((torch.stack(away) <= 2.045).double().mean())  # Student's t of 29 degrees
    assert 0.91 < held < 0.99
    assert torch.equal(maps, method.explain(IMAGES, TARGETS))


def test_all_sets_are_asked_where_they_are_few_enough() -> None:
    method: Any = explainer("permutation_shapley", TINY["cnn"](), players="patches", size=8, samples=14)
    maps, errors = method.explain_with_errors(IMAGES, TARGETS)
    assert not errors.any()
    exact = explainer("exact_shapley", TINY["cnn"](), players="patches", size=8).explain(IMAGES, TARGETS)
    assert torch.equal(maps, exact)
    sampled: Any = explainer("permutation_shapley", TINY["cnn"](), players="patches", size=8, samples=13)
    assert sampled.explain_with_errors(IMAGES, TARGETS)[1].max() > 0


def test_a_batch_is_its_images_alone() -> None:
    method: Any = explainer("permutation_shapley", TINY["vit"](), **SIXTEEN, samples=60, batch_size=7)
    together = method.explain_with_errors(IMAGES, TARGETS)
    for i in range(8):
        alone = method.explain_with_errors(IMAGES[i : i + 1], TARGETS[i : i + 1])
        for one, all_ in zip(alone, together, strict=True):
            torch.testing.assert_close(one[0], all_[i], rtol=0, atol=1e-5)
    classes = torch.tensor([2, 0])
    maps, errors = method.explain_classes_with_errors(IMAGES[:2], classes)
    for j, c in enumerate(classes):
        one = method.explain_with_errors(IMAGES[:2], c.expand(2))
        torch.testing.assert_close((maps[:, j], errors[:, j]), one, rtol=0, atol=1e-5)


def test_the_width_decides_how_many_passes_are_made() -> None:
    classifier, seen = TINY["cnn"](), []
    handle = classifier.module[0].register_forward_hook(lambda m, inputs, output: seen.append(len(inputs[0])))
    calls = []
    try:
        for width in (0.0, 0.3, 0.1):
            seen.clear()
            method: Any = explainer("permutation_shapley", classifier, **SIXTEEN, samples=40_000, width=width)
            if width:
                maps, errors = method.explain_with_errors(IMAGES[:1], TARGETS[:1])
                assert 4 * errors.max() <= 1.1 * width * (maps.max() - maps.min())  # 4: two quantiles of Student's t
                calls.append(sum(seen))
            else:
                assert method.width == 0
    finally:
        handle.remove()
    assert 0 < calls[0] < calls[1] < 40_000


def test_an_explanation_has_the_errors() -> None:
    classifier = TINY["cnn"]()
    method = explainer("permutation_shapley", classifier, **SIXTEEN, samples=60)
    assert isinstance(method, HasErrors)
    explanation = seewhy.explain(IMAGES[0], classifier, method, target=2)
    maps, errors = method.explain_classes_with_errors(IMAGES[:1], torch.tensor([2]))
    assert explanation.error is not None
    assert torch.equal(explanation.map, maps[0, 0])
    assert torch.equal(explanation.error, errors[0, 0])  # type: ignore[index]
    assert seewhy.explain(IMAGES[0], classifier, "saliency", target=2).error is None


def test_more_players_than_are_asked_at_a_time() -> None:
    """256 players, a pixel each: the prefixes of an order are asked in two parts."""
    classifier = TINY["cnn"]()
    maps = explainer("permutation_shapley", classifier, players="pixels", samples=1).explain(IMAGES[:1], TARGETS[:1])
    gray = torch.tensor(classifier.mean)[:, None, None].expand(3, 16, 16)[None]
    change = classifier.logits(IMAGES[:1])[0, 0] - classifier.logits(gray)[0, 0]
    torch.testing.assert_close(maps.sum(), change.detach(), rtol=0, atol=1e-4)
