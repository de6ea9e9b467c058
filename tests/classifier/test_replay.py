"""``record`` and ``run_from`` are exact on real architectures."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import pytest
import torch
import torchvision
from support.networks import from_hugging_face, from_timm, from_torchvision, same
from support.tiny_models import TINY, Functional
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier, frozen
from seewhy.errors import SeewhyError
from seewhy.testing.explainers import expect_same, snapshot


def small_vgg() -> nn.Module:
    """torchvision's VGG-11, functional flatten included, with a smaller classifier in the place of 120 million weights."""

    with torch.device("meta"):
        module = torchvision.models.vgg11(weights=None, init_weights=False)
    module.features = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["A"])
    inplace, dropout = nn.ReLU(inplace=True), nn.Dropout()
    module.classifier = nn.Sequential(nn.Linear(512 * 49, 16), inplace, dropout, nn.Linear(16, 5))
    return module


class GPTLike(nn.Module):
    """Positions come from a table that is asked with a new tensor: as many rows as tokens, none of them an image's."""

    def __init__(self, d: int = 8) -> None:
        super().__init__()
        self.patch, self.position = nn.Conv2d(3, d, 4, 4), nn.Embedding(16, d)
        self.mixed, self.head = nn.Linear(d, d), nn.Linear(d, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2) + self.position(torch.arange(16, device=x.device))
        return self.head(self.mixed(tokens).relu().mean(1))


class OneActivation(nn.Module):
    """The same ReLU inside a block that ends before the layer, between blocks, and after the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.act = nn.ReLU()
        self.block = nn.Sequential(nn.Conv2d(3, 6, 3), self.act, nn.Conv2d(6, 6, 3), self.act)
        self.last, self.head = nn.Conv2d(6, 8, 3), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.block(x) - 0.1)
        return self.head(self.act(self.act(self.last(x)) - 0.1).mean((2, 3)))


class SequenceFirst(nn.Module):
    """Tokens come before images in what the encoder takes and returns, as in CLIP's own code: as many tokens as images."""

    def __init__(self, d: int = 8) -> None:
        super().__init__()
        self.patch, self.first = nn.Conv2d(3, d, 4, 4), nn.TransformerEncoderLayer(d, 2, 16)
        self.last, self.head = nn.Conv2d(d, d, 1), nn.Linear(d, 5)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.patch(x)
        tokens = self.first(maps.flatten(2).permute(2, 0, 1))  # (16, n, d)
        return self.head((self.last(maps).flatten(2).permute(2, 0, 1) * tokens).relu().mean(0))


class TableOfImages(nn.Module):
    """Rotary positions: a module is given the features, and returns a table of their places, which is no image's."""

    def __init__(self, d: int = 8) -> None:
        super().__init__()
        self.patch, self.table, self.last, self.head = nn.Conv2d(3, d, 4, 4), Places(d), nn.Linear(d, d), nn.Linear(d, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch(x).flatten(2).transpose(1, 2)
        cosines, sines = self.table(tokens)
        return self.head((self.last(tokens) * cosines + tokens * sines).relu().mean(1))


class Places(nn.Module):
    def __init__(self, d: int) -> None:
        super().__init__()
        self.frequency = nn.Parameter(torch.randn(d))

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        angles = torch.arange(tokens.shape[1], dtype=tokens.dtype)[:, None] * self.frequency
        return angles.cos(), angles.sin()


class ComputedTable(nn.Module):
    """A bias for each head, from coordinates, through a module that is given what was computed of them (timm's srelpos)."""

    def __init__(self, heads: int = 4) -> None:
        super().__init__()
        self.patch, self.bias, self.end = nn.Conv2d(3, heads, 4, 4), nn.Linear(2, heads), nn.Sigmoid()
        self.last, self.head = nn.Conv2d(heads, heads, 1), nn.Linear(heads, 5)

    def forward(self, x: Tensor) -> Tensor:
        places = torch.cartesian_prod(torch.arange(4.0), torch.arange(4.0)).to(x)
        bias = self.end(self.bias(places).T)  # (heads, places)
        maps = self.patch(x)
        return self.head(((self.last(maps) + maps).flatten(2) * bias).relu().mean(2))


SMALL = {"image_size": 64, "patch_size": 16, "hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 32}


STAGES = {"depths": [1, 1, 2, 1], "hidden_sizes": [8, 8, 16, 24]}


SWIN = {"img_size": 64, "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4), "window_size": 4}


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "resnet18": (from_timm("resnet18"), 64),
    "mobilenetv2_100": (from_timm("mobilenetv2_100"), 64),
    "convnext_atto": (from_timm("convnext_atto"), 64),
    "densenet121": (from_timm("densenet121"), 64),
    "efficientnet_b0": (from_timm("efficientnet_b0"), 64),
    "vit_tiny": (from_timm("vit_tiny_patch16_224", img_size=64, depth=3), 64),
    "deit_distilled": (from_timm("deit_tiny_distilled_patch16_224", img_size=64, depth=3), 64),
    "swin": (from_timm("swin_tiny_patch4_window7_224", **SWIN), 64),
    "vgg11": (small_vgg, 64),
    "googlenet": (from_torchvision("googlenet", aux_logits=False, init_weights=False), 64),
    "hf_vit": (from_hugging_face("ViT", num_hidden_layers=3, **SMALL), 64),
    "hf_convnext": (from_hugging_face("ConvNext", **STAGES), 64),
    "functional": (Functional, 16),
    "one_activation": (OneActivation, 16),
    "positions": (GPTLike, 16),
    "sequence_first": (SequenceFirst, 16),
    "table_of_images": (TableOfImages, 16),
    "computed_table": (ComputedTable, 16),
    "srelpos": (from_timm("vit_srelpos_small_patch16_224", img_size=32, depth=3, embed_dim=16, num_heads=2), 32),
}


LAYERS: dict[str, tuple[str, ...]] = {
    "resnet18": ("layer4.0.conv1", "layer4"),
    "mobilenetv2_100": ("bn2", "blocks.5.0"),
    "convnext_atto": ("stages.3.blocks.1.conv_dw", "stages.2"),
    "densenet121": ("features.denseblock4.denselayer7.conv1", "features.denseblock3.denselayer2"),
    "efficientnet_b0": ("blocks.6", "blocks.5.1.se"),
    "vit_tiny": ("blocks.2.norm1", "blocks.1.attn.qkv", "patch_embed"),
    "deit_distilled": ("blocks.2.norm1", "blocks.0.mlp"),
    "swin": ("layers.1.blocks.1.norm1", "layers.1.blocks.0.attn", "layers.0"),
    "vgg11": ("features.18",),
    "googlenet": ("inception5a.branch2", "inception4c.branch4.1"),
    "hf_vit": ("last layernorm_before", "first layernorm_after"),
    "hf_convnext": ("last dwconv", "first dwconv"),
    "functional": ("last", "shared", "stem"),
    "one_activation": ("last", "block.2"),
    "positions": ("mixed",),
    "sequence_first": ("last",),
    "table_of_images": ("last",),
    "computed_table": ("last",),
    "srelpos": ("blocks.1.norm2", "blocks.0.mlp"),
}


CASES = [pytest.param(network, layer) for network, layers in LAYERS.items() for layer in layers]


ROWS = list(LAYERS)


TABLES = ("positions", "table_of_images", "computed_table", "srelpos")
"""What these compute of no image may be computed again."""


@cache
def built(network: str) -> Classifier:
    torch.manual_seed(0)
    build, size = NETWORKS[network]
    module = build().double().eval()
    with torch.no_grad():
        for p in module.parameters():  # scales that begin at 0 or 1e-6 would hide what is behind them
            if p.ndim == 1 and p.abs().max() < 2e-2:
                p.copy_(torch.randn_like(p) * 0.1 + 1)
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(torch.randn_like(buffer) * 0.1)
    return Classifier(module, input_size=(size, size))


def pictures(network: str, n: int = 2) -> Tensor:
    size = NETWORKS[network][1]
    return torch.rand(n, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def named(classifier: Classifier, layer: str) -> str:
    """ "last X" and "first X" are the last and the first module called X, wherever that library keeps its blocks."""
    which, _, ending = layer.rpartition(" ")
    found = [name for name, _ in classifier.module.named_modules() if name.endswith(ending)]
    return layer if not which else found[-1 if which == "last" else 0]


def overwritten(classifier: Classifier, layer: str, images: Tensor, features: Tensor) -> Tensor:
    """Logits of a full run in which a hook exchanges what the layer's last call returns."""
    module, calls = classifier.module.get_submodule(layer), []
    handle = module.register_forward_hook(lambda *_: calls.append(1))
    with torch.no_grad():
        classifier.logits(images)
    handle.remove()
    left = [len(calls)]

    def exchange(_m: nn.Module, _a: object, output: Any) -> Any:
        left[0] -= 1
        if left[0]:
            return None
        return features.clone() if isinstance(output, Tensor) else (features.clone(), *output[1:])

    handle = module.register_forward_hook(exchange)
    try:
        return classifier.logits(images)
    finally:
        handle.remove()


@pytest.mark.parametrize(("network", "layer"), CASES)
def test_run_from_gives_what_a_full_run_with_exchanged_features_gives(network: str, layer: str) -> None:
    """The features as they were, zeros, and three different rows for each image; with the gradient by each row."""
    classifier, images = built(network), pictures(network)
    layer = named(classifier, layer)
    with torch.no_grad():
        expected = classifier.logits(images)
    recorded, logits = classifier.record(images, layer)
    same(logits, expected)
    same(classifier.run_from(recorded, recorded.features, images), expected)

    nothing = torch.zeros_like(recorded.features)
    same(classifier.run_from(recorded, nothing, images), overwritten(classifier, layer, images, nothing))

    noise = torch.randn(3, *recorded.features.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    rows = (recorded.features + noise).transpose(0, 1).flatten(0, 1)  # row i * 3 + j belongs to image i
    if len(recorded.features) != len(images):  # windows of Swin: several rows an image
        rows = torch.stack([(recorded.features + x).unflatten(0, (len(images), -1)) for x in noise], 1).flatten(0, 2)
    ours, theirs = rows.clone().requires_grad_(), rows.clone().requires_grad_()
    found = classifier.run_from(recorded, ours, images)
    with frozen(classifier.module):
        wanted = overwritten(classifier, layer, images.repeat_interleave(3, 0), theirs)
    same(found, wanted)
    assert (found[0] - found[1]).abs().max() > 1e-6
    weights = torch.linspace(-1, 1, wanted.numel(), dtype=torch.float64).view_as(wanted)
    (g,), (h,) = (torch.autograd.grad((out * weights).sum(), x) for out, x in ((found, ours), (wanted, theirs)))
    same(g, h)
    assert g.abs().max() > 0


def test_the_annotation_of_run_from_allows_several_rows_an_image() -> None:
    classifier, images = built("functional"), pictures("functional")
    recorded, _ = classifier.record(images, "last")
    assert classifier.run_from(recorded, recorded.features.repeat(3, 1, 1, 1), images).shape == (6, 5)


@pytest.mark.parametrize("network", ROWS)
def test_one_image_has_many_rows(network: str) -> None:
    """n = 1 divides everything, so that a table is easily taken for rows of the image."""
    classifier, images = built(network), pictures(network, 1)
    layer = named(classifier, LAYERS[network][0])
    recorded, _ = classifier.record(images, layer)
    noise = torch.randn(4, *recorded.features.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    rows = (recorded.features + noise).flatten(0, 1)
    with torch.no_grad():
        wanted = overwritten(classifier, layer, images.repeat_interleave(4, 0), rows)
        same(classifier.run_from(recorded, rows, images), wanted)


@contextmanager
def counted(module: nn.Module) -> Iterator[Counter[str]]:
    """How often the ``forward`` of each module is really executed."""
    counts: Counter[str] = Counter()

    def counting(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def forward(*args: Any, **kwargs: Any) -> Any:
            counts[name] += 1
            return original(*args, **kwargs)

        return forward

    for name, m in module.named_modules():
        m.__dict__["forward"] = counting(name, m.forward)
    try:
        yield counts
    finally:
        for m in module.modules():
            del m.__dict__["forward"]


@pytest.mark.parametrize(("network", "layer"), [c for c in CASES if c.values[0] not in TABLES])
def test_nothing_before_the_layer_is_computed_again(network: str, layer: str) -> None:
    """What ended before the layer's last call began, and the layer, are not executed; the rest is, as often as ever."""
    classifier, images = built(network), pictures(network, 1)
    layer = named(classifier, layer)
    order: list[str] = []
    handles = [
        m.register_forward_hook(lambda _m, _a, _o, name=name: order.append(name))
        for name, m in classifier.module.named_modules()
    ]
    starts: list[int] = []
    handles.append(classifier.module.get_submodule(layer).register_forward_pre_hook(lambda *_: starts.append(len(order))))
    with torch.no_grad():
        classifier.logits(images)
    for handle in handles:
        handle.remove()
    inside = {name for name in order if name.startswith(f"{layer}.")} | {layer}
    after = Counter(name for name in order[starts[-1] :] if name not in inside)
    recorded, _ = classifier.record(images, layer)
    with counted(classifier.module) as counts, torch.no_grad():
        classifier.run_from(recorded, recorded.features, images)
    assert counts == after


@pytest.mark.parametrize("network", list(NETWORKS))
def test_record_and_run_from_leave_no_trace(network: str) -> None:
    """Also when the layer does not exist, when what follows the layer raises, and when the rows do not fit."""
    classifier, images = built(network), pictures(network)
    layer = named(classifier, LAYERS[network][0])
    before = snapshot(classifier.module)
    recorded, _ = classifier.record(images, layer)
    classifier.run_from(recorded, recorded.features, images)
    expect_same(before, snapshot(classifier.module))
    with pytest.raises(SeewhyError, match="no layer 'nowhere'"):
        classifier.record(images, "nowhere")
    with pytest.raises(SeewhyError, match="3 rows of features"):
        classifier.run_from(recorded, torch.zeros(3, *recorded.features.shape[1:]), images)
    expect_same(before, snapshot(classifier.module))
    last = [m for m in classifier.module.modules() if isinstance(m, nn.Linear)][-1]

    def fail(*_: object) -> None:
        raise IndexError("the head failed")

    handle = last.register_forward_hook(fail)
    hooked = snapshot(classifier.module)
    with pytest.raises(IndexError, match="the head failed"):
        classifier.run_from(recorded, recorded.features, images)
    with pytest.raises(IndexError, match="the head failed"):
        classifier.record(images, layer)
    expect_same(hooked, snapshot(classifier.module))
    handle.remove()


def test_a_record_survives_later_in_place_operations() -> None:
    """The ReLU after the layer works in place: on a copy of what was recorded, and on a copy of what is given."""
    classifier = TINY["cnn_inplace"]()
    images = torch.rand(2, 3, 16, 16)
    recorded, logits = classifier.record(images, "5")
    assert recorded.features.min() < 0
    features = recorded.features.clone()
    torch.testing.assert_close(classifier.run_from(recorded, features, images), logits)
    torch.testing.assert_close(classifier.run_from(recorded, features, images), logits)
    assert torch.equal(features, recorded.features)
