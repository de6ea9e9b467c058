"""Explanations of unusual networks: other outputs, other inputs of modules, half precision, notes in buffers."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from support.networks import from_hugging_face, from_timm, same
from support.tiny_models import CHEAP, TINY, tiny
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.errors import UnsuitedError
from seewhy.explainers import explainer
from seewhy.explainers.cam.ablation_cam import AblationCAM
from seewhy.explainers.cam.score_cam import ScoreCAM
from seewhy.explainers.gradients import feature_gradients
from seewhy.explainers.optimized.opti_cam import OptiCAM
from seewhy.maps import upsample

IMAGES, TWO = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 3])


SMALL_SWIN = {"embed_dim": 12, "depths": [1, 2], "num_heads": [2, 2], "window_size": 2, "image_size": 32, "patch_size": 4}


BACKBONES: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "hf_resnet": (
        from_hugging_face("ResNet", embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"),
        32,
    ),
    "hf_regnet": (from_hugging_face("RegNet", embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], groups_width=8), 32),
    "hf_swin": (from_hugging_face("Swin", **SMALL_SWIN), 32),
    "hf_convnext": (from_hugging_face("ConvNext", depths=[1, 1, 2, 1], hidden_sizes=[8, 8, 16, 24]), 64),
    "coat": (from_timm("coat_tiny", img_size=64), 64),
    "xcit": (from_timm("xcit_nano_12_p16_224"), 64),
}


def lively(module: nn.Module) -> nn.Module:
    """With weights that matter: many networks begin with scales of 0 and small heads."""
    torch.manual_seed(1)
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn_like(p) * 0.1 + (p.ndim == 1) if p.ndim < 2 else torch.randn_like(p) * p[0].numel() ** -0.5)
    return module.eval()


@pytest.mark.parametrize("name", BACKBONES)
def test_the_layer_that_is_found_is_one_that_the_network_goes_on_with(name: str) -> None:
    """Hugging Face's backbones return their features beside what they pooled of them, and the head reads only that."""
    build, size = BACKBONES[name]
    classifier = Classifier(lively(build()).double(), input_size=(size, size))
    images = torch.rand(2, 3, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    recorded, logits = classifier.record(images, classifier.layer)
    rows = recorded.features.repeat_interleave(3, 0)
    same(classifier.run_from(recorded, rows, images), logits.detach().repeat_interleave(3, 0))
    rows[::3] = 0
    changed = (classifier.run_from(recorded, rows, images) - logits.repeat_interleave(3, 0)).detach().abs().amax(1)
    assert changed[::3].min() > 1e-6
    assert changed[1::3].max() < 1e-9
    _, gradients = feature_gradients(classifier, images, TWO, classifier.layer)
    weights, _ = AblationCAM(classifier).weights(images, TWO[:, None])
    assert min(float(x.flatten(1).abs().amax(1).min()) for x in (gradients, weights)) > 1e-9


class Fusing(nn.Module):
    """A module before the layer is given its tensors in a list, by name, or in a mapping."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.a, self.b, self.fuse = how, nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3), Fuse()
        self.layer, self.head = nn.Conv2d(8, 8, 1), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        a, b = self.a(x), self.b(x)
        given = {"a": a, "b": b} if self.how == "mapping" else [a, b]
        fused = self.fuse(given) if self.how != "name" else self.fuse(xs=given)
        return cast(Tensor, self.head((self.layer(fused) * fused.sigmoid()).mean((2, 3))))


class Fuse(nn.Module):
    def forward(self, xs: Any) -> Tensor:
        return sum(xs.values() if isinstance(xs, dict) else xs, torch.zeros(()))


@pytest.mark.parametrize("how", ["list", "name", "mapping"])
def test_what_a_module_was_given_in_a_container_belongs_to_images_too(how: str) -> None:
    classifier = replace(tiny(Fusing(how)), feature_layer="layer")
    recorded, logits = classifier.record(IMAGES, "layer")
    found = classifier.run_from(recorded, recorded.features.repeat_interleave(3, 0), IMAGES)
    torch.testing.assert_close(found, logits.repeat_interleave(3, 0))
    method = AblationCAM(classifier)
    torch.testing.assert_close(method.explain(IMAGES, TWO)[:1], method.explain(IMAGES[:1], TWO[:1]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_closed_form_of_ablation_cam_is_not_taken_for_a_network_in_half_precision_whose_head_reads_a_token(
    dtype: torch.dtype,
) -> None:
    """Two layers of that width were enough, as rounding was compared with the logits."""
    whole = TINY["vit"]()
    half = replace(whole, module=deepcopy(whole.module).to(dtype))
    expected, _ = AblationCAM(whole).weights(IMAGES, TWO[:, None])
    found, _ = AblationCAM(half).weights(IMAGES.to(dtype), TWO[:, None])
    pair = torch.stack([found.flatten().float(), expected.flatten()])
    assert float(torch.corrcoef(pair)[0, 1]) > 0.99


@pytest.mark.parametrize("name", ["opti_cam", "opti_cam_fast", "eigen_cam", "extremal_perturbation", "igos_pp", "rise"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_network_in_half_precision_is_explained_as_in_single(name: str, dtype: torch.dtype) -> None:
    """Adam's numbers vanish in float16, thousands of masks do not add up, and no decomposition is made for it."""
    options: dict[str, dict[str, object]] = {
        **CHEAP,
        "extremal_perturbation": {"steps": 12},
        "rise": {"samples": 1000},
        "opti_cam": {"steps": 10},
        "eigen_cam": {},
    }
    whole = TINY["cnn"]()
    half = replace(whole, module=deepcopy(whole.module).to(dtype))
    found = explainer(name, half, **options[name]).explain(IMAGES.to(dtype), TWO)
    expected = explainer(name, whole, **options[name]).explain(IMAGES, TWO)
    assert found.dtype == dtype
    for a, b in zip(found.float(), expected, strict=True):
        assert float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1]) > 0.9


def test_cam_is_refused_where_something_mixes_the_channels_before_the_head() -> None:
    """A hidden layer may be as wide as the features."""
    features = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    hidden = nn.Sequential(*features, nn.Flatten(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 5))
    with pytest.raises(UnsuitedError, match=r"^cam needs features that a linear layer reads after pooling"):
        explainer("cam", replace(tiny(hidden), classes=()))
    mixing = nn.Conv2d(8, 8, 1), nn.Hardswish(), nn.Conv2d(8, 5, 1), nn.Flatten()
    with pytest.raises(UnsuitedError, match=r"^cam needs features"):
        explainer("cam", replace(tiny(nn.Sequential(*features, *mixing)), classes=()))


@pytest.mark.parametrize("bias", [True, False])
def test_a_convolution_of_pooled_features_is_a_linear_layer(bias: bool) -> None:
    """Its maps have one cell. timm's dla46_c ends so, and some of its MobileNets."""
    body = nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
    convolution = replace(tiny(nn.Sequential(*body, nn.Conv2d(8, 5, 1, bias=bias), nn.Flatten())), classes=())
    linear = replace(convolution, module=nn.Sequential(*body, nn.Flatten(), nn.Linear(8, 5, bias=bias)).eval())
    linear.module[4].weight.data = convolution.module[3].weight.flatten(1)  # type: ignore[index, union-attr]
    if bias:
        linear.module[4].bias.data = convolution.module[3].bias  # type: ignore[index, union-attr]
    assert convolution.class_map_layer is None
    assert convolution.heads == ("3",)
    torch.testing.assert_close(convolution.embed(IMAGES), linear.embed(IMAGES))
    for name in ("cam", "ablation_cam", "grad_cam"):
        found, expected = (explainer(name, c).explain(IMAGES, TWO) for c in (convolution, linear))
        torch.testing.assert_close(found, expected)
    weights = convolution.module[3].weight[TWO].flatten(1)  # type: ignore[index, union-attr]
    features = convolution.module[:2](convolution.normalize(IMAGES))  # type: ignore[index]
    torch.testing.assert_close(
        explainer("cam", convolution).explain(IMAGES, TWO), torch.einsum("nd,ndhw->nhw", weights, features)
    )


def test_the_compact_aggregation_network_of_timm_has_a_cam() -> None:
    torch.manual_seed(0)
    classifier = Classifier(from_timm("dla46_c")().eval(), input_size=(64, 64))
    images = torch.rand(2, 3, 64, 64)
    with classifier.capture(classifier.layer) as outputs, torch.no_grad():
        logits = classifier.logits(images)
    weights, bias = classifier.module.fc.weight.flatten(1), classifier.module.fc.bias  # type: ignore[union-attr]
    coarse = torch.einsum("kd,ndhw->nkhw", weights, outputs[classifier.layer])
    torch.testing.assert_close(coarse.mean((2, 3)) + bias, logits, rtol=1e-4, atol=1e-5)
    maps = explainer("cam", classifier).explain(images, TWO)
    torch.testing.assert_close(maps, upsample(coarse[torch.arange(2), TWO], (64, 64)), rtol=1e-4, atol=1e-5)


def test_score_cam_runs_no_empty_batch_where_no_channel_varies() -> None:
    class Reshaping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features, self.head = nn.Conv2d(3, 8, 1), nn.Linear(8, 5)

        def forward(self, x: Tensor) -> Tensor:
            found = self.features(x).relu()
            return cast(Tensor, self.head(found.reshape(len(x), 8, -1).mean(2)))

    found = ScoreCAM(replace(tiny(Reshaping()), feature_layer="features")).explain(torch.zeros(1, 3, 16, 16), TWO[:1])
    assert found.isfinite().all()


def test_an_optimized_map_is_found_within_inference_mode() -> None:
    classifier = TINY["cnn"]()
    expected = OptiCAM(classifier, steps=3).explain(IMAGES, TWO)
    with torch.inference_mode():
        torch.testing.assert_close(OptiCAM(classifier, steps=3).explain(IMAGES, TWO), expected)


class Notes(nn.Module):
    """Keeps a running mean of its features, and will not hear of NaN."""

    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.last = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Linear(8, 5)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        z = self.last(self.stem(x).relu())
        self.seen.mul_(0.9).add_(0.1 * z.detach().mean())
        if x.isnan().any():
            raise Exception("a pixel is no number")
        return self.head((z + x.mean()).relu().mean((2, 3)) ** 2)


def test_ablation_cam_tries_what_is_read_without_a_trace() -> None:
    """It puts NaN where it hopes that nobody looks; here the pixels are looked at, and by a plain Exception."""
    module = lively(Notes())
    maps = explainer("ablation_cam", Classifier(module, input_size=(16, 16))).explain(IMAGES, TWO)
    assert torch.isfinite(maps).all()
    assert torch.isfinite(module.seen)
