"""RELAX and U-RELAX: running estimates written again, what theory says, and heads of other kinds."""

from copy import deepcopy
from dataclasses import replace
from itertools import product

import pytest
import torch
from support.tiny_models import SIZE, TINY
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.explainers import explainer
from seewhy.explainers.perturbation.random_masks import MaskStream
from seewhy.explainers.perturbation.relax import Relax
from seewhy.explainers.perturbation.u_relax import URelax


def double(name: str) -> Classifier:
    classifier = TINY[name]()
    return replace(classifier, module=deepcopy(classifier.module).double())


def pictures(n: int = 2, seed: int = 1) -> Tensor:
    return torch.rand(n, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def all_masks(stream: MaskStream, batch_size: int = 7, h: int = SIZE, w: int = SIZE) -> Tensor:
    return torch.cat(list(stream.batches(torch.zeros(3, h, w, dtype=torch.float64), batch_size)))


def relax_by_hand(similarities: list[float], masks: Tensor) -> tuple[Tensor, Tensor]:
    """The running weighted mean and variance, mask by mask (West, 1979), as the paper estimates them."""
    _, h, w = masks.shape
    importance, uncertainty = (torch.zeros(h, w, dtype=torch.float64) for _ in range(2))
    for y, x in product(range(h), range(w)):
        weight = mean = squares = 0.0
        for s, m in zip(similarities, masks[:, y, x].tolist(), strict=True):
            weight += m
            if m:
                before, mean = mean, mean + m * (s - mean) / weight
                squares += m * (s - before) * (s - mean)
        importance[y, x], uncertainty[y, x] = mean, squares / weight if weight else 0.0
    return importance, uncertainty


def cosine(a: Tensor, b: Tensor) -> float:
    return float((a * b).sum() / (a.square().sum().sqrt() * b.square().sum().sqrt()))


@pytest.mark.parametrize("model", list(TINY))
def test_relax_is_the_running_mean_and_variance_of_similarities(model: str) -> None:
    classifier, images, targets = double(model), pictures(2), torch.tensor([0, 1])
    method = Relax(classifier, samples=40, cells=4, baseline=0.25, seed=2, batch_size=9)
    importance, uncertainty = method.explain_with_uncertainty(images, targets)
    masks = all_masks(MaskStream(40, 4, seed=2))
    for i, image in enumerate(images):
        whole = classifier.embed(image[None])[0].detach()
        similarities = [cosine(classifier.embed((m * image + (1 - m) * 0.25)[None])[0].detach(), whole) for m in masks]
        expected = relax_by_hand(similarities, masks)
        torch.testing.assert_close(importance[i], expected[0], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(uncertainty[i], expected[1], rtol=1e-7, atol=1e-12)
        paper = replace(method, normalization="expected").explain_with_uncertainty(images[i : i + 1], targets[:1])
        r = torch.stack([s * m for s, m in zip(similarities, masks, strict=True)]).mean(0) / 0.5
        u = torch.stack([(s - r) ** 2 * m for s, m in zip(similarities, masks, strict=True)]).mean(0) / 0.5
        torch.testing.assert_close(paper[0][0], r, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(paper[1][0], u, rtol=1e-7, atol=1e-12)


def test_u_relax_keeps_the_certain_part_of_relax() -> None:
    classifier, images, targets = double("cnn"), pictures(2), torch.tensor([0, 1])
    importance, uncertainty = Relax(classifier, samples=30, cells=4).explain_with_uncertainty(images, targets)
    for threshold in ("mean", "median"):
        found = URelax(classifier, threshold, samples=30, cells=4).explain(images, targets)
        for i in range(2):
            flat = sorted(uncertainty[i].flatten().tolist())
            limit = sum(flat) / len(flat) if threshold == "mean" else flat[(len(flat) - 1) // 2]
            kept = uncertainty[i] <= limit * (1 + 1e-12)
            assert 0 < int(kept.sum()) < SIZE * SIZE
            assert threshold == "mean" or int(kept.sum()) == SIZE * SIZE // 2
            assert torch.equal(found[i], torch.where(kept, importance[i], 0.0))


class Half(nn.Module):
    """Its embedding reads the left half of the image alone."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.head = nn.Linear(3 * SIZE * SIZE // 2, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.read(x[..., : SIZE // 2].flatten(1)).tanh())


def test_relax_shows_the_half_that_the_embedding_reads() -> None:
    torch.manual_seed(4)
    classifier = Classifier(Half().eval(), input_size=(SIZE, SIZE))
    assert classifier.heads == ("head",)
    importance = Relax(classifier, samples=1500, cells=4).explain(pictures(1).float(), torch.tensor([0]))[0]
    assert (
        importance[:, : SIZE // 2 - 2].mean() > importance[:, SIZE // 2 + 2 :].mean() + importance[:, SIZE // 2 + 4 :].std()
    )


class ByKeyword(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Half()

    def forward(self, x: Tensor) -> Tensor:
        return self.inner.head(input=self.inner.read(x[..., : SIZE // 2].flatten(1)).tanh())


@pytest.mark.parametrize("name", ["relax", "u_relax"])
def test_a_head_may_be_called_by_keyword(name: str) -> None:
    module = ByKeyword().eval()
    images, targets = pictures(2).float(), torch.tensor([0, 1])
    plain, named = (Classifier(m, input_size=(SIZE, SIZE)) for m in (module.inner, module))
    assert named.heads == ("inner.head",)
    found = explainer(name, named, samples=20).explain(images, targets)
    assert torch.equal(found, explainer(name, plain, samples=20).explain(images, targets))


@pytest.mark.parametrize("batch_size", [1, 7, 32, 50])
def test_u_relax_keeps_all_of_an_image_that_no_mask_changes(batch_size: int) -> None:
    """Of the mean color: rounding does not decide which pixels are uncertain."""
    classifier = replace(TINY["vit_registers"](), mean=(0.5, 0.5, 0.5))
    gray, target = torch.full((1, 3, SIZE, SIZE), 0.5), torch.tensor([0])
    importance, uncertainty = Relax(classifier, samples=100).explain_with_uncertainty(gray, target)
    assert not uncertainty.any()
    found = explainer("u_relax", classifier, samples=100, batch_size=batch_size).explain(gray, target)
    torch.testing.assert_close(found, importance)


def test_relax_is_certain_of_an_embedding_that_never_changes() -> None:
    module = Half()
    with torch.no_grad():
        module.read.weight.zero_()
    method = Relax(Classifier(module.eval(), input_size=(SIZE, SIZE)), samples=60)
    importance, uncertainty = method.explain_with_uncertainty(pictures(1).float(), torch.tensor([0]))
    torch.testing.assert_close(importance, torch.ones_like(importance))
    torch.testing.assert_close(uncertainty, torch.zeros_like(uncertainty), rtol=0, atol=1e-6)
