"""Classify by explaining: the prediction is the sum of the contributions, and everything takes it as a classifier."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from support.evaluations import Pictures
from support.tiny_models import TINY, cnn, tiny
from torch import Tensor, nn

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError, UntrainedError
from seewhy.explainers.learned.explaining_classifier import ExplainingClassifier
from seewhy.explainers.learned.learned_shapley import LearnedShapley

METHODS = ("salvage", "vit_shapley")
TARGETS = torch.tensor([0, 1, 2])


def pictures(classifier: Classifier, n: int = 3) -> Tensor:
    return torch.rand(n, 3, *classifier.input_size, generator=torch.Generator().manual_seed(0))


def learned(method: str, classifier: Classifier, size: float = 0.05, **options: object) -> LearnedShapley:
    """A method with random weights: what is exact of the sums holds for any weights."""
    made = seewhy.explainer(method, classifier, **options)
    assert isinstance(made, LearnedShapley)
    made = made.untrained()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in made.ready.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * size)
    made.ready.eval()
    return made


@pytest.mark.parametrize("model", ["vit", "cnn"])
@pytest.mark.parametrize("temperature", [1.0, 2.5, "learned"])
def test_salvage_predicts_the_softmax_of_the_sum_of_its_positive_terms(model: str, temperature: object) -> None:
    """Equation 6, player by player in float64."""
    classifier = TINY[model]()
    explainer, images = learned("salvage", classifier, temperature=temperature), pictures(classifier)
    with torch.no_grad():
        terms = explainer.found(explainer.see(images)).double()
        degree = explainer.ready.scalars["log_temperature"].exp().double() if temperature == "learned" else temperature
        for row, probabilities in zip(terms, explainer.as_classifier().probabilities(images), strict=True):
            sums = [sum(player[0, k] for player in row) / degree for k in range(row.shape[2])]
            whole = sum(s.exp() for s in sums)
            wanted = torch.stack([s.exp() / whole for s in sums])
            torch.testing.assert_close(probabilities.double(), wanted, rtol=1e-4, atol=1e-6)


def test_salvage_of_several_labels_has_a_sigmoid_for_each_class() -> None:
    classifier = TINY["cnn_multilabel"]()
    explainer, images = learned("salvage", classifier), pictures(classifier)
    with torch.no_grad():
        sums = explainer.found(explainer.see(images))[:, :, 0].double().sum(1)
    found = explainer.as_classifier().probabilities(images).double()
    torch.testing.assert_close(found, sums.sigmoid(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("multilabel", [False, True])
def test_vit_shapley_predicts_by_its_values_before_the_normalization(multilabel: bool) -> None:
    classifier = TINY["cnn_multilabel" if multilabel else "vit"]()
    explainer, images = learned("vit_shapley", classifier, size=0.01), pictures(classifier)
    transparent = explainer.as_classifier()
    with torch.no_grad():
        seen = explainer.see(images)
        made = explainer.ready(seen.images, seen.features, seen.logits, explainer.grid(images))[0].double()
    p = made.shape[1]
    empty = classifier.to_probabilities(explainer.ready.empty[None])[0].double()
    for row, of, found in zip(made, transparent.contributions(images), transparent.probabilities(images), strict=True):
        phi = torch.stack([(player[0] / p**0.5).tanh() for player in row])
        torch.testing.assert_close(of.double(), phi, rtol=1e-4, atol=1e-6)
        score = (empty + sum(phi)).clamp_min(1e-6)
        wanted = score.clamp_max(1 - 1e-6) if multilabel else score / score.sum()
        torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=1e-5)
    apart = explainer.scores(seen).sum(1) - transparent.contributions(images).sum(1)
    assert apart.abs().max() > 1e-2, "the sums before and after the normalization differ"


@pytest.mark.parametrize("options", [{}, {"backbone": "side"}, {"backbone": "copy"}, {"head": "transformer"}], ids=str)
@pytest.mark.parametrize("model", ["vit", "cnn", "vit_registers"])
def test_contributions_sum_to_the_logits_alone_and_in_a_batch(model: str, options: dict[str, object]) -> None:
    classifier = TINY[model]()
    images = pictures(classifier)
    transparent = learned("salvage", classifier, **options).as_classifier()
    logits, parts = transparent.logits(images).detach(), transparent.contributions(images)
    torch.testing.assert_close(parts.sum(1), logits, rtol=1e-5, atol=1e-5)
    alone = torch.cat([transparent.contributions(image) for image in images.split(1)])
    torch.testing.assert_close(alone, parts, rtol=1e-5, atol=1e-5)
    assert logits.std() > 0.01


@pytest.mark.parametrize("method", METHODS)
def test_gradients_reach_the_pixels(method: str) -> None:
    """The gradient is the slope: a step along it, in float64."""
    classifier = TINY["vit"]()
    classifier.module.double()
    explainer = learned(method, classifier, size=0.01)
    explainer.ready.double()
    transparent, images = explainer.as_classifier(), pictures(classifier, 1).double()
    x = images.clone().requires_grad_()
    transparent.logits(x)[0, 1].backward()
    assert x.grad is not None
    direction = x.grad / x.grad.norm()
    with torch.no_grad():
        ahead, behind = (transparent.logits(images + step * direction)[0, 1] for step in (1e-3, -1e-3))
    torch.testing.assert_close((ahead - behind) / 2e-3, x.grad.norm(), rtol=1e-2, atol=1e-6)


def test_its_own_maps_are_the_contributions_on_their_pixels() -> None:
    classifier = TINY["vit"]()
    transparent, images = learned("salvage", classifier).as_classifier(), pictures(classifier)
    explainer = transparent.as_explainer()
    parts, maps = transparent.contributions(images), explainer.explain(images, TARGETS)
    for i, target in enumerate(TARGETS.tolist()):
        for player in range(16):  # patches of 4 x 4 pixels
            cell = maps[i, 4 * (player // 4) : 4 * (player // 4) + 4, 4 * (player % 4) : 4 * (player % 4) + 4]
            assert torch.equal(cell, parts[i, player, target].expand(4, 4))
    every = explainer.explain_classes(images, torch.arange(5))
    assert torch.equal(every[torch.arange(3), TARGETS], maps)
    found = seewhy.explain(images[0], transparent, explainer, target=1)
    torch.testing.assert_close(found.map, every[0, 1], rtol=1e-5, atol=1e-6)
    assert found.probability == pytest.approx(float(transparent.probabilities(images)[0, 1].detach()))


def test_it_sees_pictures_as_the_explained_network_does() -> None:
    """Also where the network takes the channels in another order, in a size of its own."""
    classifier = replace(TINY["cnn"](), channel_order="bgr", mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7), crop=1.0)
    explainer, images = learned("salvage", classifier), pictures(classifier)
    transparent = explainer.as_classifier()
    assert transparent.view == classifier.view
    assert transparent.classes == classifier.classes
    with torch.no_grad():
        sums = explainer.contributions(explainer.see(images)).sum(1)
    torch.testing.assert_close(transparent.logits(images), sums, rtol=1e-4, atol=1e-5)


def test_explainers_metrics_and_evaluations_take_it() -> None:
    classifier = TINY["vit"]()
    transparent = learned("salvage", classifier).as_classifier()
    before = {name: value.clone() for name, value in transparent.module.state_dict().items()}
    named = {name: seewhy.explainer(name, transparent) for name in ("grad_cam", "saliency")}
    explainers = {"own": transparent.as_explainer(), **named}
    metrics = {name: seewhy.metric(name) for name in ("average_drop", "relevance_mass", "parameter_randomization")}
    found = seewhy.evaluate(transparent, explainers, metrics, Pictures(n=2), batch_size=2)
    assert not found.failures
    assert set(found.table()) >= set(explainers)
    assert all(torch.equal(value, before[name]) for name, value in transparent.module.state_dict().items())


def test_a_copy_is_whole() -> None:
    """The copy's sums come from the copy's weights: a metric that spoils the weights of a copy spoils its prediction."""
    classifier = TINY["vit"]()
    transparent, images = learned("salvage", classifier).as_classifier(), pictures(classifier)
    copied = replace(transparent, module=deepcopy(transparent.module))
    torch.testing.assert_close(copied.logits(images), transparent.logits(images))
    with torch.no_grad():
        for weight in copied.module.parameters():
            weight.zero_()
    assert copied.contributions(images).abs().max() == 0
    assert transparent.contributions(images).abs().max() > 0


def test_images_of_a_batch_stay_apart_where_the_network_mixes_them() -> None:
    network = cnn()
    network[1] = nn.BatchNorm2d(6, track_running_stats=False)
    classifier = tiny(network)
    transparent, images = learned("salvage", classifier).as_classifier(), pictures(classifier)
    together = transparent.logits(images)
    for row, image in zip(together, images, strict=True):
        torch.testing.assert_close(row, transparent.logits(image[None])[0], rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(transparent.contributions(images).sum(1), together, rtol=1e-5, atol=1e-5)


def test_what_cannot_classify_says_so() -> None:
    classifier = TINY["cnn"]()
    made = seewhy.explainer("salvage", classifier)
    assert isinstance(made, LearnedShapley)
    with pytest.raises(UntrainedError, match="seewhy fit salvage"):
        made.as_classifier()
    transparent = learned("salvage", classifier).as_classifier()
    assert isinstance(transparent, ExplainingClassifier)
    with pytest.raises(SeewhyError, match="class"):
        transparent.as_explainer().explain(pictures(classifier), torch.tensor([0, 1, 9]))
