"""TIS: its steps written again in float64, on tokens that are really left out; k-means by hand and by the slow loop."""

from math import exp
from typing import Any, cast

import pytest
import torch
from support.tiny_models import SIZE, TINY
from support.tiny_transformers import pictures, transformer_classifier
from torch import Tensor

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyWarning, UnsuitedError
from seewhy.explainers import ExplainsClasses, explainer
from seewhy.explainers.perturbation.transformer_input_sampling import highest, k_means
from seewhy.maps import upsample

Point = list[float]


def slow_k_means(points: list[Point], k: int, seed: int) -> list[Point]:
    drawn = torch.randperm(len(points), generator=torch.Generator().manual_seed(seed))[:k].tolist()
    centers, before = [list(points[i]) for i in drawn], None
    for _ in range(100):
        nearest = []
        for point in points:
            distances = [sum((a - b) ** 2 for a, b in zip(point, center, strict=True)) for center in centers]
            nearest.append(distances.index(min(distances)))
        if nearest == before:
            break
        before = nearest
        for c in range(len(centers)):
            mine = [point for point, n in zip(points, nearest, strict=True) if n == c]
            if mine:
                centers[c] = [sum(values) / len(mine) for values in zip(*mine, strict=True)]
    return centers


def on_tokens(network: Any, images: Tensor, patches: list[int]) -> tuple[list[Tensor], Tensor]:
    """A ViT of timm, block after block, on the class token and some patches: what the blocks return, and the logits."""
    tokens = network.patch_embed(images)
    tokens = torch.cat([network.cls_token.expand(len(images), -1, -1), tokens], 1) + network.pos_embed
    tokens, made = tokens[:, [0, *(p + 1 for p in patches)]], []
    for block in network.blocks:
        tokens = block(tokens)
        made.append(tokens)
    return made, network.head(network.norm(tokens)[:, 0])


def tis(classifier: Classifier, image: Tensor, c: int, masks: int, keep: float, seed: int) -> list[float]:
    """S_j = sum_i s_i M_ij / sum_i M_ij, with s_i the probability of the class on the patches of M_i alone."""
    network, normalized = cast(Any, classifier.module), classifier.normalize(image[None])
    made, _ = on_tokens(network, normalized, list(range(16)))
    points = [tokens[0, 1:, d].tolist() for tokens in made for d in range(tokens.shape[2])]
    sums, counts = [0.0] * 16, [0] * 16
    for center in slow_k_means(points, masks, seed):
        chosen = sorted(range(16), key=lambda j: (-center[j], j))[: int(keep * 16)]
        logits = on_tokens(network, normalized, sorted(chosen))[1][0].tolist()
        for j in chosen:
            sums[j] += exp(logits[c]) / sum(map(exp, logits))
            counts[j] += 1
    return [s / n if n else 0.0 for s, n in zip(sums, counts, strict=True)]


@pytest.mark.parametrize(("masks", "keep", "seed"), [(12, 0.5, 0), (7, 0.2, 3)])
@torch.no_grad()
def test_it_is_the_papers_algorithm(masks: int, keep: float, seed: int) -> None:
    classifier, images = transformer_classifier("timm_vit", double=True), pictures("timm_vit", 2, double=True)
    method = explainer("transformer_input_sampling", classifier, masks=masks, keep_ratio=keep, seed=seed, batch_size=5)
    assert isinstance(method, ExplainsClasses)
    found = method.explain_classes(images, torch.tensor([2, 4]))
    for image, maps in zip(images, found, strict=True):
        for c, one in zip((2, 4), maps, strict=True):
            patches = torch.tensor(tis(classifier, image, c, masks, keep, seed), dtype=torch.float64)
            assert patches.max() > patches.min() + 1e-3
            torch.testing.assert_close(one, upsample(patches.view(1, 4, 4), (64, 64))[0], rtol=0, atol=1e-10)


@pytest.mark.parametrize("k", [1, 3, 10, 40])
def test_k_means_is_the_slow_loop(k: int) -> None:
    points = torch.rand(40, 3, generator=torch.Generator().manual_seed(k), dtype=torch.float64) ** 2
    torch.testing.assert_close(k_means(points, k, 5), torch.tensor(slow_k_means(points.tolist(), k, 5), dtype=torch.float64))


def test_k_means_by_hand() -> None:
    """Two pairs of points: whatever the start, the centers are their middles or, from a pair, the whole and a point."""
    points = torch.tensor([[0.0, 0.0], [0.0, 2.0], [10.0, 0.0], [10.0, 2.0]])
    starts = [sorted(k_means(points, 2, seed).tolist()) for seed in range(6)]
    assert [[0.0, 1.0], [10.0, 1.0]] in starts
    assert all(s in ([[0.0, 1.0], [10.0, 1.0]], [[5.0, 0.0], [5.0, 2.0]]) for s in starts)
    assert sorted(k_means(points, 9, 0).tolist()) == points.tolist()  # no more centers than points
    equal = torch.ones(4, 2)
    assert k_means(equal, 3, 0).tolist() == equal[:3].tolist()  # two of the centers have no point


def test_sets_are_the_highest_patches() -> None:
    centers = torch.tensor([[0.1, 0.9, 0.5, 0.7], [1.0, 1.0, 1.0, 1.0]])
    assert highest(centers, 0.5).tolist() == [[False, True, False, True], [True, True, False, False]]
    assert highest(centers, 0.1).sum(1).tolist() == [1, 1]
    assert highest(centers, 1.0).all()


def test_all_patches_give_the_score_of_the_image() -> None:
    classifier, images = transformer_classifier("timm_deit_distilled"), pictures("timm_deit_distilled", 2)
    maps = explainer("transformer_input_sampling", classifier, masks=3, keep_ratio=1.0).explain(images, torch.tensor([1, 4]))
    expected = classifier.probabilities(images)[[0, 1], [1, 4]]
    torch.testing.assert_close(maps, expected[:, None, None].expand_as(maps).detach())


@pytest.mark.parametrize("name", ["hf_dinov2_registers", "timm_siglip"])
def test_a_batch_of_eight_is_eight_images_and_classes_are_the_loop(name: str) -> None:
    classifier, images, targets = transformer_classifier(name), pictures(name, 8), torch.arange(8) % 5
    method = explainer("transformer_input_sampling", classifier, masks=10)
    together = method.explain(images, targets)
    alone = torch.cat([method.explain(images[i : i + 1], targets[i : i + 1]) for i in range(8)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-5)
    assert torch.equal(together, method.explain(images, targets))
    assert isinstance(method, ExplainsClasses)
    classes = method.explain_classes(images[:2], torch.tensor([4, 0]))
    for j, k in enumerate((4, 0)):
        torch.testing.assert_close(classes[:, j], method.explain(images[:2], torch.full((2,), k)), rtol=0, atol=1e-6)


def test_a_network_that_cannot_drop_patches_is_refused_in_one_line() -> None:
    with pytest.raises(UnsuitedError, match="sampling is not defined for it") as error:
        explainer("transformer_input_sampling", TINY["cnn"]())
    assert "\n" not in str(error.value)
    assert "removal" not in str(error.value)
    assert (
        explainer("transformer_input_sampling", TINY["vit"](), masks=4)
        .explain(torch.rand(1, 3, SIZE, SIZE), torch.tensor([0]))
        .isfinite()
        .all()
    )


def test_finer_compares_with_the_most_similar_classes_of_the_whole_image() -> None:
    """Its score is a sum of logits, and the map is linear in the score: the same sum of the maps of these classes."""
    classifier, image = transformer_classifier("timm_vit", double=True), pictures("timm_vit", 1, double=True)
    method = explainer("transformer_input_sampling", classifier, masks=8, selector="logit")
    maps = method.explain_classes(image, torch.arange(5))[0]  # type: ignore
    logits = classifier.logits(image)[0].tolist()
    similar = min((d for d in range(5) if d != 2), key=lambda d: abs(logits[d] - logits[2]))
    finer = explainer("transformer_input_sampling", classifier, masks=8, selector=("finer", 0.5, 1))
    torch.testing.assert_close(finer.explain(image, torch.tensor([2]))[0], maps[2] - 0.5 * maps[similar])


def test_the_built_in_transformer_whose_stem_overlaps_its_patches_has_a_map() -> None:
    classifier = seewhy.load("shapes/vit")
    with pytest.warns(SeewhyWarning, match="stem of ShapesViT overlaps its patches"):
        method = explainer("transformer_input_sampling", classifier, masks=6)
    maps = method.explain(torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0)), torch.tensor([0]))
    assert maps.isfinite().all()
    assert maps.amax() > maps.amin()
