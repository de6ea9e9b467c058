"""NEM-U: its loss against the equations written out, in float64."""

from math import acos, pi

import pytest
import torch
from support.tiny_models import TINY
from torch import Tensor, nn

from seewhy import explainer
from seewhy.classifier.classifier import Classifier
from seewhy.explainers.learned.nem_u import NEMU

IMAGES = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def in_float64(name: str = "cnn", **options: object) -> NEMU:
    classifier = TINY[name]()
    classifier.module.double()
    method = explainer("nem_u", classifier, **options).untrained()
    method.ready.double()
    return method


def cosine(a: Tensor, b: Tensor) -> float:
    dot = length_a = length_b = 0.0
    for u, v in zip(a.tolist(), b.tolist(), strict=True):
        dot, length_a, length_b = dot + u * v, length_a + u * u, length_b + v * v
    return dot / (length_a * length_b) ** 0.5


def literal(method: NEMU, masks: Tensor) -> dict[str, float]:
    """Equation 1, one image at a time; B as printed or as released."""
    classifier, terms = method.classifier, {"change": 0.0, "area": 0.0, "contrast": 0.0}
    mean = torch.tensor(classifier.mean, dtype=torch.float64)[:, None, None]

    def distance(a: Tensor, b: Tensor) -> float:
        if method.distance == "euclidean":
            return float((a - b).norm() / (a.norm() + b.norm()))
        return (1 - cosine(a, b)) / 2 if method.distance == "cosine" else -cosine(a, b)

    for image, mask in zip(IMAGES, masks[:, 0], strict=True):
        kept, gone = (m * image + (1 - m) * mean for m in (mask, 1 - mask))
        with torch.no_grad():
            of = classifier.embed if method.embedding == "embedding" else classifier.logits
            x, a, b = (of(picture[None])[0] for picture in (image, kept, gone))
        d = distance(x, a)
        b_term = d - distance(a, b) if method.regularizer == "difference" else -distance(a, b) * d
        terms["change"] += d / 3
        terms["area"] += method.sparsity * sum(mask.flatten().tolist()) / mask.numel() / 3
        terms["contrast"] += method.contrast * b_term / 3
    return terms


@pytest.mark.parametrize("regularizer", ["difference", "product"])
@pytest.mark.parametrize("distance", ["cosine", "negative_cosine", "euclidean"])
@pytest.mark.parametrize("embedding", ["embedding", "logits"])
def test_the_loss_is_equation_1(regularizer: str, distance: str, embedding: str) -> None:
    method = in_float64(regularizer=regularizer, distance=distance, embedding=embedding, sparsity=0.3, contrast=0.7)
    step = method.loss(method.see(IMAGES), torch.Generator().manual_seed(0))
    expected = literal(method, step.masks.detach())
    assert {name: float(term.detach()) for name, term in step.terms.items()} == pytest.approx(expected)


def test_without_a_regularizer_two_terms_are_left() -> None:
    method = in_float64(regularizer="none")
    assert list(method.loss(method.see(IMAGES), torch.Generator()).terms) == ["change", "area"]


def test_the_ratios_are_those_of_the_paper_and_four_times_the_product_form_is_the_released_loss() -> None:
    method = in_float64(regularizer="product")
    assert (method.sparsity, method.contrast) == (1 / 8, 1 / 4)
    step = method.loss(method.see(IMAGES), torch.Generator())
    masks, total = step.masks.detach(), 0.0
    mean = torch.tensor(method.classifier.mean, dtype=torch.float64)[:, None, None]
    for image, mask in zip(IMAGES, masks[:, 0], strict=True):
        with torch.no_grad():
            pictures = torch.stack([image, mask * image + (1 - mask) * mean, (1 - mask) * image + mask * mean])
            x, a, b = method.classifier.embed(pictures)
        d_pos, d_neg = (1 - cosine(x, a)) / 2, (1 - cosine(a, b)) / 2
        total += (0.5 * float(mask.mean()) + 4 * d_pos - d_neg * d_pos) / 3  # the code adds 1e-6 twice
    assert 4 * float(sum(step.terms.values()).detach()) == pytest.approx(total)


def test_distances_of_embeddings_at_60_degrees() -> None:
    a, b = torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 3**0.5]])  # lengths 1 and 2
    assert acos(0.5) == pytest.approx(pi / 3)
    found = {d: float(in_float64(distance=d).apart(a, b)) for d in ("cosine", "negative_cosine", "euclidean")}
    assert found == pytest.approx({"cosine": 0.25, "negative_cosine": -0.5, "euclidean": 3**0.5 / 3})
    assert float(in_float64(distance="euclidean").apart(a * 0, a * 0)) == 0


def test_the_printed_regularizer_prefers_a_binary_mask_and_the_product_hardly_does() -> None:
    """A gray half of everything leaves both halves alike; of the product nothing is left where the mask keeps all."""
    change, apart, alike = torch.tensor([0.0]), torch.tensor([0.4]), torch.tensor([0.0])
    printed, released = in_float64(), in_float64(regularizer="product")
    assert float(printed.binary(change, apart)) < float(printed.binary(change, alike))
    assert float(released.binary(change, apart)) == float(released.binary(change, alike)) == 0


def test_labels_are_never_read() -> None:
    method = in_float64()
    assert not method.needs_labels
    found = [
        method.loss(method.see(IMAGES, labels), torch.Generator()).terms["change"] for labels in (None, torch.arange(3))
    ]
    assert torch.equal(*found)


def test_a_network_that_returns_an_embedding_is_explained() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, 6, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    classifier = Classifier(module, input_size=(16, 16), outputs="embedding")
    method, images = explainer("nem_u", classifier).untrained(), IMAGES.float()
    step = method.loss(method.see(images), torch.Generator())
    assert set(step.terms) == {"change", "area", "contrast"}
    assert method.explain(images, torch.zeros(3, dtype=torch.long)).shape == (3, 16, 16)


def test_maps_are_the_same_for_every_class_and_repeat_with_a_filter() -> None:
    method = explainer("nem_u", TINY["vit"](), neighborhood=60).untrained()
    images = IMAGES.float()
    maps = method.explain_classes(images, torch.tensor([0, 3]))
    assert torch.equal(maps[:, 0], maps[:, 1])
    assert torch.equal(maps[:, 0], method.explain(images, torch.tensor([1, 2, 3])))
