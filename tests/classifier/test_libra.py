"""LibraGrad against literal re-writings of its rules, and against its promise: inputs and biases account for the logit."""

import gc
import warnings
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.command import run
from support.completeness import gap, randomized
from support.networks import from_hugging_face, from_timm, from_torchvision
from support.tiny_models import TINY, TinyViT
from torch import Tensor, nn
from torch.nn import functional as F

import seewhy
from seewhy.classifier.borrow import frozen
from seewhy.classifier.classifier import Classifier
from seewhy.classifier.libra import balance
from seewhy.data.pictures import to_picture
from seewhy.errors import SeewhyWarning, UnsuitedError

Function = Callable[..., Tensor]


def held(x: Tensor) -> Tensor:
    """A constant of the paper."""
    return x.detach()


def normalized(x: Tensor, axes: tuple[int, ...], eps: float = 1e-5) -> Tensor:
    """The paper's layer normalization: the mean is linear, the deviation is a constant."""
    deviation = (x.var(axes, unbiased=False, keepdim=True) + eps).sqrt()
    return (x - x.mean(axes, keepdim=True)) / held(deviation)


def gated(function: Callable[[Tensor], Tensor], at_zero: float) -> Function:
    """f(x) = x g(x) with a constant gate g."""

    def literal(x: Tensor) -> Tensor:
        gate = torch.where(x == 0, at_zero, function(x) / torch.where(x == 0, 1, x))
        return x * held(gate)

    return literal


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | float = 0.0) -> Tensor:
    weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + bias).softmax(-1)
    return held(weights) @ v


def product(a: Tensor, b: Tensor) -> Tensor:
    """Half of the gradient for each."""
    return a * held(b) / 2 + held(a) * b / 2


def matrix_product(a: Tensor, b: Tensor) -> Tensor:
    return a @ held(b) / 2 + held(a) @ b / 2


def tanh_gelu(x: Tensor) -> Tensor:
    return 0.5 * x * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (x + 0.044715 * x**3)))


def heads(x: Tensor) -> Tensor:
    """(2, 6, 8) as two heads (2, 2, 6, 4)."""
    return x.unflatten(-1, (2, 4)).transpose(1, 2)


W = torch.randn(8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
SCALE, SHIFT = W[0], W[1]
MASK = torch.ones(6, 6, dtype=torch.bool).tril()
INFINITE = torch.zeros(6, 6, dtype=torch.float64).masked_fill(~MASK, -torch.inf)
MULTI = nn.MultiheadAttention(8, 2, batch_first=True).double().requires_grad_(False)


def multi_head(x: Tensor) -> Tensor:
    q, k, v = (heads(part) for part in F.linear(x, MULTI.in_proj_weight, MULTI.in_proj_bias).chunk(3, -1))
    return MULTI.out_proj(attention(q, k, v).transpose(1, 2).flatten(2))


RULES: dict[str, tuple[Function, Function]] = {
    "layer_norm": (lambda x: F.layer_norm(x, (8,), SCALE, SHIFT), lambda x: normalized(x, (-1,)) * SCALE + SHIFT),
    "layer_norm of two axes": (lambda x: F.layer_norm(x, (6, 8)), lambda x: normalized(x, (-2, -1))),
    "group_norm": (
        lambda x: F.group_norm(x, 3, SCALE[:6], SHIFT[:6]),
        lambda x: normalized(x.unflatten(1, (3, 2)), (2, 3)).flatten(1, 2) * SCALE[:6, None] + SHIFT[:6, None],
    ),
    "instance_norm": (lambda x: F.instance_norm(x, weight=SCALE[:6]), lambda x: normalized(x, (-1,)) * SCALE[:6, None]),
    "batch_norm without running statistics": (
        lambda x: F.batch_norm(x, None, None, SCALE[:6], training=True),
        lambda x: normalized(x, (0, 2)) * SCALE[:6, None],
    ),
    "batch_norm": (
        lambda x: F.batch_norm(x, SHIFT[:6], SCALE[:6].abs(), SCALE[:6]),
        lambda x: (x - SHIFT[:6, None]) / (SCALE[:6].abs()[:, None] + 1e-5).sqrt() * SCALE[:6, None],
    ),
    "rms_norm": (
        lambda x: F.rms_norm(x, (8,), SCALE, 1e-6),
        lambda x: x / held((x**2).mean(-1, keepdim=True) + 1e-6).sqrt() * SCALE,
    ),
    "rms_norm by hand": (
        lambda x: x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6),
        lambda x: x / held((x**2).mean(-1, keepdim=True) + 1e-6).sqrt(),
    ),
    "power -1/2": (
        lambda x: x * (x.square().mean(-1, keepdim=True)) ** -0.5,
        lambda x: x / held((x**2).mean(-1, True)).sqrt(),
    ),
    "x / norm": (lambda x: x / x.norm(dim=-1, keepdim=True), lambda x: x / held((x**2).sum(-1, True)).sqrt()),
    "normalize": (lambda x: F.normalize(x, dim=-1), lambda x: x / held((x**2).sum(-1, True)).sqrt()),
    "x / deviation": (
        lambda x: (x - x.mean(-1, True)) / (x.var(-1, keepdim=True) + 1e-6).sqrt(),
        lambda x: (x - x.mean(-1, True)) / held((x.var(-1, keepdim=True) + 1e-6).sqrt()),
    ),
    "local_response_norm": (
        lambda x: F.local_response_norm(x, 3),
        lambda x: x * held(F.local_response_norm(x, 3) / torch.where(x == 0, 1, x)) + 0 * x,
    ),
    "gelu": (F.gelu, gated(F.gelu, 0.5)),
    "gelu by tanh": (lambda x: F.gelu(x, approximate="tanh"), gated(tanh_gelu, 0.5)),
    "gelu by hand": (lambda x: x * 0.5 * (1 + torch.erf(x / 2**0.5)), gated(F.gelu, 0.5)),
    "gelu by tanh by hand": (tanh_gelu, gated(tanh_gelu, 0.5)),
    "silu": (F.silu, gated(F.silu, 0.5)),
    "silu in place": (lambda x: F.silu(x * 1, inplace=True), gated(F.silu, 0.5)),
    "silu by hand": (lambda x: x * x.sigmoid(), gated(F.silu, 0.5)),
    "quick gelu": (lambda x: x * torch.sigmoid(1.702 * x), gated(lambda x: x * torch.sigmoid(1.702 * x), 0.5)),
    "mish": (F.mish, gated(F.mish, 0.6)),
    "mish by hand": (lambda x: x * torch.tanh(F.softplus(x)), gated(F.mish, 0.6)),
    "hardswish": (F.hardswish, gated(F.hardswish, 0.5)),
    "hardswish by hand": (lambda x: x * F.relu6(x + 3.0) / 6.0, gated(F.hardswish, 0.5)),
    "hardswish in place": (lambda x: x * (x * 1).add_(3).clamp_(0, 6).div_(6), gated(F.hardswish, 0.5)),
    "tanh": (torch.tanh, gated(torch.tanh, 1)),
    "elu": (lambda x: F.elu(x, 0.7), gated(lambda x: F.elu(x, 0.7), 1)),
    "elu in place": (lambda x: F.elu(x * 1, 0.7, inplace=True), gated(lambda x: F.elu(x, 0.7), 1)),
    "selu": (F.selu, gated(F.selu, 1.0507009873554805)),
    "celu": (lambda x: F.celu(x, 2.0), gated(lambda x: F.celu(x, 2.0), 1)),
    "softsign": (F.softsign, gated(F.softsign, 1)),
    "relu": (F.relu, F.relu),
    "leaky_relu": (F.leaky_relu, F.leaky_relu),
    "max_pool": (lambda x: F.max_pool2d(x, 2), lambda x: F.max_pool2d(x, 2)),
    "square": (lambda x: x**2, lambda x: x * held(x)),
    "cube": (lambda x: x**3, lambda x: x * held(x**2)),
    "square root": (lambda x: (x.abs() + 0.1 * x.abs()).sqrt(), lambda x: 1.1 * x.abs() / held((1.1 * x.abs()).sqrt())),
    "power of a tensor": (lambda x: x.relu() ** SCALE.abs(), lambda x: x * held(x.relu() ** SCALE.abs() / x)),
    "gate": (lambda x: x * F.linear(x, W).sigmoid(), lambda x: x * held(F.linear(x, W).sigmoid())),
    "hard gate": (lambda x: x * F.hardsigmoid(x.mean(1, True)), lambda x: x * held(F.hardsigmoid(x.mean(1, True)))),
    "one plus a scale": (lambda x: x * (1 + F.linear(x, W, SHIFT)), lambda x: x * held(1 + F.linear(x, W, SHIFT))),
    "two such gates": (lambda x: (x + 1) * (2 * x - 1), lambda x: product(x + 1, 2 * x - 1)),
    "layers with biases, on transposed tokens": (
        lambda x: F.linear(x.mT, W[:6, :6], SHIFT[:6]) * x.mT,
        lambda x: product(x.mT @ W[:6, :6].mT + SHIFT[:6], x.mT),
    ),
    "glu": (F.glu, lambda x: x[..., :4] * held(x[..., 4:].sigmoid())),
    "swiglu": (lambda x: F.silu(x @ W) * x, lambda x: product(gated(F.silu, 0.5)(x @ W), x)),
    "geglu": (lambda x: F.gelu(x @ W) * x, lambda x: product(gated(F.gelu, 0.5)(x @ W), x)),
    "product of three": (lambda x: x * (x @ W) * x.relu(), lambda x: product(product(x, x @ W), x.relu())),
    "matrix product": (lambda x: x @ (x @ W).mT, lambda x: matrix_product(x, (x @ W).mT)),
    "einsum": (lambda x: torch.einsum("nij,nkj->nik", x, x @ W), lambda x: matrix_product(x, (x @ W).mT)),
    "attention": (
        lambda x: F.scaled_dot_product_attention(heads(x), heads(x @ W), heads(2 * x)),
        lambda x: attention(heads(x), heads(x @ W), heads(2 * x)),
    ),
    "attention with a mask": (
        lambda x: F.scaled_dot_product_attention(heads(x), heads(x @ W), heads(x), MASK),
        lambda x: attention(heads(x), heads(x @ W), heads(x), INFINITE),
    ),
    "attention by hand": (
        lambda x: (heads(x) @ heads(x @ W).mT / 2).softmax(-1) @ heads(x),
        lambda x: attention(heads(x), heads(x @ W), heads(x)),
    ),
    "linear attention": (
        lambda x: (F.elu(x) + 1) @ ((F.elu(x @ W) + 1).mT @ x),
        lambda x: held(F.elu(x) + 1) @ (held(F.elu(x @ W) + 1).mT @ x),
    ),
    "MultiheadAttention": (lambda x: MULTI(x, x, x)[0], multi_head),
    "MultiheadAttention, fused": (lambda x: MULTI(x, x, x, need_weights=False)[0], multi_head),
}


@pytest.mark.parametrize("name", RULES)
def test_each_rule_is_its_equation(name: str) -> None:
    function, literal = RULES[name]
    x = torch.randn(2, 6, 8, dtype=torch.float64)
    if name not in ("x / norm", "local_response_norm", "square root", "power of a tensor"):
        x[0, 0, :2] = 0
    x = x.requires_grad_()
    actual, expected = function(x), literal(x)
    before = actual.detach().clone()
    by = torch.randn_like(actual)
    assert balance(actual) == []
    assert torch.equal(actual, before)
    torch.testing.assert_close(actual, expected, rtol=1e-9, atol=1e-9)
    (g,), (wanted,) = torch.autograd.grad(actual, x, by), torch.autograd.grad(expected, x, by)
    torch.testing.assert_close(g, wanted, rtol=1e-7, atol=1e-9)


def vision_transformer() -> nn.Module:
    import torchvision

    return torchvision.models.VisionTransformer(32, 16, 2, 2, 32, 64, num_classes=5)


def mixer() -> nn.Module:
    from timm.models.mlp_mixer import MlpMixer

    return MlpMixer(num_classes=5, img_size=32, patch_size=16, num_blocks=2, embed_dim=32)


SMALL = {"depth": 2, "embed_dim": 32, "num_heads": 2}
HF = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "image_size": 32}
COMPLETE: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "vit": (from_timm("vit_tiny_patch16_224", img_size=32, **SMALL), 32),
    "deit": (from_timm("deit_tiny_distilled_patch16_224", img_size=32, **SMALL), 32),
    "dinov2": (from_timm("vit_giant_patch14_reg4_dinov2", img_size=28, **SMALL), 28),
    "eva": (from_timm("eva02_tiny_patch14_224", img_size=28, **SMALL), 28),
    "dinov3": (from_timm("vit_small_patch16_dinov3", img_size=32, **SMALL), 32),
    "beit": (from_timm("beit_base_patch16_224", img_size=32, **SMALL), 32),
    "siglip": (from_timm("vit_base_patch16_siglip_224", img_size=32, **SMALL), 32),
    "clip": (from_timm("vit_base_patch16_clip_quickgelu_224", img_size=32, **SMALL), 32),
    "swin": (from_timm("swin_tiny_patch4_window7_224", img_size=56, depths=(1, 1), embed_dim=16, num_heads=(2, 2)), 56),
    "mixer": (mixer, 32),
    "convnext": (from_timm("convnext_atto", depths=(1, 1, 1, 1), dims=(8, 8, 16, 16)), 64),
    "convnextv2": (from_timm("convnextv2_atto", depths=(1, 1, 1, 1), dims=(8, 8, 16, 16)), 64),
    "efficientnet": (from_timm("efficientnet_b0"), 32),
    "mobilenetv3": (from_timm("mobilenetv3_small_100"), 32),
    "hugging face vit": (from_hugging_face("ViT", patch_size=16, **HF), 32),
    "hugging face dinov2": (from_hugging_face("Dinov2WithRegisters", patch_size=16, use_swiglu_ffn=True, **HF), 32),
    "hugging face beit": (from_hugging_face("Beit", patch_size=16, use_relative_position_bias=True, **HF), 32),
    "torchvision vit": (vision_transformer, 32),
    "torchvision mobilenet": (from_torchvision("mobilenet_v3_small"), 32),
}


@pytest.mark.parametrize("name", COMPLETE)
def test_inputs_and_biases_account_for_the_logit(name: str) -> None:
    build, size = COMPLETE[name]
    module = randomized(build())
    image = torch.rand(1, 3, size, size, dtype=torch.float64)
    assert gap(module, image, libra=False) > 1e-4
    assert gap(module, image, libra=True) < 1e-11


def test_a_network_of_relus_has_nothing_to_repair() -> None:
    module = from_timm("resnet18")().eval()
    x = torch.rand(1, 3, 32, 32, requires_grad=True)
    (usual,) = torch.autograd.grad(module(x)[0, 1], x)
    logits = module(x)
    assert balance(logits) == []
    assert torch.equal(torch.autograd.grad(logits[0, 1], x)[0], usual)


# -- the block of a classifier ------------------------------------------------------------------------------------------


def gradient(classifier: Classifier, images: Tensor) -> Tensor:
    x = images.clone().requires_grad_()
    return torch.autograd.grad(classifier.logits(x)[:, 1].sum(), x)[0]


@pytest.fixture
def vit() -> Classifier:
    return TINY["vit"]()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(3, 3, 16, 16)


def test_the_block_changes_gradients_and_nothing_else(vit: Classifier, images: Tensor) -> None:
    usual, logits = gradient(vit, images), vit.logits(images)
    with vit.balanced():
        assert torch.equal(vit.logits(images.clone().requires_grad_()), logits)
        libra = gradient(vit, images)
        with vit.balanced(False):  # adds nothing, and takes nothing away
            assert torch.equal(gradient(vit, images), libra)
    assert not torch.allclose(libra, usual, rtol=0.01)
    with vit.balanced(False):
        assert torch.equal(gradient(vit, images), usual)
    assert torch.equal(gradient(vit, images), usual)


def test_the_block_ends_with_an_exception(vit: Classifier, images: Tensor) -> None:
    usual = gradient(vit, images)
    with pytest.raises(KeyError), vit.balanced():
        raise KeyError
    assert torch.equal(gradient(vit, images), usual)


def test_trained_weights_are_no_inputs(vit: Classifier, images: Tensor) -> None:
    """A product of features and weights is no product of two variables, also where the weights have gradients."""
    with vit.balanced():
        assert all(p.requires_grad for p in vit.module.parameters())
        unfrozen = gradient(vit, images)
        with frozen(vit.module):
            assert torch.equal(gradient(vit, images), unfrozen)


def test_what_comes_before_the_network_stays(vit: Classifier, images: Tensor) -> None:
    """A mask that a method makes with a sigmoid is no gate of the network."""
    z = torch.zeros(3, 1, 16, 16, requires_grad=True)
    with vit.balanced():
        (actual,) = torch.autograd.grad(vit.logits(z.sigmoid() * images)[:, 1].sum(), z)
        by_pixels = gradient(vit, images / 2)
    torch.testing.assert_close(actual, (by_pixels * images).sum(1, True) / 4, rtol=1e-4, atol=1e-7)


def test_gradients_batched_and_one_by_one(vit: Classifier, images: Tensor) -> None:
    x = images.clone().requires_grad_()
    with vit.balanced():
        logits = vit.logits(x)
    each = torch.eye(5)[:, None].expand(5, 3, 5)
    (batched,) = torch.autograd.grad(logits, x, each, retain_graph=True, is_grads_batched=True)
    for one, g in zip(each, batched, strict=True):
        torch.testing.assert_close(g, torch.autograd.grad(logits, x, one, retain_graph=True)[0])


def test_images_of_a_batch_keep_to_themselves(vit: Classifier, images: Tensor) -> None:
    with vit.balanced():
        together = gradient(vit, images)
        alone = torch.cat([gradient(vit, image) for image in images.split(1)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-6)


def test_in_half_precision(vit: Classifier, images: Tensor) -> None:
    with vit.balanced():
        exact = gradient(vit, images)
        with vit.running("bf16", gradients=True):
            rough = gradient(vit, images)
    assert rough.dtype == torch.float32
    assert F.cosine_similarity(rough.flatten(), exact.flatten(), 0) > 0.99


def test_the_gradient_by_attention_weights_remains(images: Tensor) -> None:
    """Weights are constant for what made them, and have a gradient of their own."""
    x = torch.randn(1, 6, 8, requires_grad=True)
    weights = (x @ x.mT).softmax(-1)
    out = (weights @ x).sum()
    balance(out)
    (g,) = torch.autograd.grad(out, weights)
    torch.testing.assert_close(g, x.detach().sum(-1)[:, None].expand_as(g))


def test_gradients_by_the_attention_of_a_classifier(vit: Classifier, images: Tensor) -> None:
    """Attention methods read a balanced network in the same block."""
    with vit.running(gradients=True), vit.balanced():
        logits, attentions = vit.transformer.read(images.requires_grad_())
        last = torch.autograd.grad(logits[:, 1].sum(), attentions[-1].weights, retain_graph=True)[0]
        first = torch.autograd.grad(logits[:, 1].sum(), attentions[0].weights)[0]
    assert last.abs().max() > 0
    assert first.abs().max() > 0


def test_the_graph_is_freed_at_once() -> None:
    """A hook that knew its node would keep the whole graph until the garbage is collected."""

    class Kept:
        def __init__(self, x: Tensor) -> None:
            self.x = x.detach()

    packed: list[weakref.ref[Kept]] = []

    def pack(x: Tensor) -> Kept:
        kept = Kept(x)
        packed.append(weakref.ref(kept))
        return kept

    module = TinyViT()
    gc.disable()
    try:
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.x):
            logits = module(torch.rand(1, 3, 16, 16, requires_grad=True))
        balance(logits)
        assert any(kept() for kept in packed)
        del logits
        assert not any(kept() for kept in packed)
    finally:
        gc.enable()


# -- where it cannot be ---------------------------------------------------------------------------------------------------


def classifier_of(*layers: nn.Module) -> Classifier:
    return Classifier(nn.Sequential(nn.Flatten(), nn.Linear(48, 8), *layers), input_size=(4, 4))


class By(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def test_a_network_of_sigmoids_has_no_gradient_left() -> None:
    classifier = classifier_of(nn.Sigmoid(), nn.Linear(8, 5))
    with pytest.raises(UnsuitedError, match="every way from the pixels to the logits"):
        seewhy.explainer("saliency", classifier, libra=True).explain(torch.rand(1, 3, 4, 4), torch.tensor([0]))


@pytest.mark.parametrize("end", [nn.Softmax(1), nn.LogSoftmax(1)])
def test_the_softmax_at_the_end_is_not_touched(end: nn.Module) -> None:
    torch.manual_seed(3)
    layers = nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 5)
    images, target = torch.rand(1, 3, 4, 4), torch.tensor([2])
    first = nn.Linear(48, 8)
    plain = Classifier(nn.Sequential(nn.Flatten(), first, *layers), input_size=(4, 4))
    ends = Classifier(nn.Sequential(nn.Flatten(), first, *layers, end), input_size=(4, 4), outputs="probabilities")
    maps = [seewhy.explainer("saliency", c, libra=True).explain(images, target) for c in (plain, ends)]
    torch.testing.assert_close(*maps)


def test_a_softmax_by_hand_at_the_end_is_refused() -> None:
    classifier = classifier_of(By(lambda x: x.exp() / x.exp().sum(1, keepdim=True)))
    with pytest.warns(UserWarning, match="probabilities"), pytest.raises(UnsuitedError, match="let it return the logits"):
        seewhy.explainer("saliency", classifier, libra=True).explain(torch.rand(1, 3, 4, 4), torch.tensor([0]))


class Cube(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx: Any, *g: Tensor) -> Tensor:
        return 3 * ctx.saved_tensors[0] ** 2 * g[0]


UNKNOWN: dict[str, Callable[[Tensor], Tensor]] = {
    "Log": lambda x: x.abs().log(),
    "CubeBackward": Cube.apply,
    "Hardtanh": F.relu6,
    "Clamp": lambda x: x.clamp(-1, 1),
    "Add": lambda x: x + x.sigmoid(),
}


@pytest.mark.parametrize("name", UNKNOWN)
def test_an_operation_without_a_rule_is_said_once(name: str) -> None:
    classifier = classifier_of(By(UNKNOWN[name]), nn.Linear(8, 5))
    images = torch.rand(2, 3, 4, 4)
    with pytest.warns(SeewhyWarning, match=f"uses {name}, for which LibraGrad has no rule"), classifier.balanced():
        gradient(classifier, images)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with classifier.balanced():
            gradient(classifier, images)


# -- the option of the methods -------------------------------------------------------------------------------------------

FEW: dict[str, dict[str, Any]] = {
    "smooth_grad": {"samples": 3},
    "gradient_shap": {"samples": 3},
    "integrated_gradients": {"steps": 3},
}
METHODS = [name for name in seewhy.EXPLAINERS if hasattr(seewhy.EXPLAINERS[name], "libra")]


def test_every_gradient_method_has_the_option() -> None:
    of_gradients = {name for name, kind in seewhy.EXPLAINERS.items() if kind.family == "gradient"}
    cams = {"grad_cam", "grad_cam_pp", "hires_cam", "layer_cam", "x_grad_cam"}
    assert of_gradients | cams <= set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_the_option_is_the_block(name: str, vit: Classifier, images: Tensor) -> None:
    targets = torch.tensor([0, 3, 1])
    usual = seewhy.explainer(name, vit, **FEW.get(name, {}))
    libra: Any = seewhy.explainer(name, vit, libra=True, **FEW.get(name, {}))
    maps = libra.explain(images, targets)
    with vit.balanced():
        torch.testing.assert_close(usual.explain(images, targets), maps)
    assert not torch.allclose(usual.explain(images, targets), maps, rtol=0.01)
    for image, target, expected in zip(images.split(1), targets.split(1), maps, strict=True):
        torch.testing.assert_close(libra.explain(image, target)[0], expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(libra.explain_classes(images, targets)[[0, 1, 2], [0, 1, 2]], maps, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_the_option_does_nothing_for_a_cnn(name: str, images: Tensor) -> None:
    cnn, targets = TINY["cnn_inplace"](), torch.tensor([0, 3, 1])
    few = FEW.get(name, {})
    maps = [seewhy.explainer(name, cnn, libra=libra, **few).explain(images, targets) for libra in (False, True)]
    assert torch.equal(*maps)


@pytest.mark.parametrize("name", ["positive_saliency", "active_saliency"])
def test_a_method_that_is_read_brings_its_option(name: str, vit: Classifier, images: Tensor) -> None:
    targets = torch.tensor([0, 3, 1])
    read = seewhy.explainer("input_x_gradient", vit, libra=True)
    maps = seewhy.explainer(name, vit, of=read).explain(images, targets)
    torch.testing.assert_close(maps, seewhy.explainer(name, vit, of="input_x_gradient", libra=True).explain(images, targets))


def test_the_command_line_has_the_option(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    to_picture(torch.rand(3, 16, 16)).save("dog.png")
    result = run(capfd, "explain", "dog.png", "--model", "factories:small", "--explainer", "input_x_gradient:libra=true")
    assert (result.status, result.err) == (0, "")
    assert "input_x_gradient:libra=true" in result.out


def test_input_times_gradient_is_complete_up_to_the_biases() -> None:
    """The map sums to the logit where a network has no biases."""
    module = nn.Sequential(
        nn.Flatten(), nn.Linear(48, 8, bias=False), nn.LayerNorm(8, bias=False), nn.GELU(), nn.Linear(8, 5, bias=False)
    ).double()
    classifier = Classifier(module, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), input_size=(4, 4))
    images, targets = torch.rand(2, 3, 4, 4, dtype=torch.float64), torch.tensor([0, 3])
    maps = seewhy.explainer("input_x_gradient", classifier, libra=True).explain(images, targets)
    torch.testing.assert_close(maps.sum((1, 2)), classifier.scores(images, targets).detach())
