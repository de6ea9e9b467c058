"""The loss of real-time image saliency against its equation as loops; the drawn backgrounds."""

from dataclasses import replace
from math import exp, log
from typing import Any

import pytest
import torch
from support.planted import Given, Pixels, color_classifier, planted, variation_as_printed
from support.tiny_models import TINY
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.explainers.learned.rtis import RTIS

close = torch.testing.assert_close
N, K, SIDE = 3, 5, 6


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(7)


@pytest.mark.parametrize("name", ["cnn", "cnn_multilabel"])
def test_the_loss_is_the_equation(name: str) -> None:
    """Eq. 3 of Dabkowski and Gal 2017; an image without a class adds nothing."""
    classifier = TINY[name]()
    classifier = replace(classifier, module=classifier.module.double(), input_size=(SIDE, SIDE))
    images, given = drawn(N, 3, SIDE, SIDE), 4 * drawn(N, K, SIDE, SIDE, seed=1) - 2
    several = [[0, 2, 3], [1], []] if classifier.multilabel else [[2], [1], [4]]
    labels = torch.zeros(N, K).double() if classifier.multilabel else torch.tensor([c for (c,) in several])
    if classifier.multilabel:
        for row, classes in zip(labels, several, strict=True):
            row[classes] = 1
    method = RTIS(classifier, network=Given(given), gain=1.0, start=0.5)
    terms = method.loss(method.see(images, labels), generator()).terms
    backgrounds = method._backgrounds(images, generator())
    expected = dict.fromkeys(terms, 0.0)
    for x, a, s, classes in zip(images, backgrounds, given.sigmoid().tolist(), several, strict=True):
        m = [[max((s[c][i][j] for c in classes), default=0.0) for j in range(SIDE)] for i in range(SIDE)]
        mask = torch.tensor(m).double()

        def probabilities(mask: Tensor, x: Tensor = x, a: Tensor = a) -> list[float]:
            z = classifier.logits((x * mask + a * (1 - mask))[None])[0].tolist()
            return [1 / (1 + exp(-v)) if classifier.multilabel else exp(v) / sum(map(exp, z)) for v in z]

        shown, hidden = probabilities(mask), probabilities(1 - mask)
        if classes:
            expected["preservation"] -= sum(log(shown[c]) for c in classes) / len(classes) / N
            expected["destruction"] += 5 * (sum(hidden[c] for c in classes) / len(classes)) ** 0.3 / N
        expected["area"] += sum(map(sum, m)) / SIDE**2 / N
        expected["smoothness"] += 10 * variation_as_printed(m, power=2) / N
    for term, value in expected.items():
        close(terms[term].detach(), torch.tensor(value).double(), msg=term)


def test_the_slope_is_finite_where_the_probability_underflows() -> None:
    classifier = color_classifier(multilabel=False)
    classifier.module.head.weight.data *= 1e4
    images, labels, _ = planted(3, several=False)
    network = Given(torch.full((3, 3, 16, 16), 30.0))  # hides all under its complement
    method = RTIS(classifier, network=network, background="blur")
    sum(method.loss(method.see(images, labels), generator()).terms.values()).backward()
    assert torch.isfinite(network.logits.grad).all()


@pytest.mark.parametrize("background", ["random", "blur", "noise"])
def test_backgrounds(background: Any) -> None:
    """A blur has the picture's mean; noise is one color with a deviation of 0.11; "random" draws either."""
    images = 0.4 + 0.2 * drawn(40, 3, 32, 32)
    method = RTIS(color_classifier(multilabel=False), background=background)
    found, again = method._backgrounds(images, generator()), method._backgrounds(images, generator())
    assert torch.equal(found, again)
    assert found.min() >= 0
    assert found.max() <= 1
    blurred = (found.mean((1, 2, 3)) - images.mean((1, 2, 3))).abs() < 0.01
    blurred &= found.std((2, 3)).amax(1) < 0.05
    assert {"random": 8 < blurred.sum() < 32, "blur": bool(blurred.all()), "noise": not blurred.any()}[background]
    noisy = found[~blurred]
    inner = noisy[(noisy.amin((2, 3)) > 0).all(1) & (noisy.amax((2, 3)) < 1).all(1)]
    if len(inner):
        close(inner.std((2, 3)).mean(), torch.tensor(0.11).double(), rtol=0.03, atol=0)


class PureColors(nn.Module):
    """A logit for each color: how many pixels have it alone. Drawn backgrounds seldom have a pure color."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(300.0))

    def forward(self, x: Tensor) -> Tensor:
        others = torch.stack([x[:, [1, 2]].amax(1), x[:, [0, 2]].amax(1), x[:, [0, 1]].amax(1)], 1)
        return self.gain * (x - others - 0.7).relu().mean((2, 3)) - 1


def test_a_few_steps_find_the_planted_objects() -> None:
    classifier = Classifier(PureColors(), (0.0,) * 3, (1.0,) * 3, (16, 16))
    images, labels, regions = planted(12, several=False)
    torch.manual_seed(0)
    method = RTIS(classifier, network=Pixels(3), background="noise", start=0.5, destruction=0.5, smoothness=1.0)
    optimizer = torch.optim.Adam(method.ready.parameters(), 0.05)
    draws = generator()
    for _ in range(40):
        step = method.loss(method.see(images, labels), draws)
        optimizer.zero_grad()
        sum(step.terms.values()).backward()
        optimizer.step()
    masks, there = method.explain(images, labels), regions.any(1)
    assert masks[there].mean() > 0.8
    assert masks[~there].mean() < 0.3
