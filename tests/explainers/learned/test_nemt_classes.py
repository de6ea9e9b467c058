"""NEMt for every class: the loss of the drawn class, the draws, and masks that differ by class or are empty."""

import pytest
import torch
from support.planted_square import bright_square, pictures_with_squares, trained
from support.tiny_models import TINY
from torch import Tensor, nn

from seewhy import explainer
from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.explainers.learned.nemt_classes import NEMtClasses

IMAGES = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
HOW = pytest.mark.parametrize("how", ["conditional", "heads"])


def in_float64(name: str = "cnn", **options: object) -> NEMtClasses:
    classifier = TINY[name]()
    classifier.module.double()
    method = explainer("nemt_classes", classifier, **options).untrained()
    method.ready.double()
    return method


@HOW
@pytest.mark.parametrize("name", ["cnn", "cnn_multilabel"])
def test_the_loss_is_that_of_the_drawn_class_and_of_the_silence_of_others(how: str, name: str) -> None:
    method = in_float64(name, how=how, sparsity=0.7)
    classifier, seen = method.classifier, method.see(IMAGES)
    drawn = method.draw(seen, torch.Generator().manual_seed(3))
    step = method.loss(seen, torch.Generator().manual_seed(3))
    masks = step.masks.detach()
    mean = torch.tensor(classifier.mean, dtype=torch.float64)[:, None, None]
    with torch.no_grad():
        before, after = (classifier.probabilities(x) for x in (IMAGES, (1 - masks) * IMAGES + masks * mean))
    change = area = 0.0
    for i, c in enumerate(drawn.tolist()):
        change -= max(0.0, float(before[i, c] - after[i, c])) ** 2 / 3
        area += 0.7 * float(masks[i].mean()) / 3
    found = {n: float(t.detach()) for n, t in step.terms.items()}
    assert found["change"] == pytest.approx(change)
    assert found["area"] == pytest.approx(area)
    assert ("silence" in found) == (how == "heads")


def test_heads_of_classes_with_little_probability_are_told_to_be_small() -> None:
    classifier, _ = bright_square()
    method = explainer("nemt_classes", classifier, how="heads", neighborhood=0, sparsity=0.5).untrained()
    images, _ = pictures_with_squares(4, seed=0)
    seen = method.see(images)
    masks = method.finished(method.ready(seen.images, *seen.features), images).detach()
    expected, p = 0.0, classifier.to_probabilities(seen.logits)
    for i in range(4):
        quiet = [float(masks[i, c].mean()) for c in range(3) if p[i, c] < 0.1]
        expected += 0.5 * sum(quiet) / max(1, len(quiet)) / 4
    assert float(method.loss(seen, torch.Generator()).terms["silence"].detach()) == pytest.approx(expected, rel=1e-5)


def test_half_of_the_draws_are_classes_that_are_there_and_all_classes_are_drawn() -> None:
    classifier, _ = bright_square()
    images, _ = pictures_with_squares(200, seed=0)
    labels = torch.full((200,), 2)
    generator = torch.Generator().manual_seed(0)
    method = explainer("nemt_classes", classifier).untrained()
    predicted = method.draw(method.see(images), generator)
    assert 100 < int((predicted == 1).sum()) < 180  # the red square, and its share of the others
    assert set(predicted.tolist()) == {0, 1, 2}
    by_label = explainer("nemt_classes", classifier, present="label", drawn=1.0).untrained()
    assert torch.equal(by_label.draw(by_label.see(images, labels), generator), labels)
    several = torch.tensor([[1.0, 0, 1]]).expand(200, 3)
    assert set(by_label.draw(by_label.see(images, several), generator).tolist()) == {0, 2}
    nothing = torch.zeros(200, 3)
    assert set(by_label.draw(by_label.see(images, nothing), generator).tolist()) == {0, 1, 2}
    with pytest.raises(SeewhyError, match="give present=predicted"):
        by_label.draw(by_label.see(images), generator)


@HOW
@pytest.mark.parametrize("name", ["cnn", "vit", "cnn_multilabel"])
def test_maps_of_classes_are_the_maps_of_each_class_and_differ(how: str, name: str) -> None:
    method = explainer("nemt_classes", TINY[name](), how=how, batch_size=3).untrained()
    images, classes = IMAGES.float(), torch.tensor([3, 0, 1])
    every = method.explain_classes(images, classes)
    for place, c in enumerate(classes.tolist()):
        torch.testing.assert_close(every[:, place], method.explain(images, torch.full((3,), c)), atol=1e-5, rtol=1e-4)
    assert float((every[:, 0] - every[:, 1]).abs().max()) > 1e-4


def test_a_network_without_a_linear_head_has_learned_vectors_and_one_with_it_has_its_rows() -> None:
    known = explainer("nemt_classes", TINY["cnn"]()).untrained().ready
    assert isinstance(known.vectors, nn.Linear)
    assert "head" not in known.state_dict()
    module = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, 6, 3, 2, 1), nn.ReLU(), nn.Conv2d(6, 4, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(),
    )  # fmt: skip
    classifier = Classifier(module, input_size=(16, 16))
    method = explainer("nemt_classes", classifier).untrained()
    assert isinstance(method.ready.vectors, nn.Embedding)
    maps = method.explain_classes(IMAGES.float(), torch.arange(4))
    assert float((maps[:, 0] - maps[:, 1]).abs().max()) > 1e-4


@HOW
def test_after_a_short_training_each_class_has_its_own_square_and_an_absent_one_an_empty_mask(how: str) -> None:
    classifier, _ = bright_square()
    red, _ = pictures_with_squares(48, seed=0)
    blue, _ = pictures_with_squares(48, seed=1, channel=2)
    method = trained(explainer("nemt_classes", classifier, how=how, neighborhood=0), torch.cat([red, blue]), steps=120)
    for channel, c in ((0, 1), (2, 2)):
        images, where = pictures_with_squares(24, seed=5, channel=channel)
        own, other = method.explain_classes(images, torch.tensor([c, 3 - c])).unbind(1)
        mass = (own * where).sum((1, 2)) / own.sum((1, 2)).clamp_min(1e-6)
        assert float(mass.mean()) > 0.4  # the square covers 14 % of the picture
        assert float(own.mean()) > 0.04
        assert float(other.mean()) < 0.02
        assert float(removed(classifier, images, own, c).mean()) < 0.4


def removed(classifier: Classifier, images: Tensor, maps: Tensor, c: int) -> Tensor:
    with torch.no_grad():
        return classifier.probabilities(images * (1 - maps[:, None]))[:, c]
