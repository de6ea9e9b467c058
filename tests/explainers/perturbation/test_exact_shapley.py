"""Exact Shapley values of a network: the mean gain over all orders, written again."""

import re
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from support.command import run
from support.tiny_models import TINY, TinyViT, tiny

from seewhy.errors import SeewhyError
from seewhy.explainers import explainer
from seewhy.masking.players import divide

IMAGES = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
FOUR: dict[str, Any] = {"players": "patches", "size": 8}


@pytest.mark.parametrize("selector", ["logit", "probability"])
def test_it_is_the_mean_gain_over_all_orders(selector: str) -> None:
    classifier = TINY["functional"]()
    classifier = replace(classifier, module=classifier.module.double())
    ids = divide(IMAGES, "patches", 8).ids[0]
    maps: Any = explainer("exact_shapley", classifier, **FOUR, selector=selector, baseline=0.3, batch_size=3)
    found = maps.explain_classes(IMAGES, torch.tensor([4, 1]))
    for image, of_image in zip(IMAGES, found, strict=True):
        for c, of_class in zip((4, 1), of_image, strict=True):
            expected = torch.zeros(16, 16, dtype=torch.float64)
            for order in permutations(range(4)):
                seen, scores = torch.full_like(image, 0.3), []
                for i in (-1, *order):
                    seen = torch.where(ids == i, image, seen)
                    logits = classifier.logits(seen[None])[0].detach()
                    scores.append((logits if selector == "logit" else logits.softmax(0))[c])
                for i, before, after in zip(order, scores, scores[1:], strict=False):
                    expected += (ids == i) * (after - before) / 24
            torch.testing.assert_close(of_class, expected, rtol=0, atol=1e-12)
            assert expected.std() > 1e-6


def test_its_errors_are_zero() -> None:
    method: Any = explainer("exact_shapley", TINY["cnn"](), **FOUR)
    targets = torch.tensor([0, 2, 2])
    maps, errors = method.explain_with_errors(IMAGES.float(), targets)
    assert torch.equal(maps, method.explain(IMAGES.float(), targets))
    assert torch.equal(errors, torch.zeros_like(maps))


def test_dropped_tokens_of_a_transformer() -> None:
    """Equal to Kernel SHAP of all coalitions, which is another formula."""
    classifier = tiny(TinyViT())
    options = {"players": "patches", "size": 8, "removal": "mask_tokens"}
    targets = torch.tensor([0, 2, 4])
    exact = explainer("exact_shapley", classifier, **options).explain(IMAGES.float(), targets)
    solved = explainer("kernel_shap", classifier, **options, samples=14).explain(IMAGES.float(), targets)
    torch.testing.assert_close(exact, solved, rtol=0, atol=1e-5)
    assert exact.std() > 1e-3


def test_more_than_sixteen_players_are_refused() -> None:
    with pytest.raises(SeewhyError, match=r"exact values of 64 players need 2\^64 sets: at most 16"):
        explainer("exact_shapley", TINY["cnn"](), players="patches", size=2).explain(IMAGES.float(), torch.tensor([0, 1, 2]))


def test_the_patches_of_a_surrogate_may_be_too_many_and_the_line_names_the_option(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without ``size``, the surrogate's own patches are the players: 144 of them."""
    Image.new("RGB", (96, 96), "teal").save(tmp_path / "picture.png")
    given = ("--model", "shapes/vit", "--surrogate", "shapes/vit_surrogate", "--explainer", "exact_shapley")
    refused = run(capfd, "explain", tmp_path / "picture.png", *given, "--out", tmp_path / "out")
    assert refused.status == 2
    said = refused.err.splitlines()[-1]  # before it stands a warning on the stem of the network
    assert re.match(r"seewhy: exact values of 144 players .* give fewer, larger players with size=\.\.\. ", said)
