"""The classifier, and reaching inside its network: ``record`` and ``run_from`` are exact on real architectures."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import pytest
import torch
from support.command import as_users_run_it
from support.tiny_models import TINY, Functional, TinyViT, cnn, tiny
from torch import Tensor, nn
from torch.nn.utils import prune

from seewhy.classifier.classifier import Classifier, frozen
from seewhy.errors import SeewhyError
from seewhy.explainers import EXPLAINERS, ExplainsClasses, explainer
from seewhy.testing.explainers import expect_same, snapshot


def from_timm(name: str, **options: object) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import timm

        return timm.create_model(name, pretrained=False, num_classes=5, **options)

    return build


def from_torchvision(name: str, **options: object) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        import torchvision

        return getattr(torchvision.models, name)(weights=None, num_classes=5, **options)

    return build


def small_vgg() -> nn.Module:
    """torchvision's VGG-11, functional flatten included, with a smaller classifier in the place of 120 million weights."""
    import torchvision

    with torch.device("meta"):
        module = torchvision.models.vgg11(weights=None, init_weights=False)
    module.features = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["A"])
    inplace, dropout = nn.ReLU(inplace=True), nn.Dropout()
    module.classifier = nn.Sequential(nn.Linear(512 * 49, 16), inplace, dropout, nn.Linear(16, 5))
    return module


def from_hugging_face(name: str, **options: object) -> Callable[[], nn.Module]:
    def build() -> nn.Module:
        transformers = pytest.importorskip(
            "transformers", reason="transformers is not installed: this test needs its models"
        )
        config = getattr(transformers, f"{name}Config")(num_labels=5, **options)
        return getattr(transformers, f"{name}ForImageClassification")(config)

    return build


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
}
WINDOWS = ("swin", "layers.1.blocks.0.attn")  # several rows an image
CASES = [pytest.param(network, layer) for network, layers in LAYERS.items() for layer in layers]
ROWS = list(LAYERS)


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


def tensor_of(output: Any) -> Tensor:
    return output if isinstance(output, Tensor) else next(o for o in output if isinstance(o, Tensor))


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


def same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-11)


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


@pytest.mark.parametrize(("network", "layer"), [c for c in CASES if c.values[0] != "positions"])
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


# -- capture, frozen, grids, embeddings -------------------------------------------------------------------------------


def test_capture_keeps_outputs_with_their_graph_from_later_in_place_operations() -> None:
    classifier = TINY["cnn_inplace"]()
    images = torch.rand(2, 3, 16, 16)
    with classifier.capture("5", "6") as outputs:
        score = classifier.logits(images)[:, 1].sum()
    assert outputs["5"].min() < 0
    assert torch.equal(outputs["6"], outputs["5"].relu())
    first, second = torch.autograd.grad(score, [outputs["5"], outputs["6"]])
    torch.testing.assert_close(first, second * (outputs["5"] > 0))
    assert torch.equal(outputs["5"], outputs["5"].clone())
    assert not classifier.module.get_submodule("5")._forward_hooks


def test_a_captured_leaf_starts_the_graph() -> None:
    classifier = TINY["cnn"]()
    images = torch.rand(2, 3, 16, 16).requires_grad_()
    with classifier.capture("6", leaf=True) as outputs:
        score = classifier.logits(images).sum()
    assert outputs["6"].is_leaf
    (gradient,) = torch.autograd.grad(score, outputs["6"], retain_graph=True)
    assert gradient.abs().max() > 0
    with pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad(score, images)


def test_capture_names_what_is_missing() -> None:
    classifier = TINY["functional"]()
    with pytest.raises(SeewhyError, match=r"no layer 'shard'.*Did you mean 'shared'"), classifier.capture("shard"):
        pass
    with pytest.raises(SeewhyError, match="not reached"), classifier.capture("last") as outputs:
        _ = outputs["last"]
    assert not any(m._forward_hooks for m in classifier.module.modules())


def test_frozen_restores_the_exact_state_also_after_an_exception() -> None:
    module = cnn()
    module.train()
    module[1].eval()
    module[0].weight.requires_grad_(False)
    before = snapshot(module)
    try:
        with frozen(module):
            assert not any(m.training for m in module.modules())
            assert not any(p.requires_grad for p in module.parameters())
            raise KeyError
    except KeyError:
        expect_same(before, snapshot(module))
    else:
        pytest.fail("the exception was swallowed")


def grid(h: int, w: int, d: int = 5, n: int = 2) -> Tensor:
    """Numbered so that every cell and channel is different."""
    return torch.arange(float(n * d * h * w)).view(n, d, h, w)


@pytest.mark.parametrize("size", [(64, 64), (64, 96), (96, 32), (224, 160)])
@pytest.mark.parametrize("prefix", [0, 1, 2, 5])
def test_tokens_lose_their_prefix_and_become_a_grid(prefix: int, size: tuple[int, int]) -> None:
    """Row after row, also for images that are not square; without a declared prefix if they are."""
    expected = grid(size[0] // 16, size[1] // 16)
    tokens = expected.flatten(2).transpose(1, 2)
    tokens = torch.cat([torch.full((2, prefix, 5), -1.0), tokens], 1)
    images = torch.zeros(2, 3, *size)
    declared = Classifier(cnn(), n_prefix_tokens=prefix)
    assert torch.equal(declared.as_grid(tokens, images), expected)
    assert torch.equal(Classifier(cnn(), input_size=size, n_prefix_tokens=prefix).as_grid(tokens), expected)
    if size[0] == size[1]:
        assert torch.equal(Classifier(cnn()).as_grid(tokens, images), expected)


@pytest.mark.parametrize("size", [(64, 64), (64, 96), (96, 32)])
def test_channels_last_maps_are_permuted_and_cnn_maps_pass(size: tuple[int, int]) -> None:
    """Square grids with as many channels as cells a side are the first kind that is tried: a CNN's."""
    expected = grid(size[0] // 8, size[1] // 8)
    images, classifier = torch.zeros(2, 3, *size), Classifier(cnn())
    assert torch.equal(classifier.as_grid(expected, images), expected)
    assert torch.equal(classifier.as_grid(expected.permute(0, 2, 3, 1), images), expected)


def test_as_grid_says_what_fits_nowhere() -> None:
    images = torch.zeros(2, 3, 64, 64)
    with pytest.raises(SeewhyError, match="17 tokens after 2 prefix tokens form no grid"):
        Classifier(cnn(), n_prefix_tokens=2).as_grid(torch.zeros(2, 17, 4), images)
    with pytest.raises(SeewhyError, match=r"shape \(2, 8\) has no grid"):
        Classifier(cnn()).as_grid(torch.zeros(2, 8), images)


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


# -- outputs and door -------------------------------------------------------------------------------------------------


@dataclass
class Output:
    logits: Tensor
    hidden: Tensor


class Wrapped(nn.Module):
    def __init__(self, wrap: Callable[[Tensor], object]) -> None:
        super().__init__()
        self.body, self.wrap = cnn(), wrap

    def forward(self, x: Tensor) -> object:
        return self.wrap(self.body(x))


WRAPS: dict[str, Callable[[Tensor], object]] = {
    "dict": lambda z: {"aux": torch.zeros(len(z), 7), "logits": z},
    "dict of one matrix": lambda z: {"features": torch.zeros(len(z), 2, 4, 4), "scores": z},
    "dataclass": lambda z: Output(z, torch.zeros(len(z), 3)),
    "tuple": lambda z: (z, torch.zeros(len(z), 2, 4, 4)),
    "list": lambda z: [torch.zeros(()), z],
}


@pytest.mark.parametrize("kind", list(WRAPS))
def test_the_logits_are_found_in_any_output(kind: str) -> None:
    classifier = tiny(Wrapped(WRAPS[kind]))
    images = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(classifier.logits(images), classifier.module.body(classifier.normalize(images)))
    assert classifier.n_classes == 5


def test_an_output_that_could_be_two_things_is_refused() -> None:
    images = torch.rand(2, 3, 16, 16)
    with pytest.raises(SeewhyError, match="cannot tell the logits in a tuple with 2 entries"):
        tiny(Wrapped(lambda z: (z, z))).logits(images)
    with pytest.raises(SeewhyError, match="cannot tell the logits in a dict with a, b"):
        tiny(Wrapped(lambda z: {"a": z, "b": z})).logits(images)


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
    with pytest.raises(SeewhyError, match="mean has 1 numbers and std 3"):
        Classifier(cnn(), mean=(0.5,))
    with pytest.raises(
        SeewhyError, match=r"mean \(123.0, 117.0, 104.0\) is not that of pixels .* divide mean and std by 255"
    ):
        Classifier(cnn(), mean=(123.0, 117.0, 104.0), std=(58.0, 57.0, 57.0))
    with pytest.raises(SeewhyError, match="std must be positive"):
        Classifier(cnn(), std=(0.5, 0.0, 0.5))
    with pytest.raises(SeewhyError, match="describe no picture"):
        Classifier(cnn(), input_size=(0, 16))


@pytest.mark.parametrize(
    ("images", "targets", "line"),
    [
        (torch.rand(3, 3, 16, 16), torch.tensor([0]), "3 images and 1 targets"),
        (torch.rand(1, 3, 16, 16), torch.tensor([0, 1]), "1 images and 2 targets"),
        (torch.rand(3, 16, 16), torch.tensor([0, 1, 2]), "images must be floats"),
        (torch.zeros(1, 3, 16, 16, dtype=torch.uint8), torch.tensor([0]), "images must be floats"),
        (torch.rand(0, 3, 16, 16), torch.arange(0), r"there are no images: the batch is \(0, 3, 16, 16\)"),
        (torch.full((1, 3, 16, 16), 255.0), torch.tensor([0]), r"must be in \[0, 1\].*divide bytes by 255"),
        (torch.randn(1, 3, 16, 16) * 3, torch.tensor([0]), r"must be in \[0, 1\]"),
        (torch.full((1, 3, 16, 16), torch.nan), torch.tensor([0]), r"must be in \[0, 1\]"),
        (torch.rand(1, 3, 16, 16), torch.tensor([0.0]), "targets must be class indices"),
        (torch.rand(1, 3, 16, 16), torch.tensor([5]), "class 5 does not exist: the classifier has classes 0 to 4"),
        (torch.rand(1, 3, 16, 16), torch.tensor([-1]), "class -1 does not exist"),
    ],
)
def test_the_door_says_what_is_wrong_with_images_and_targets(images: Tensor, targets: Tensor, line: str) -> None:
    with pytest.raises(SeewhyError, match=line):
        TINY["cnn"]().check(images, targets)


@pytest.mark.parametrize("name", EXPLAINERS)
def test_a_class_as_a_number_or_a_list_is_refused_in_one_line(name: str) -> None:
    """Other libraries take them."""
    images = torch.rand(1, 3, 16, 16)
    with as_users_run_it():
        method: Any = explainer(name, TINY["cnn"]())
        for targets in (0, [0]):
            with pytest.raises(
                SeewhyError, match=r"targets must be a tensor of one class index for each image \(n,\), not of"
            ):
                method.explain(images, targets)
        for targets in (torch.tensor(0), torch.tensor([[0]]), torch.tensor([[0, 1]])):
            with pytest.raises(SeewhyError, match=r"targets must be a tensor of .* for each image \(n,\), got \("):
                method.explain(images, targets)
        with pytest.raises(SeewhyError, match=r"images must be a tensor of floats \(n, c, h, w\), not of type ndarray"):
            method.explain(images.numpy(), torch.tensor([0]))
        if isinstance(method, ExplainsClasses):
            with pytest.raises(SeewhyError, match=r"classes must be a tensor of class indices \(m,\), not of type list"):
                method.explain_classes(images, [0, 1])
            with pytest.raises(SeewhyError, match=r"classes must be a tensor of class indices \(m,\), got \(1, 2\)"):
                method.explain_classes(images, torch.tensor([[0, 1]]))


def test_names_of_classes_are_found_whatever_their_case_and_refused_when_unknown() -> None:
    classifier = TINY["cnn"]()
    assert [classifier.class_index(name) for name in ("bee", "BEE", " bee ", 1, "1")] == [1] * 5
    with pytest.raises(SeewhyError, match=r"class 'bea' does not exist. Did you mean 'bee'"):
        classifier.class_index("bea")
    for wrong in (5, -1, "17"):
        with pytest.raises(SeewhyError, match="does not exist: the classifier has classes 0 to 4"):
            classifier.class_index(wrong)


def test_prefix_tokens_are_read_off_the_network() -> None:
    images = torch.rand(1, 3, 16, 16)
    for extra in (0, 1, 4):
        classifier = tiny(TinyViT(extra=extra))
        with classifier.capture("norm") as outputs:
            classifier.logits(images)
        assert outputs["norm"].shape[1] == 17 + extra
        assert torch.equal(
            classifier.as_grid(outputs["norm"], images), outputs["norm"][:, 1 + extra :].transpose(1, 2).view(1, 12, 4, 4)
        )


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


def test_a_grid_may_be_as_wide_as_there_are_classes() -> None:
    """A last dimension of that size made it look like a map of the classes."""
    module = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    classifier = Classifier(module.eval(), input_size=(16, 16))
    assert classifier.class_map_layer is None
    assert classifier.live_layer(None) == "1"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_network_that_views_its_weights_gets_them_as_they_are(precision: Literal["fp32", "bf16"]) -> None:
    """As those with weight standardization do."""

    class Standardized(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            w = self.weight
            mean = w.view(len(w), -1).mean(1)[:, None, None, None]
            return nn.functional.conv2d(x, w - mean, self.bias)

    module = nn.Sequential(Standardized(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    classifier, images = Classifier(module, input_size=(16, 16)), torch.rand(2, 3, 16, 16)
    expected = classifier.logits(images).detach()
    with classifier.running(precision):
        close = {"rtol": 0.05, "atol": 0.05} if precision == "bf16" else {}
        torch.testing.assert_close(classifier.logits(classifier.fast_layout(images)).float(), expected, **close)


@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated")
@pytest.mark.parametrize("reparametrized", ["weight_norm", "spectral_norm", "l1_unstructured"])
def test_weights_that_are_computed_at_every_pass_are_computed_exactly(reparametrized: str) -> None:
    """Old-style reparametrizations keep what they compute a weight from beside it: in bf16 it lost digits, or failed."""
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 16, 3)
    if reparametrized == "l1_unstructured":
        prune.l1_unstructured(conv, "weight", 0.3)
    else:
        getattr(nn.utils, reparametrized)(conv)
    module = nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)).eval()
    classifier, images = Classifier(module, input_size=(16, 16)), torch.rand(2, 3, 16, 16)
    kept = {name: p.clone() for name, p in module.named_parameters()}
    expected = classifier.logits(images).detach()
    with classifier.running("bf16"):
        assert all(p.dtype == torch.float32 for name, p in conv.named_parameters() if name not in ("weight", "bias"))
        torch.testing.assert_close(classifier.logits(classifier.fast_layout(images)).float(), expected, rtol=0.02, atol=0.02)
    torch.testing.assert_close(dict(module.named_parameters()), kept, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_are_rearranged_once_while_the_network_is_at_work(dtype: torch.dtype) -> None:
    """A convolution would do it at every pass; afterwards they are the very same tensors, whatever happened."""
    conv = nn.Conv2d(3, 5, 3, dtype=dtype)
    module = nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    classifier, images = Classifier(module, input_size=(16, 16)), torch.rand(2, 3, 16, 16, dtype=dtype)
    before, expected = conv.weight.data_ptr(), classifier.logits(images).detach()
    with suppress(KeyError), classifier.running():
        assert conv.weight.is_contiguous(memory_format=torch.channels_last)
        assert conv.weight.dtype == dtype
        torch.testing.assert_close(classifier.logits(classifier.fast_layout(images)), expected)
        with classifier.running():
            torch.testing.assert_close(classifier.logits(classifier.fast_layout(images)), expected)
        raise KeyError
    assert conv.weight.data_ptr() == before
    assert conv.weight.is_contiguous()


def test_convolutions_are_given_channels_last() -> None:
    module = nn.Sequential(nn.Conv2d(3, 5, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    classifier, images = Classifier(module, input_size=(16, 16)), torch.rand(2, 3, 16, 16)
    fast = classifier.fast_layout(images)
    assert fast.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(fast, images)
    torch.testing.assert_close(classifier.logits(fast), classifier.logits(images))
