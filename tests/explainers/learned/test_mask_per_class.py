"""What all methods with a mask for each class share: maps, networks, and the classes that the masks name."""

from typing import Any

import pytest
import torch
from scipy.stats import spearmanr
from support.planted import Given, color_classifier
from support.tiny_models import TINY
from torch import Tensor

from seewhy.errors import SeewhyError
from seewhy.explainers.learned.mask_networks import SegmentationNetwork, segmentation_network
from seewhy.explainers.learned.mask_per_class import activation_correlation
from seewhy.explainers.learned.nn_explainer import NNExplainer
from seewhy.explainers.learned.rtis import RTIS

close = torch.testing.assert_close


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_maps_are_the_sigmoids_of_the_classes_asked_for() -> None:
    given = 4 * drawn(2, 3, 16, 16) - 2
    images = drawn(2, 3, 16, 16, seed=1)
    paper = NNExplainer(color_classifier(True), network=Given(given), gain=1.0, start=0.5)
    close(paper.explain_classes(images, torch.tensor([2, 0])), given[:, [2, 0]].sigmoid())
    close(paper.explain(images, torch.tensor([1, 0])), torch.stack([given[0, 1], given[1, 0]]).sigmoid())
    ours = NNExplainer(color_classifier(True), network=Given(0 * given))
    close(ours.explain(images, torch.tensor([1, 0])), torch.full((2, 16, 16), 0.1))  # ``start``
    coarse = NNExplainer(color_classifier(True), network=Given(given[:, :, ::4, ::4]), gain=1.0, start=0.5)
    enlarged = torch.nn.functional.interpolate(given[:, :, ::4, ::4], (16, 16), mode="bilinear", align_corners=False)
    close(coarse.explain_classes(images, torch.arange(3)), enlarged.sigmoid())


def test_attributed_classes() -> None:
    levels = torch.tensor([[-1.0, 2.0, 0.0], [3.0, 1.0, 2.0], [0.5, -2.0, 1.0]])
    method = NNExplainer(color_classifier(True), network=Given(levels[:, :, None, None].expand(-1, -1, 8, 8)), batch_size=3)
    method = NNExplainer(method.classifier, network=method.network, gain=1.0, start=0.5)
    found = method.attributed_classes(drawn(3, 3, 8, 8), 2)
    assert found.classes.tolist() == [[1, 2], [0, 2], [2, 0]]
    close(found.activations, levels.gather(1, found.classes).sigmoid())
    for k in (0, 4):
        with pytest.raises(SeewhyError, match="there are 3 classes"):
            method.attributed_classes(drawn(1, 3, 8, 8), k)


def test_the_rank_correlation_with_the_probabilities() -> None:
    a, p = drawn(5, 7), drawn(5, 7, seed=1)
    a[1] = p[1]
    p[2, :4] = 0.25  # equal values share a rank
    a[3, 2:5] = 0.5
    a[4] = 0.5  # no order at all
    found = activation_correlation(a, p)
    expected = [float(spearmanr(x, y).statistic) for x, y in zip(a[:4].tolist(), p[:4].tolist(), strict=True)]
    close(found, torch.tensor([*expected, 0.0]))
    assert found[1] == 1


@pytest.mark.parametrize("kind", [NNExplainer, RTIS])
@pytest.mark.parametrize("name", ["cnn", "vit_registers", "cnn_multilabel"])
def test_the_light_decoder_learns_in_every_parameter_and_a_batch_is_its_images(kind: Any, name: str) -> None:
    classifier = TINY[name]()
    method = kind(classifier, architecture="light").untrained(0)
    images, targets = drawn(8, 3, 16, 16), torch.arange(8) % classifier.n_classes
    labels = torch.zeros(8, classifier.n_classes).scatter(1, targets[:, None], 1.0) if classifier.multilabel else targets
    step = method.loss(method.see(images, labels), torch.Generator())
    assert step.masks.shape == (8, classifier.n_classes, 16, 16)
    sum(step.terms.values()).backward()
    assert all(p.grad is not None and p.grad.any() for p in method.ready.parameters())
    assert all(p.grad is None for p in classifier.module.parameters())
    alone = [method.explain(images[i : i + 1], targets[i : i + 1]) for i in range(8)]
    close(method.explain(images, targets), torch.cat(alone), rtol=0, atol=1e-5)
    close(method.activations(images), method.explain_classes(images, torch.arange(classifier.n_classes)).mean((2, 3)))


def test_a_network_of_its_own_reads_pixels_alone() -> None:
    """It takes images in [0, 1] of any size and of one channel, one image at a time in training, and needs no classifier."""
    network = segmentation_network("lraspp_mobilenet_v3_large", "scratch", TINY["cnn"]())
    assert network.layers == ()
    for shape in ((1, 3, 33, 47), (2, 1, 32, 32)):
        images = drawn(*shape)
        for mode in (True, False):
            assert network.train(mode)(images).shape == (shape[0], 5, *shape[2:])
    images = drawn(1, 3, 32, 32)
    normalized = (images - torch.tensor(TINY["cnn"]().mean)[:, None, None]) / torch.tensor(TINY["cnn"]().std)[:, None, None]
    close(network(images), network.body(normalized)["out"])


def test_deeplab_from_scratch_is_the_default() -> None:
    """39.6 million weights, drawn by the seed; no weights are fetched."""
    network = NNExplainer(TINY["cnn"]()).untrained(0).ready
    assert isinstance(network, SegmentationNetwork)
    assert sum(p.numel() for p in network.parameters()) == 39_634_757
    assert network(drawn(1, 3, 32, 32)).shape == (1, 5, 32, 32)  # in train mode, where a pooled image alone has no variance


def test_a_network_of_segmentation_models_pytorch() -> None:
    pytest.importorskip("segmentation_models_pytorch")
    network = segmentation_network("smp/Unet:resnet18", "scratch", TINY["cnn"]()).eval()
    images = drawn(2, 3, 40, 50)  # no multiple of 32
    assert network(images).shape == (2, 5, 40, 50)
    for name in ("smp/Unet:nothing", "smp/Nothing:resnet18"):
        with pytest.raises(SeewhyError, match="does not make"):
            segmentation_network(name, "scratch", TINY["cnn"]())


def test_what_is_no_network_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    classifier = TINY["cnn"]()
    with pytest.raises(SeewhyError, match=r"no segmentation network 'deeplabv3_resnet5'. Did you mean .*deeplabv3_resnet50"):
        NNExplainer(classifier, architecture="deeplabv3_resnet5").untrained()
    with pytest.raises(SeewhyError, match="leave backbone at scratch"):
        NNExplainer(classifier, architecture="light", backbone="imagenet").untrained()

    def no_network(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", no_network)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", no_network)
    with pytest.raises(SeewhyError, match=r"cannot be had .*no route to host.*backbone=scratch"):
        NNExplainer(classifier, architecture="lraspp_mobilenet_v3_large", backbone="imagenet").untrained()
