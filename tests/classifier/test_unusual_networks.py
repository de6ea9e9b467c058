"""Networks that are built otherwise than most: what they return, where their logits come from, in which numbers they run."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from support.tiny_models import CHEAP, TINY, cnn, tiny
from test_model import from_hugging_face, from_timm, same
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError, UnsuitedError
from seewhy.explainers import explainer
from seewhy.explainers.cam.ablation_cam import AblationCAM
from seewhy.explainers.cam.score_cam import ScoreCAM
from seewhy.explainers.gradients import feature_gradients
from seewhy.explainers.optimized.opti_cam import OptiCAM

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


class Ending(nn.Module):
    """The classifier's network with something done to its logits, so that no layer returns them."""

    def __init__(self, network: nn.Module, end: str) -> None:
        super().__init__()
        self.network, self.end = network, end

    def forward(self, x: Tensor) -> Tensor:
        logits = self.network(x)
        return {"scaled": 1.5 * logits, "log_softmax": logits.log_softmax(1), "part": logits[:, :-1]}[self.end]


@pytest.mark.parametrize("end", ["scaled", "log_softmax", "part"])
def test_in_bfloat16_the_last_layer_stays_exact_whatever_follows_it(end: str) -> None:
    """Logits of three digits stand still, and Opti-CAM took a standing image for a finished one."""
    plain = TINY["cnn"]()
    classifier = replace(plain, module=Ending(plain.module, end), classes=(), feature_layer=f"network.{plain.layer}")
    rows = []
    handle = classifier.module.register_forward_hook(lambda _m, args, _o: rows.append(len(args[0])))
    for precision in ("fp32", "bf16"):
        OptiCAM(classifier, steps=25, precision=cast(Any, precision)).explain(IMAGES, TWO)
        rows.append(0)
    handle.remove()
    cut = rows.index(0)
    assert sum(rows[cut:]) > 0.8 * sum(rows[:cut])


def test_a_weight_that_the_head_shares_stays_as_the_head_needs_it() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.features, self.mixed, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 8), nn.Linear(8, 8)
            self.head.weight = self.mixed.weight

        def forward(self, x: Tensor) -> Tensor:
            return cast(Tensor, self.head(self.mixed(self.features(x).relu().mean((2, 3))).relu()))

    classifier = replace(tiny(Tied()), classes=(), feature_layer="features")
    with torch.no_grad(), classifier.running("bf16"):
        assert classifier.logits(IMAGES).dtype == torch.float32


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


@pytest.mark.filterwarnings("ignore:.torch.jit")
def test_a_scripted_network_is_refused_in_one_line() -> None:
    with pytest.raises(SeewhyError, match=r"^a TorchScript module hides its layers"):
        Classifier(torch.jit.trace(TINY["cnn"]().module, IMAGES), input_size=(16, 16))


def test_cam_is_refused_where_something_mixes_the_channels_before_the_head() -> None:
    """A hidden layer may be as wide as the features; and a convolution after the pooling makes maps of one cell."""
    features = [nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)]
    hidden = nn.Sequential(*features, nn.Flatten(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 5))
    with pytest.raises(UnsuitedError, match=r"^cam needs features that a linear layer reads after pooling"):
        explainer("cam", replace(tiny(hidden), classes=()))
    pooled = replace(tiny(nn.Sequential(*features, nn.Conv2d(8, 5, 1), nn.Flatten())), classes=())
    assert pooled.class_map_layer is None
    with pytest.raises(UnsuitedError, match=r"^cam needs features"):
        explainer("cam", pooled)


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


def test_channels_that_fit_the_image_better_by_chance_are_not_taken_for_a_side() -> None:
    classifier = Classifier(cnn(), input_size=(317, 396))
    features = torch.zeros(1, 64, 80, 99)  # 64 : 80 is nearer to 317 : 396 than 80 : 99 is
    assert classifier.as_grid(features).shape == (1, 64, 80, 99)
    assert classifier.as_grid(features.permute(0, 2, 3, 1)).shape == (1, 64, 80, 99)


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


@pytest.mark.parametrize(("targets", "line"), [(TWO.byte(), "torch.uint8"), (TWO.bool(), "torch.bool")])
def test_targets_that_would_be_read_as_a_mask_are_refused(targets: Tensor, line: str) -> None:
    with pytest.raises(SeewhyError, match=rf"^targets must be class indices, of type int64, got {line}$"):
        TINY["cnn"]().check(IMAGES, targets)


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
