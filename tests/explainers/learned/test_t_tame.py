"""T-TAME's attention and loss as loops; the class whose mask is trained; what a few steps find."""

from dataclasses import replace
from math import exp, log
from typing import Any

import pytest
import torch
from support.planted import Given, color_classifier, variation_as_printed
from support.tiny_models import TINY
from torch import Tensor

from seewhy.errors import SeewhyError
from seewhy.explainers.learned.t_tame import TTAME, FeatureAttention

close = torch.testing.assert_close
N, K, SIDE = 4, 5, 6


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("target", ["predicted", "label"])
@pytest.mark.parametrize("name", ["cnn", "cnn_multilabel"])
def test_the_loss_is_the_equation(name: str, target: Any) -> None:
    classifier = TINY[name]()
    classifier = replace(classifier, module=classifier.module.double(), input_size=(SIDE, SIDE))
    images, given = drawn(N, 3, SIDE, SIDE), 4 * drawn(N, K, SIDE, SIDE, seed=1) - 2
    logits = classifier.logits(images)
    if target == "label":
        labels: Any = torch.tensor([3, 0, 1, 4])
        classes: list[int | None] = labels.tolist()
    elif classifier.multilabel:  # at most one class is predicted, so that none is drawn
        middle = logits.amax(0).sort().values[-2:].mean()
        classifier.module[-1].bias.data -= middle
        labels, logits = None, logits - middle
        above = [[c for c in range(K) if row[c] > 0] for row in logits.tolist()]
        assert all(len(row) <= 1 for row in above)
        assert any(above)
        classes = [row[0] if row else None for row in above]
    else:
        labels, classes = None, logits.argmax(1).tolist()
    method = TTAME(classifier, network=Given(given), gain=1.0, start=0.5, target=target)
    step = method.loss(method.see(images, labels), torch.Generator())
    expected = dict.fromkeys(step.terms, 0.0)
    for x, s, c in zip(images, given.sigmoid(), classes, strict=True):
        if c is None:
            continue
        mean = torch.tensor(classifier.mean).double()[:, None, None]
        z = classifier.logits((mean + s[c] * (x - mean))[None])[0].tolist()
        p = 1 / (1 + exp(-z[c])) if classifier.multilabel else exp(z[c]) / sum(map(exp, z))
        expected["cross_entropy"] -= 1.5 * log(p) / N
        expected["area"] += 2 * sum(v**0.3 for row in s[c].tolist() for v in row) / SIDE**2 / N
        expected["smoothness"] += 0.01 * variation_as_printed(s[c].tolist(), power=2) / N
    for term, value in expected.items():
        close(step.terms[term].detach(), torch.tensor(value).double(), msg=term)


def test_each_class_of_an_image_is_drawn_alike() -> None:
    classifier = color_classifier(multilabel=True)
    given = torch.tensor([-3.0, 0.0, 3.0])[None, :, None, None].expand(300, 3, 4, 4)
    method = TTAME(classifier, network=Given(given), gain=1.0, start=0.5, target="label")
    images, labels = torch.rand(300, 3, 4, 4), torch.tensor([[1.0, 0, 1]]).expand(300, -1)
    masks = method.loss(method.see(images, labels), torch.Generator().manual_seed(1)).masks[:, 0, 0, 0]
    low, middle, high = ((masks - given.sigmoid()[0, c, 0, 0]).abs().lt(1e-6).sum() for c in range(3))
    assert middle == 0
    assert 120 < low < 180
    assert low + high == 300
    masks = replace(method, target="random").loss(method.see(images), torch.Generator().manual_seed(1)).masks[:, 0, 0, 0]
    counts = [(masks - given.sigmoid()[0, c, 0, 0]).abs().lt(1e-6).sum() for c in range(3)]
    assert all(70 < count < 130 for count in counts)
    assert sum(counts) == 300
    with pytest.raises(SeewhyError, match="give target=predicted"):
        method.loss(method.see(images), torch.Generator())


@pytest.mark.parametrize("name", ["cnn", "vit_registers"])
def test_the_attention_is_that_of_the_paper(name: str) -> None:
    """Each cell: ReLU of the branch's 1 x 1 convolution, normalized, plus the feature itself; then the fusion."""
    classifier = TINY[name]()
    method = TTAME(classifier).untrained(3)
    network = method.ready.eval()
    assert isinstance(network, FeatureAttention)
    images = drawn(1, 3, 16, 16).float()
    seen = method.see(images)
    sizes = [f.shape[-2:] for f in seen.features]
    finest = max(sizes)
    total = network.fusion.bias[:, None, None].expand(-1, *finest).clone()
    start = 0
    for branch, f in zip(network.branches, seen.features, strict=True):
        d = f.shape[1]
        x = torch.zeros(d, *f.shape[-2:])
        for i in range(f.shape[-2]):
            for j in range(f.shape[-1]):
                x[:, i, j] = (branch[0].weight[:, :, 0, 0] @ f[0, :, i, j] / (1 + 1e-5) ** 0.5 + f[0, :, i, j]).clamp_min(0)
        x = torch.nn.functional.interpolate(x[None], finest, mode="bilinear", align_corners=False)[0]
        total = total + torch.einsum("kd,dij->kij", network.fusion.weight[:, start : start + d, 0, 0], x)
        start += d
    close(network(images, *seen.features)[0], total)
    assert sum(p.numel() for p in network.parameters()) == sum(
        f.shape[1] ** 2 + 2 * f.shape[1] for f in seen.features
    ) + classifier.n_classes * (start + 1)


@pytest.mark.parametrize("name", ["cnn", "vit_registers", "cnn_multilabel"])
def test_every_parameter_learns_and_a_batch_is_its_images(name: str) -> None:
    classifier = TINY[name]()
    method = TTAME(classifier, target="random").untrained(0)
    images = drawn(6, 3, 16, 16).float()
    sum(method.loss(method.see(images), torch.Generator()).terms.values()).backward()
    assert all(p.grad is not None and p.grad.any() for p in method.ready.parameters())
    assert all(p.grad is None for p in classifier.module.parameters())
    targets = torch.arange(6) % classifier.n_classes
    alone = [method.explain(images[i : i + 1], targets[i : i + 1]) for i in range(6)]
    close(method.explain(images, targets), torch.cat(alone), rtol=0, atol=1e-5)
