"""The classifier: images in [0, 1] in, logits, probabilities and embeddings out."""

from dataclasses import replace
from typing import cast

import pytest
import torch
from support.networks import Wrapped
from support.tiny_models import TINY, cnn, tiny
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.explainers import explainer

IMAGES, TWO = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 3])


@pytest.mark.parametrize("model", ["cnn", "cnn_inplace", "vit", "functional"])
def test_the_head_of_the_embedding_is_the_logits(model: str) -> None:
    classifier = TINY[model]()
    images = torch.rand(2, 3, 16, 16)
    head = classifier.head
    assert head is not None
    torch.testing.assert_close(head(classifier.embed(images)), classifier.logits(images))


def test_the_embedding_without_a_single_head_is_the_mean_of_the_feature_layer() -> None:
    """Two heads (distilled) or none (a convolution that makes the classes)."""
    images = torch.rand(2, 3, 16, 16)
    headless = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 5, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    classifier = Classifier(headless.eval(), input_size=(16, 16))
    assert classifier.head is None
    assert classifier.heads == ()
    assert torch.allclose(classifier.embed(images), headless[:2](classifier.normalize(images)).mean((2, 3)))
    distilled = TINY["vit_registers"]()
    assert distilled.heads == ("head", "head_dist")
    assert distilled.head is None
    assert distilled.embed(images).shape == (2, 12)


def test_one_logit_is_two_classes() -> None:
    """1 - p and p, whose logits differ by z; the maps of the two classes are each other's negative."""
    classifier = replace(tiny(cnn(k=1)), classes=())
    images = torch.rand(3, 3, 16, 16)
    z = classifier.module(classifier.normalize(images))[:, 0]
    p = classifier.probabilities(images)
    assert classifier.n_classes == 2
    torch.testing.assert_close(p[:, 1], z.sigmoid())
    torch.testing.assert_close(p.sum(1), torch.ones(3))
    torch.testing.assert_close(classifier.logits(images)[:, 1] - classifier.logits(images)[:, 0], z)


def test_one_logit_is_not_multi_label() -> None:
    classifier = replace(tiny(cnn(k=1)), classes=())
    z = classifier.module(classifier.normalize(IMAGES)).detach()
    torch.testing.assert_close(classifier.probabilities(IMAGES).detach()[:, 1:], z.sigmoid())
    with pytest.raises(SeewhyError, match=r"^one logit makes two classes, no and yes, of which one is true"):
        replace(classifier, multilabel=True).probabilities(IMAGES)


def test_a_compiled_network_is_explained_as_the_one_inside() -> None:
    plain = TINY["cnn"]()
    compiled = Classifier(
        cast(nn.Module, torch.compile(plain.module, backend="eager")),
        input_size=(16, 16),
        feature_layer=f"_orig_mod.{plain.layer}",
    )
    for name in ("grad_cam", "ablation_cam", "score_cam"):
        expected = explainer(name, replace(plain, mean=compiled.mean, std=compiled.std)).explain(IMAGES, TWO)
        torch.testing.assert_close(explainer(name, compiled).explain(IMAGES, TWO), expected)


def test_wrong_shapes_are_one_clear_line() -> None:
    images = torch.rand(2, 3, 16, 16)
    with pytest.raises(SeewhyError, match=r"returned shape \(2, 5, 1\) for 2 images"):
        tiny(Wrapped(lambda z: z[..., None])).logits(images)
    with pytest.raises(SeewhyError, match=r"returned shape \(5,\) for 2 images"):
        tiny(Wrapped(lambda z: z[0])).logits(images)
    with pytest.raises(SeewhyError, match="has 5 classes, but 2 class names were given"):
        replace(TINY["cnn"](), classes=("a", "b")).logits(images)
    with pytest.raises(SeewhyError, match="images have 1 channels, the classifier takes 3"):
        TINY["cnn"]().logits(images[:, :1])


def test_names_of_classes_are_found_whatever_their_case_and_refused_when_unknown() -> None:
    classifier = TINY["cnn"]()
    assert [classifier.class_index(name) for name in ("bee", "BEE", " bee ", 1, "1")] == [1] * 5
    with pytest.raises(SeewhyError, match=r"class 'bea' does not exist. Did you mean 'bee'"):
        classifier.class_index("bea")
    for wrong in (5, -1, "17"):
        with pytest.raises(SeewhyError, match="does not exist: the classifier has classes 0 to 4"):
            classifier.class_index(wrong)


def test_a_network_that_views_its_features_is_asked_in_the_layout_that_it_needs() -> None:
    """Channels last is faster, but ``view`` after a convolution cannot read it."""

    class Views(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4 * 16 * 16, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.conv(x).view(len(x), -1))

    classifier, images = Classifier(Views().eval(), input_size=(16, 16)), torch.rand(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(classifier.logits(classifier.fast_layout(images)), classifier.logits(images))
    with classifier.running():
        assert classifier.module.get_submodule("conv").weight.is_contiguous()  # type: ignore[operator]
        assert torch.equal(classifier.logits(classifier.fast_layout(images)), classifier.logits(images))


def test_convolutions_are_given_channels_last() -> None:
    module = nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    classifier, images = Classifier(module, input_size=(16, 16)), torch.rand(2, 3, 16, 16)
    fast = classifier.fast_layout(images)
    assert fast.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(fast, images)
    torch.testing.assert_close(classifier.logits(fast), classifier.logits(images))


class Strided(nn.Module):
    """Reads its features by strides, as code with sliding windows does: in channels last it reads others."""

    def __init__(self) -> None:
        super().__init__()
        self.features, self.head = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(32, 5)

    def forward(self, x: Tensor) -> Tensor:
        found = self.features(x).relu()
        bands = torch.as_strided(found, (len(found), 8, 4, 64), (8 * 256, 256, 64, 1))
        return cast(Tensor, self.head(bands.amax(3).flatten(1)))


def test_a_network_that_counts_strides_is_not_run_in_another_layout() -> None:
    classifier = replace(tiny(Strided()), feature_layer="features")
    with torch.no_grad(), classifier.running():
        torch.testing.assert_close(classifier.logits(classifier.fast_layout(IMAGES)), classifier.logits(IMAGES))


def test_a_network_that_takes_blue_first_gets_blue_first() -> None:
    """Images, mean and std stay RGB; only what enters the network is turned around, and it can be turned back."""
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    options = {"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.25, 0.2), "input_size": (4, 4)}
    images = torch.tensor([0.9, 0.7, 0.5])[None, :, None, None].expand(1, 3, 4, 4)
    rgb, bgr = (Classifier(network, **options, channel_order=order) for order in ("rgb", "bgr"))
    torch.testing.assert_close(rgb.logits(images), torch.tensor([[1.6, 2.0, 1.0]]))
    torch.testing.assert_close(bgr.logits(images), torch.tensor([[1.0, 2.0, 1.6]]))
    for classifier in (rgb, bgr):
        torch.testing.assert_close(classifier.to_pixels(classifier.normalize(images)), images)
