"""NN-Explainer's loss against equations 1 to 8 written as loops, its options, and what a few steps of training find."""

from dataclasses import replace
from math import exp, log
from typing import Any

import pytest
import torch
from support.planted import Given, Pixels, bounds_as_printed, color_classifier, planted, variation_as_printed
from support.tiny_models import TINY
from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.explainers.learned.nn_explainer import NNExplainer

close = torch.testing.assert_close
N, K, SIDE = 3, 5, 6


def doubled(name: str) -> Classifier:
    classifier = TINY[name]()
    return replace(classifier, module=classifier.module.double(), input_size=(SIDE, SIDE))


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def as_printed(classifier: Classifier, x: Tensor, labels: list[int], s: list[Any], w: dict[str, float]) -> dict[str, float]:
    """The terms of one image, s its masks as nested lists, one pixel at a time."""
    h, width = len(s[0]), len(s[0][0])
    others = [c for c in range(K) if c not in labels]
    m, n = (
        [[max((s[c][i][j] for c in which), default=0.0) for j in range(width)] for i in range(h)]
        for which in (labels, others)
    )

    def seen(mask: list[list[float]]) -> list[float]:
        image = torch.zeros_like(x)
        for channel in range(3):
            for i in range(h):
                for j in range(width):  # the normalized image times the mask
                    image[channel, i, j] = (
                        mask[i][j] * (x[channel, i, j] - classifier.mean[channel]) + classifier.mean[channel]
                    )
        return classifier.logits(image[None])[0].tolist()

    z, around = seen(m), seen([[1 - value for value in row] for row in m])
    if classifier.multilabel:
        p = [1 / (1 + exp(-v)) for v in z]
        classification = -sum(log(p[c]) if c in labels else log(1 - p[c]) for c in range(K)) / K
    else:
        classification = -log(exp(z[labels[0]]) / sum(map(exp, z)))
    p = [exp(v) / sum(map(exp, around)) for v in around]
    area_m, area_n = (sum(map(sum, mask)) / (h * width) for mask in (m, n))
    bounds = [bounds_as_printed(s[c], 0.05, 0.3) for c in labels]
    mean = sum(bounds) / len(bounds) if bounds and not w["sum"] else sum(bounds)
    return {
        "classification": classification,
        "entropy": w["entropy"] * sum(v * log(v) for v in p) / K,
        "bounds": w["bounds"] * mean,
        "area": w["area"] * area_m,
        "other_area": w["other_area"] * area_n,
        "smoothness": w["smoothness"] * (variation_as_printed(m) + variation_as_printed(n)),
    }


@pytest.mark.parametrize("how", ["mean", "sum"])
@pytest.mark.parametrize("name", ["cnn", "cnn_multilabel"])
def test_the_loss_is_that_of_the_paper(name: str, how: Any) -> None:
    classifier, images = doubled(name), drawn(N, 3, SIDE, SIDE)
    given = 4 * drawn(N, K, SIDE, SIDE, seed=1) - 2
    several = [[0, 2, 3], [1], []] if classifier.multilabel else [[2], [1], [4]]
    labels = torch.zeros(N, K).double() if classifier.multilabel else torch.tensor([c for (c,) in several])
    if classifier.multilabel:
        for row, classes in zip(labels, several, strict=True):
            row[classes] = 1
    w = {"entropy": 2.0, "bounds": 1.5, "area": 0.7, "other_area": 0.3, "smoothness": 0.9}
    method = NNExplainer(classifier, network=Given(given), gain=1.0, start=0.5, warmup=0.0, bounds_over=how, **w)
    found = method.loss(method.see(images, labels), torch.Generator()).terms
    masks = given.sigmoid().tolist()
    rows = [
        as_printed(classifier, x, c, s, {**w, "sum": how == "sum"}) for x, c, s in zip(images, several, masks, strict=True)
    ]
    assert list(found) == list(rows[0])
    for term, value in found.items():
        close(value.detach(), torch.tensor(sum(row[term] for row in rows) / N).double(), msg=term)


def test_images_with_every_class_and_with_none_have_a_loss() -> None:
    """An image of every class has an empty non-target mask, one without a class an empty target mask."""
    classifier = doubled("cnn_multilabel")
    network = Given(drawn(2, K, SIDE, SIDE))
    method = NNExplainer(classifier, network=network, warmup=0.0)
    labels = torch.stack([torch.ones(K), torch.zeros(K)]).double()
    step = method.loss(method.see(drawn(2, 3, SIDE, SIDE), labels), torch.Generator())
    sum(step.terms.values()).backward()
    assert torch.isfinite(network.logits.grad).all()
    assert (network.logits.grad[0] != 0).any()
    assert (network.logits.grad[1] != 0).any()
    full = (4 * network.logits + log(1 / 9)).sigmoid().amax(1)  # of each image the only mask that is not empty
    for term, i in (("area", 0), ("other_area", 1)):
        close(step.terms[term], full[i].mean() / 2, msg=term)


def test_the_areas_gain_weight_over_the_warmup() -> None:
    classifier = doubled("cnn")
    method = NNExplainer(classifier, network=Given(drawn(1, K, SIDE, SIDE)), warmup=0.5)
    seen = method.see(drawn(1, 3, SIDE, SIDE), torch.tensor([1]))
    full = replace(method, warmup=0.0).loss(seen, torch.Generator()).terms
    for progress, share in ((0.0, 0.1), (0.25, 0.55), (0.5, 1.0), (1.0, 1.0)):
        terms = method.loss(seen._replace(progress=progress), torch.Generator()).terms
        for term in full:
            close(terms[term], full[term] * (share if "area" in term else 1))


def test_the_predicted_classes_take_the_place_of_labels() -> None:
    classifier = color_classifier(multilabel=True)
    images, labels, _ = planted(6, several=True)
    network = Given(4 * drawn(6, 3, 16, 16).float() - 2)
    method = NNExplainer(classifier, network=network)
    assert method.needs_labels
    assert not replace(method, target="predicted").needs_labels
    assert torch.equal(classifier.logits(images) > -0.5, labels > 0)  # the classifier knows what is there
    with pytest.raises(SeewhyError, match="give target=predicted"):
        method.loss(method.see(images), torch.Generator())
    classifier.module.head.bias.data += 0.5
    expected = method.loss(method.see(images, labels), torch.Generator())
    found = replace(method, target="predicted").loss(method.see(images), torch.Generator())
    for term, value in expected.terms.items():
        close(found.terms[term], value)


@pytest.mark.parametrize("several", [False, True])
def test_a_few_steps_find_the_planted_objects(several: bool) -> None:
    """Each class's mask lies on the squares of its color, and is empty where its color is not."""
    classifier = color_classifier(multilabel=several)
    images, labels, regions = planted(12, several)
    torch.manual_seed(0)
    method = NNExplainer(classifier, network=Pixels(3))
    optimizer = torch.optim.Adam(method.ready.parameters(), 0.05)
    before = [p.clone() for p in classifier.module.parameters()]
    for i in range(40):
        step = method.loss(method.see(images, labels)._replace(progress=i / 39), torch.Generator())
        optimizer.zero_grad()
        sum(step.terms.values()).backward()
        optimizer.step()
    assert all(torch.equal(p, q) and p.grad is None for p, q in zip(classifier.module.parameters(), before, strict=True))
    masks = method.explain_classes(images, torch.arange(3))
    there = regions.any(3).any(2)
    assert masks[regions].mean() > 0.8
    assert masks[there][~regions[there]].mean() < 0.1
    assert masks[~there].mean() < 0.1
    found = method.attributed_classes(images, 1)
    assert there.gather(1, found.classes).all()
    close(method.explain(images[:1], torch.tensor([1])), masks[:1, 1])
