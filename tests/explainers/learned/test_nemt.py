"""NEMt: its loss against the equations written out, its targets, and a planted object that it finds."""

import pytest
import torch
from support.planted_square import bright_square, pictures_with_squares, trained
from support.tiny_models import TINY
from torch import Tensor, nn

from seewhy import explainer
from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.explainers.learned.nemt import NEMt

IMAGES = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LABELS = torch.tensor([4, 0, 2])


def in_float64(name: str = "cnn", **options: object) -> NEMt:
    classifier = TINY[name]()
    classifier.module.double()
    method = explainer("nemt", classifier, **options).untrained()
    method.ready.double()
    return method


def under(method: NEMt, masks: Tensor) -> Tensor:
    """The probabilities of each image under the complement of its explanation, in the network's normalized space."""
    classifier, rows = method.classifier, []
    for image, mask in zip(IMAGES, masks[:, 0], strict=True):
        normalized = classifier.normalize(image[None]) * (1 - mask)  # the paper's x * m, with m what is kept
        with torch.no_grad():
            rows.append(classifier.to_probabilities(classifier.logits(classifier.to_pixels(normalized)))[0])
    return torch.stack(rows)


@pytest.mark.parametrize("direction", ["drop", "any"])
@pytest.mark.parametrize("target", ["predicted", "label", 3])
@pytest.mark.parametrize("name", ["cnn", "cnn_multilabel"])
def test_the_loss_is_that_of_each_images_own_target(direction: str, target: int | str, name: str) -> None:
    method = in_float64(name, direction=direction, target=target, sparsity=0.7)
    step = method.loss(method.see(IMAGES, LABELS), torch.Generator().manual_seed(0))
    masks = step.masks.detach()
    before, after = method.classifier.probabilities(IMAGES).detach(), under(method, masks)
    change = area = 0.0
    for i in range(3):
        c = int(before[i].argmax()) if target == "predicted" else int(LABELS[i]) if target == "label" else 3
        drop = float(before[i, c] - after[i, c])
        change -= (drop if direction == "any" or drop > 0 else 0.0) ** 2 / 3
        area += 0.7 * sum(masks[i].flatten().tolist()) / masks[i].numel() / 3
    assert {n: float(t.detach()) for n, t in step.terms.items()} == pytest.approx({"area": area, "change": change})


def test_the_released_form_averages_all_targets_of_the_batch_and_half_of_its_loss_is_ours() -> None:
    method = in_float64(form="released", target="label")
    step = method.loss(method.see(IMAGES, LABELS), torch.Generator().manual_seed(0))
    kept = 1 - step.masks.detach()
    before, after = method.classifier.probabilities(IMAGES).detach(), under(method, 1 - kept)
    matrix = (after[:, LABELS] - before[:, LABELS]) ** 2  # the code's indexing: B x B
    assert matrix.shape == (3, 3)
    released = (1 - float(kept.mean())) * 1 + 2 * (1 - float(matrix.mean()))
    ours = float(sum(step.terms.values()).detach())
    sign = float(step.masks.detach().mean()) - (1 - float(kept.mean()))
    assert sign == pytest.approx(0)
    assert 2 * ours + 2 == pytest.approx(released)
    own = in_float64(target="label", direction="any")
    other = own.loss(own.see(IMAGES, LABELS), torch.Generator().manual_seed(0)).terms["change"]
    assert float(other.detach()) != pytest.approx(-float(matrix.mean()), rel=1e-3)


def test_the_printed_loss_is_lowest_where_nothing_is_kept_whatever_the_network() -> None:
    """Equation 2 as printed, of masks m that are kept: -(f(x) - f(x m))^2 + mean(m) / 2. Ours has its optimum inside."""
    classifier, pictures = bright_square()
    keep, ours = {}, {}
    for side in (0, 6, 16):  # nothing, the square, and all of the picture
        mask = torch.zeros(16, 16)
        mask[4 : 4 + min(side, 12), 4 : 4 + min(side, 12)] = 1
        mask = torch.ones(16, 16) if side == 16 else mask
        with torch.no_grad():
            f, under_mask, under_rest = (classifier.probabilities(pictures[:1] * m)[0, 1] for m in (1, mask, 1 - mask))
        keep[side] = float(-((f - under_mask) ** 2) + mask.mean() / 2)
        ours[side] = float(mask.mean() / 2 - (f - under_rest).clamp_min(0) ** 2)
    assert min(keep, key=lambda side: keep[side]) == 0
    assert min(ours, key=lambda side: ours[side]) == 6


def test_several_labels_of_an_image_share_the_loss_and_an_image_without_any_has_an_area_alone() -> None:
    method = in_float64("cnn_multilabel", target="label", direction="any")
    labels = torch.tensor([[1.0, 0, 1, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 1]])
    step = method.loss(method.see(IMAGES, labels), torch.Generator().manual_seed(0))
    before, after = method.classifier.probabilities(IMAGES).detach(), under(method, step.masks.detach())
    squares = (before - after) ** 2
    expected = -((squares[0, 0] + squares[0, 2]) / 2 + squares[2, 4]) / 3
    assert float(step.terms["change"].detach()) == pytest.approx(float(expected))


def test_the_change_of_logits_has_the_scale_of_the_batch() -> None:
    method = in_float64(selector="logit", target=1)
    step = method.loss(method.see(IMAGES), torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = method.classifier.logits(IMAGES)[:, 1].tolist()
        mean = torch.tensor(method.classifier.mean, dtype=torch.float64)[:, None, None]
        keep = 1 - step.masks
        after = method.classifier.logits(keep * IMAGES + (1 - keep) * mean)[:, 1].tolist()
    middle = sum(before) / 3
    spread = (sum((b - middle) ** 2 for b in before) / 3) ** 0.5
    drops = [max(0.0, float(torch.tensor((b - a) / spread).tanh())) for b, a in zip(before, after, strict=True)]
    assert float(step.terms["change"].detach()) == pytest.approx(-sum(d**2 for d in drops) / 3, rel=1e-5)


def test_the_value_of_a_regression_is_explained() -> None:
    module = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 1))
    classifier = Classifier(module, input_size=(16, 16), outputs="values")
    with pytest.raises(SeewhyError, match="give selector=logit"):
        explainer("nemt", classifier, selector="probability")
    method, images = explainer("nemt", classifier, direction="any").untrained(), IMAGES.float()
    assert method.selector == "logit"
    step = method.loss(method.see(images), torch.Generator())
    assert all(term.isfinite() for term in step.terms.values())
    assert method.explain(images, torch.zeros(3, dtype=torch.long)).shape == (3, 16, 16)


def test_a_target_that_is_not_there_is_one_line() -> None:
    with pytest.raises(SeewhyError, match="class"):
        explainer("nemt", TINY["cnn"](), target=17).untrained()
    method = explainer("nemt", TINY["cnn"](), target="label").untrained()
    assert method.needs_labels
    with pytest.raises(SeewhyError, match="give target=predicted"):
        method.loss(method.see(IMAGES.float()), torch.Generator())


def test_draws_come_from_the_generator_and_maps_repeat() -> None:
    method, images = explainer("nemt", TINY["cnn"](), neighborhood=60).untrained(), IMAGES.float()
    seen = method.see(images)
    losses = [float(method.loss(seen, torch.Generator().manual_seed(seed)).masks.detach().std()) for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]
    targets = torch.tensor([0, 1, 2])
    assert torch.equal(method.explain(images, targets), method.explain(images, targets))


def test_a_planted_object_is_found_after_a_short_training() -> None:
    classifier, _ = bright_square()
    images, _ = pictures_with_squares(64, seed=0)
    method = trained(explainer("nemt", classifier, target=1, neighborhood=0), images, steps=80)
    held_out, where = pictures_with_squares(32, seed=1)
    maps = method.explain(held_out, torch.ones(32, dtype=torch.long))
    mass = (maps * where).sum((1, 2)) / maps.sum((1, 2)).clamp_min(1e-6)
    assert float(mass.mean()) > 0.5  # the square covers 14 % of the picture
    with torch.no_grad():
        removed = classifier.probabilities(held_out * (1 - maps[:, None]))[:, 1]
    assert float(removed.mean()) < 0.3
