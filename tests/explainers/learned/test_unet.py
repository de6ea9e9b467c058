"""The decoders: their sizes, the published one against its blocks written out, and rows that are told what they are for."""

import pytest
import timm
import torch
from support.tiny_models import TINY
from torch import Tensor, nn
from torch.nn import functional as F

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.explainers.learned.unet import LightDecoder, MaskDecoder, PublishedDecoder, decoder


def weights_of(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def features_of(classifier: Classifier, network: MaskDecoder, images: Tensor) -> list[Tensor]:
    with torch.no_grad(), classifier.running(), classifier.capture(*network.layers) as outputs:
        classifier.logits(images)
        return [classifier.as_grid(outputs[layer], images, layer) for layer in network.layers]


@pytest.fixture(scope="module")
def resnet() -> Classifier:
    torch.manual_seed(0)
    return Classifier(timm.create_model("resnet50", pretrained=False), input_size=(64, 64))


def test_on_a_resnet_50_the_published_decoder_has_9013377_weights_and_two_of_the_patching(resnet: Classifier) -> None:
    found = PublishedDecoder(resnet)
    assert weights_of(found) - weights_of(found.patching) == 9_013_377
    assert weights_of(found.patching) == 2
    shapes = [[tuple(c.weight.shape[:2]) for c in block.convolutions] for block in found.blocks]
    assert shapes == [
        [(256, 3072), (256, 256)],
        [(128, 768), (128, 128)],
        [(64, 384), (64, 64)],
        [(32, 128), (32, 32)],
        [(16, 35), (16, 16)],
    ]
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert found.eval()(images, *features_of(resnet, found, images)).shape == (1, 1, 64, 64)


def test_the_light_decoder_is_small_and_its_masks_have_a_quarter_of_the_height(resnet: Classifier) -> None:
    found = LightDecoder(resnet).eval()
    assert weights_of(found) < 120_000
    assert found.layers == ("layer1", "layer2", "layer3", "layer4")
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert found(images, *features_of(resnet, found, images)).shape == (1, 1, 16, 16)


def test_the_published_decoder_is_its_blocks_one_after_the_other() -> None:
    classifier, images = seewhy.load("shapes"), torch.rand(2, 3, 96, 96)
    torch.manual_seed(0)
    network = PublishedDecoder(classifier).eval()
    with torch.no_grad():
        for norm in (m for m in network.modules() if isinstance(m, nn.BatchNorm2d)):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
        features = features_of(classifier, network, images)
        x = features[-1]
        for block, skip in zip(network.blocks, [features[1], features[0], classifier.normalize(images)], strict=True):
            x = torch.cat([x.repeat_interleave(2, 2).repeat_interleave(2, 3), skip], 1)
            for convolution, norm in zip(block.convolutions, block.norms, strict=True):
                x = F.conv2d(x, convolution.weight, padding=1)
                x = (x - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + norm.eps).sqrt()
                x = x * torch.sigmoid(x)  # the norm's weights are 1 and 0
        expected = F.conv2d(x, network.head.weight, network.head.bias) * network.patching.weight + network.patching.bias
        torch.testing.assert_close(network(images, *features), expected, atol=1e-4, rtol=1e-4)


def test_the_levels_of_a_vision_transformer_are_enlarged_to_grids_that_double() -> None:
    torch.manual_seed(0)
    module = timm.create_model("vit_tiny_patch16_224", pretrained=False, img_size=64, embed_dim=24, num_heads=2)
    classifier, images = Classifier(module, input_size=(64, 64)), torch.rand(1, 3, 64, 64)
    network = PublishedDecoder(classifier).eval()
    assert network.joins == [2, 1, 0]
    sizes: list[int] = []
    for block in network.blocks:
        block.register_forward_hook(lambda _block, _args, output: sizes.append(output.shape[-1]))
    with torch.no_grad():
        network(images, *features_of(classifier, network, images))
    assert sizes == [8, 16, 32, 64]
    light = LightDecoder(classifier)
    assert light.adds == [[0, 1, 2, 3], [], []]


def test_a_grid_more_than_twice_as_fine_has_blocks_that_join_nothing() -> None:
    torch.manual_seed(0)
    module = timm.create_model("convnext_atto", pretrained=False)  # its first level has cells of four pixels
    assert PublishedDecoder(Classifier(module, input_size=(64, 64))).joins == [2, 1, 0, None]


@pytest.mark.parametrize("kind", ["light", "published"])
@pytest.mark.parametrize("name", sorted(TINY))
@pytest.mark.parametrize("size", [(16, 16), (24, 16), (19, 17)])
def test_decoders_take_every_network_and_size(kind: str, name: str, size: tuple[int, int]) -> None:
    if name.startswith("vit") and size != (16, 16):
        pytest.skip("the tiny transformers take one size")
    classifier, images = TINY[name](), torch.rand(2, 3, *size)
    network = decoder(kind, classifier, 3).eval()
    with torch.no_grad():
        found = network(images, *features_of(classifier, network, images))
    assert found.shape[:2] == (2, 3)
    if kind == "published":
        assert found.shape[2:] == size


@pytest.mark.parametrize("kind", ["light", "published"])
def test_rows_that_are_told_what_they_are_for_stay_apart(kind: str) -> None:
    classifier, images = TINY["cnn"](), torch.rand(2, 3, 16, 16)
    network = decoder(kind, classifier, 1, 4).eval()
    features, condition = features_of(classifier, network, images), torch.randn(6, 4)
    with torch.no_grad():
        found = network(images, *features, condition=condition)
        for i in range(2):
            for j in range(3):
                row = i * 3 + j
                alone = network(images[i : i + 1], *(f[i : i + 1] for f in features), condition=condition[row : row + 1])
                torch.testing.assert_close(found[row : row + 1], alone, atol=1e-5, rtol=1e-5)
    assert float((found[0] - found[1]).abs().max()) > 1e-3
