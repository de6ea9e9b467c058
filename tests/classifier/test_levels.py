"""The levels that a decoder reads."""

import pytest
import timm
import torch
import torchvision
from support.tiny_models import TINY
from torch import nn
from transformers import SwinConfig, SwinForImageClassification, ViTConfig, ViTForImageClassification

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError


def of(module: nn.Module, size: int) -> Classifier:
    return Classifier(module.eval(), input_size=(size, size))


def names(classifier: Classifier) -> list[str]:
    return [level.name for level in classifier.levels]


def timm_network(name: str, size: int, **options: object) -> Classifier:
    torch.manual_seed(0)
    return of(timm.create_model(name, pretrained=False, **options), size)


def test_the_levels_of_a_resnet_are_those_of_the_published_decoder() -> None:
    found = timm_network("resnet50", 64).levels
    assert [(level.name, level.channels) for level in found] == [
        ("act1", 64),
        ("layer1", 256),
        ("layer2", 512),
        ("layer3", 1024),
        ("layer4", 2048),
    ]
    assert [(level.grid, level.stride) for level in found] == [((64 // s, 64 // s), s) for s in (2, 4, 8, 16, 32)]


def test_the_levels_of_a_mobile_network_are_bottlenecks_and_not_their_expansions() -> None:
    assert names(timm_network("mobilenetv2_100", 64)) == ["blocks.0", "blocks.1", "blocks.2", "blocks.4", "bn2"]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = of(torchvision.models.mobilenet_v2(width_mult=0.5), 64)
    assert names(network) == ["features.1", "features.3", "features.6", "features.13", "features"]


def test_stages_that_end_with_a_norm_or_begin_with_a_reduction_are_whole() -> None:
    assert names(timm_network("regnety_002", 64)) == ["stem", "s1", "s2", "s3", "s4"]
    assert names(timm_network("convnext_atto", 64)) == ["stages.0", "stages.1", "stages.2", "stages"]
    small = {"embed_dim": 12, "depths": (1, 1, 2), "num_heads": (1, 2, 3), "window_size": 4, "img_size": 64}
    assert names(timm_network("swin_tiny_patch4_window7_224", 64, **small)) == ["layers.0", "layers.1", "norm"]
    sizes = {
        "image_size": 64,
        "patch_size": 2,
        "embed_dim": 12,
        "depths": [2, 2, 2],
        "num_heads": [1, 2, 3],
        "window_size": 4,
    }
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = of(SwinForImageClassification(SwinConfig(**sizes, num_labels=5)), 64)
    assert names(network) == ["swin.encoder.layers.0.blocks.1", "swin.encoder.layers.1.blocks.1", "swin.layernorm"]


def test_the_levels_of_a_vision_transformer_are_blocks_of_one_grid() -> None:
    network = timm_network("vit_tiny_patch16_224", 64, img_size=64, embed_dim=24, num_heads=2)
    assert names(network) == ["blocks.2", "blocks.5", "blocks.8", "blocks.11.norm1"]
    assert {(level.channels, level.grid, level.stride) for level in network.levels} == {(24, (4, 4), 16)}
    few = {"image_size": 32, "patch_size": 8, "hidden_size": 12, "num_hidden_layers": 6, "num_attention_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        other = of(ViTForImageClassification(ViTConfig(**few, intermediate_size=24, num_labels=5)), 32)
    assert names(other) == ["vit.layers.0", "vit.layers.2", "vit.layers.4", "vit.layers.5.layernorm_before"]


def test_convolutions_without_padding_make_no_levels_of_their_own() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(5, 6, 3), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3),
    )  # fmt: skip
    assert [(level.name, level.grid) for level in of(network, 24).levels] == [("3", (20, 20)), ("6", (8, 8))]


def test_the_built_in_networks_have_three_levels() -> None:
    found = seewhy.load("shapes").levels
    assert [(level.name, level.channels, level.stride) for level in found] == [
        ("act1", 16, 2),
        ("layer1", 32, 4),
        ("layer3", 64, 8),
    ]


@pytest.mark.parametrize("name", sorted(TINY))
def test_each_level_is_a_layer_with_its_channels_and_grid(name: str) -> None:
    classifier, images = TINY[name](), torch.rand(2, 3, 16, 16)
    levels = classifier.levels
    assert levels[-1].name == classifier.layer
    with classifier.capture(*(level.name for level in levels)) as outputs:
        classifier.logits(images)
    for level in levels:
        grid = classifier.as_grid(outputs[level.name], images, level.name)
        assert grid.shape == (2, level.channels, *level.grid)


def test_a_network_without_a_grid_is_one_line() -> None:
    with pytest.raises(SeewhyError, match="a decoder has nothing to read"):
        _ = of(nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 4)), 16).levels
