"""RISE: equation 6 written again slowly, what theory says, when it stops; and what RISE and RELAX both keep to."""

from copy import deepcopy
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
import torch
from support.tiny_models import SIZE, TINY, cnn, tiny
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.explainers import explainer
from seewhy.explainers.perturbation.random_masks import ROUND, MaskStream
from seewhy.explainers.perturbation.rise import RISE
from seewhy.maps import pearson

BASELINES = [("black", 0.0), ("white", 1.0), (0.25, 0.25)]


def double(name: str) -> Classifier:
    classifier = TINY[name]()
    return replace(classifier, module=deepcopy(classifier.module).double())


def pictures(n: int = 2, seed: int = 1) -> Tensor:
    return torch.rand(n, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def all_masks(stream: MaskStream, batch_size: int = 7, h: int = SIZE, w: int = SIZE) -> Tensor:
    return torch.cat(list(stream.batches(torch.zeros(3, h, w, dtype=torch.float64), batch_size)))


def rise_by_hand(scores: list[float], masks: Tensor, p: float, own: bool) -> Tensor:
    n, h, w = masks.shape
    found = torch.zeros(h, w, dtype=torch.float64)
    for y, x in product(range(h), range(w)):
        total = sum(scores[i] * float(masks[i, y, x]) for i in range(n))
        weight = sum(float(masks[i, y, x]) for i in range(n)) if own else n * p
        found[y, x] = total / weight if weight else 0.0
    return found


@pytest.mark.parametrize("model", ["cnn", "cnn_multilabel", "vit", "functional"])
@pytest.mark.parametrize("normalization", ["expected", "own"])
def test_rise_is_equation_6(model: str, normalization: Any) -> None:
    classifier, images = double(model), pictures()
    for i, (selector, (baseline, gray)) in enumerate(
        zip(("probability", "logit", "log_probability"), BASELINES, strict=True)
    ):
        method = RISE(
            classifier,
            samples=23,
            cells=3 + i,
            keep_probability=0.3,
            normalization=normalization,
            selector=selector,
            baseline=baseline,
            seed=i,
            batch_size=5,
        )
        masks = all_masks(MaskStream(23, 3 + i, 0.3, seed=i))
        found = method.explain_classes(images, torch.tensor([4, 1]))
        for n, image in enumerate(images):
            logits = [classifier.logits((m * image + (1 - m) * gray)[None])[0] for m in masks]
            for j, c in enumerate((4, 1)):
                chances = [classifier.to_probabilities(z[None])[0, c] for z in logits]
                scores = {
                    "logit": [z[c] for z in logits],
                    "probability": chances,
                    "log_probability": [q.log() for q in chances],
                }
                expected = rise_by_hand([float(s.detach()) for s in scores[selector]], masks, 0.3, normalization == "own")
                torch.testing.assert_close(found[n, j], expected, rtol=1e-9, atol=1e-9)


def cell_masks(side: int) -> tuple[Tensor, Tensor]:
    """All 2^n masks of a grid of n = side^2 cells with sharp borders; and the cell of each pixel."""
    cells = torch.arange(SIZE) * side // SIZE
    of_pixel = cells[:, None] * side + cells
    kept = torch.tensor(list(product([0.0, 1.0], repeat=side * side)), dtype=torch.float64)
    return kept[:, of_pixel], of_pixel


@pytest.mark.parametrize("model", list(TINY))
@pytest.mark.parametrize("normalization", ["expected", "own"])
def test_rise_of_all_masks_is_the_mean_score_given_that_the_pixel_is_kept(model: str, normalization: Any) -> None:
    classifier, images = double(model), pictures(1)
    masks, _ = cell_masks(3)
    method = RISE(classifier, masks=masks, normalization=normalization, baseline="black", batch_size=50)
    maps, used = method.explain_counted(images, torch.tensor([2]))
    assert used.tolist() == [512]
    scores = classifier.probabilities(masks[:, None] * images).detach()[:, 2]
    expected = torch.stack([scores[masks[:, y, x] == 1].mean() for y in range(SIZE) for x in range(SIZE)])
    assert expected.std() > 1e-3 * expected.mean()
    torch.testing.assert_close(maps[0].flatten(), expected, rtol=1e-11, atol=0)


def linear(weight: Tensor) -> Classifier:
    """One row of pixel weights for each class, no bias; black is 0."""
    layer = nn.Linear(weight.shape[1], len(weight), bias=False, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.copy_(weight)
    return Classifier(nn.Sequential(nn.Flatten(), layer), mean=(0.0,) * 3, std=(1.0,) * 3, input_size=(SIZE, SIZE))


def test_rise_of_all_masks_adds_half_of_the_others_in_an_additive_network() -> None:
    weight = torch.randn(4, 3 * SIZE * SIZE, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    images, (masks, of_pixel) = pictures(1), cell_masks(3)
    method = RISE(linear(weight), masks=masks, selector="logit", baseline="black")
    worth = (weight[1].view(3, SIZE, SIZE) * images[0]).sum(0)
    cell = torch.tensor([float(worth[of_pixel == j].sum()) for j in range(9)], dtype=torch.float64)
    expected = (cell.sum() + cell) / 2  # its own worth whole, and half of each other's
    torch.testing.assert_close(method.explain(images, torch.tensor([1]))[0], expected[of_pixel], rtol=1e-11, atol=1e-11)


def test_rise_is_bright_where_the_network_looks() -> None:
    """And darker where it sees what speaks against the class."""
    weight = torch.zeros(2, 3, SIZE, SIZE, dtype=torch.float64)
    weight[1, :, :6, :6], weight[1, :, 10:, 10:] = 0.05, -0.05
    maps = RISE(linear(weight.flatten(1)), samples=1500, cells=4).explain(
        torch.ones(1, 3, SIZE, SIZE).double(), torch.tensor([1])
    )
    around = maps[0, :6, 10:].mean()
    assert maps[0, :6, :6].mean() > around + 0.02
    assert maps[0, 10:, 10:].mean() < around - 0.02


def test_each_image_and_class_stops_when_its_halves_agree() -> None:
    """The map is that of the masks that were used; the halves agree there, and did not a round before."""
    classifier, images = double("functional"), pictures(3)
    method = RISE(classifier, samples=20 * ROUND, tolerance=0.15, cells=4, normalization="own", selector="logit")
    targets = torch.tensor([0, 3, 1])
    maps, used = method.explain_counted(images, targets)
    assert len(set(used.tolist())) > 1
    assert int(used.max()) < 20 * ROUND
    masks = all_masks(MaskStream(20 * ROUND, 4), ROUND)
    for image, target, found, m in zip(images, targets, maps, used.tolist(), strict=True):
        assert m % ROUND == 0
        whole = RISE(classifier, samples=m, cells=4, normalization="own", selector="logit")
        torch.testing.assert_close(found, whole.explain(image[None], target[None])[0], rtol=1e-9, atol=1e-9)
        for count in range(ROUND, m + 1, ROUND):
            even, odd = (
                replace(whole, masks=masks[start:count:2]).explain(image[None], target[None]).flatten(1) for start in (0, 1)
            )
            assert (float(pearson(even, odd)) >= 0.85) == (count == m)


def test_stopping_does_not_depend_on_the_batch_nor_on_the_other_classes() -> None:
    classifier, images, targets = double("cnn"), pictures(3), torch.tensor([0, 3, 1])
    method = RISE(classifier, samples=9 * ROUND, tolerance=0.1, cells=4, normalization="own", selector="logit")
    maps, used = method.explain_counted(images, targets)
    for size in (7, 1000):
        again, counted = replace(method, batch_size=size).explain_counted(images, targets)
        assert counted.tolist() == used.tolist()
        torch.testing.assert_close(again, maps, rtol=1e-9, atol=1e-9)
    alone, counted = method.explain_counted(images[1:2], targets[1:2])
    assert counted.tolist() == used[1:2].tolist()
    torch.testing.assert_close(alone[0], maps[1], rtol=1e-9, atol=1e-9)
    classes = torch.tensor([0, 3])
    every, counts = method._counted(images, classes.expand(3, -1))
    assert torch.equal(every, method.explain_classes(images, classes))
    assert any(one != other for one, other in counts.tolist())  # else the next lines prove nothing
    for j, c in enumerate(classes):
        alone, counted = method.explain_counted(images, c.expand(3))
        assert counted.tolist() == counts[:, j].tolist()
        torch.testing.assert_close(every[:, j], alone, rtol=1e-9, atol=1e-9)


def test_a_network_that_sees_nothing_takes_all_samples() -> None:
    classifier = linear(torch.zeros(3, 3 * SIZE * SIZE))
    method = RISE(classifier, samples=2 * ROUND + 30, tolerance=1e-6, normalization="own")
    maps, used = method.explain_counted(pictures(2), torch.tensor([0, 1]))
    assert used.tolist() == [2 * ROUND + 30] * 2
    torch.testing.assert_close(maps, torch.full_like(maps, 1 / 3))
    assert replace(method, tolerance=0.0).explain_counted(pictures(2), torch.tensor([0, 1]))[1].tolist() == used.tolist()


@pytest.mark.parametrize("name", ["rise", "relax"])
def test_bfloat16_agrees(name: str) -> None:
    classifier, images, targets = tiny(cnn()), pictures(3).float(), torch.tensor([0, 3, 1])
    exact, rough = (
        explainer(name, classifier, samples=200, cells=4, precision=precision).explain(images, targets).flatten(1)
        for precision in ("fp32", "bf16")
    )
    assert not torch.equal(exact, rough)
    assert float(pearson(exact, rough).min()) > 0.98


@pytest.mark.parametrize("name", ["rise", "relax"])
def test_no_more_images_at_a_time_than_the_batch(name: str) -> None:
    classifier, seen = tiny(cnn()), []
    explainer(name, classifier, samples=1).explain(pictures(2).float(), torch.tensor([0, 1]))  # what is found once is found
    handle = classifier.module[0].register_forward_hook(lambda m, inputs, output: seen.append(len(inputs[0])))
    try:
        explainer(name, classifier, samples=ROUND + 5, batch_size=6).explain(pictures(2).float(), torch.tensor([0, 1]))
    finally:
        handle.remove()
    assert max(seen) == 6
    assert sum(seen) in (2 * (ROUND + 5), 2 * (ROUND + 6))  # RELAX also embeds the image


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("rise", {"keep_probability": 0.0}, "keep_probability=0.0: give a number above 0 and of at most 1"),
        ("rise", {"keep_probability": 1.5}, "keep_probability=1.5: give a number above 0 and of at most 1"),
        ("relax", {"keep_probability": 0.0}, "keep_probability=0.0: give a number above 0 and of at most 1"),
        ("u_relax", {"keep_probability": 2.0}, "keep_probability=2.0: give a number above 0 and of at most 1"),
        ("u_relax", {"threshold": "mode"}, "mean or median"),
        ("rise", {"masks": torch.ones(3, 4)}, "masks must be"),
        ("rise", {"masks": torch.full((2, 4, 4), 1.5)}, "masks must be"),
        ("rise", {"samples": 0}, "samples"),
        ("rise", {"selector": "score"}, "selector"),
    ],
)
def test_wrong_options_are_named(name: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(SeewhyError, match=said):
        explainer(name, tiny(cnn()), **options)


def test_masks_of_another_size_are_refused() -> None:
    with pytest.raises(SeewhyError, match="do not fit"):
        RISE(tiny(cnn()), masks=torch.ones(2, 8, 8)).explain(pictures(1).float(), torch.tensor([0]))
