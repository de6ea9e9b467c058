"""Mistakes that other explanation libraries make, one test each, under the numbers of the project's list of traps."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from support.tiny_models import CHEAP, LEARNED, TINY, TinyViT, cnn, tiny
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.explainers import EXPLAINERS, explainer
from seewhy.masking.baselines import baseline_images
from seewhy.testing.explainers import expect_same, snapshot

OURS = [n for n in EXPLAINERS if EXPLAINERS[n].family in ("gradient", "cam", "reference")]
LAYERED = [n for n in OURS if EXPLAINERS[n].family == "cam"]
SPECIFIC = [n for n in OURS if EXPLAINERS[n].class_specific]


def maps_of(name: str, classifier: Classifier, images: Tensor, targets: Tensor, **options: object) -> Tensor:
    return explainer(name, classifier, **{**CHEAP.get(name, {}), **options}).explain(images, targets)


@pytest.fixture
def untyped() -> Iterator[None]:
    """As users run it: without the type checks of the tests."""
    from jaxtyping import config

    config.update("jaxtyping_disable", True)
    yield
    config.update("jaxtyping_disable", False)


@pytest.mark.parametrize(
    ("name", "layer"), [(n, str(i)) for n in LAYERED for i in (0, 1, 2, 4, 5, 6) if n != "cam" or i > 3]
)
def test_trap_01_an_in_place_relu_after_the_layer_changes_nothing(
    name: str, layer: str, batch: tuple[Tensor, Tensor]
) -> None:
    """Also just before it: what was captured is not overwritten. (cam needs as many channels as the head reads.)"""
    safe = TINY["cnn"]()
    inplace = replace(safe, module=cnn(inplace=True).eval())
    inplace.module.load_state_dict(safe.module.state_dict())
    assert torch.equal(maps_of(name, inplace, *batch, layer=layer), maps_of(name, safe, *batch, layer=layer))


@pytest.mark.usefixtures("untyped")
@pytest.mark.parametrize("n", [1, 2, 4])
@pytest.mark.parametrize("name", SPECIFIC)
def test_trap_02_fewer_or_more_targets_than_images_are_refused(name: str, n: int, batch: tuple[Tensor, Tensor]) -> None:
    """Never maps of zeros for the images that were left over."""
    with pytest.raises(SeewhyError, match=rf"^3 images and {n} targets: give one target for each image$"):
        maps_of(name, TINY["cnn"](), batch[0], torch.zeros(n, dtype=torch.long))


@pytest.mark.parametrize("error", [IndexError, KeyError, RuntimeError, StopIteration])
def test_trap_03_exceptions_come_out_of_every_context_manager(error: type[Exception]) -> None:
    """``capture``, ``record`` and ``run_from``, and every method over them; a class that does not exist is an error too."""
    classifier, images = TINY["cnn"](), torch.rand(1, 3, 16, 16)
    raised = []
    try:
        with classifier.capture("6"):
            raise error("in the block")
    except error as e:
        raised.append(e)
    assert len(raised) == 1
    recorded, _ = classifier.record(images, "6")

    def fail(*_: object) -> None:
        raise error("in the network")

    handle = classifier.module[-1].register_forward_hook(fail)  # type: ignore[index]
    runs: list[Callable[[], object]] = [
        lambda: classifier.record(images, "6"),
        lambda: classifier.run_from(recorded, recorded.features, images),
        lambda: maps_of("grad_cam", classifier, images, torch.tensor([0])),
        lambda: maps_of("saliency", classifier, images, torch.tensor([0])),
    ]
    for run in runs:
        # a StopIteration would end a loop around the call without a word, so it arrives as the cause of another error
        with pytest.raises(RuntimeError if error is StopIteration else error) as arrived:
            run()
        cause = arrived.value.__cause__ if error is StopIteration else arrived.value
        assert type(cause) is error
        assert str(cause).strip("'") == "in the network"
    handle.remove()
    with pytest.raises(SeewhyError, match="class 99 does not exist: the classifier has classes 0 to 4"):
        maps_of("grad_cam", classifier, images, torch.tensor([99]))


@pytest.mark.parametrize("name", OURS)
def test_trap_04_modes_and_accumulated_gradients_are_kept(name: str, batch: tuple[Tensor, Tensor]) -> None:
    """Training goes on after an explanation as if there had been none."""
    classifier = TINY["cnn_inplace"]()
    module = classifier.module.train()
    module[1].eval()  # type: ignore[index]
    module(torch.rand(4, 3, 16, 16)).square().sum().backward()
    before = snapshot(module)
    gradients = [p.grad for p in module.parameters()]
    maps_of(name, classifier, *batch)
    expect_same(before, snapshot(module))
    assert all(p.grad is g for p, g in zip(module.parameters(), gradients, strict=True))
    assert not module[1].training  # type: ignore[index]
    assert module[2].training  # type: ignore[index]


@pytest.mark.parametrize("place", ["0", "6", "10"])
@pytest.mark.parametrize("name", OURS)
def test_trap_05_an_exception_leaves_the_network_as_it_was(name: str, place: str, batch: tuple[Tensor, Tensor]) -> None:
    """Raised at the first, a middle or the last layer, in the first or a later batch."""
    classifier = TINY["cnn"]()
    maps_of(name, classifier, *batch)  # what is found once is found by now
    countdown = [2]

    def fail(*_: object) -> None:
        countdown[0] -= 1
        if not countdown[0]:
            raise IndexError("out of range")

    handle = classifier.module.get_submodule(place).register_forward_hook(fail)
    options = {"batch_size": 1} if hasattr(EXPLAINERS[name], "batch_size") else {}
    before = snapshot(classifier.module.train())
    try:
        maps_of(name, classifier, *batch, **options)
    except IndexError:
        pass
    else:
        assert countdown[0] > 0
    expect_same(before, snapshot(classifier.module))
    assert torch.is_grad_enabled()
    handle.remove()


# -- real architectures, random weights -------------------------------------------------------------------------------


def timm_model(name: str, size: int, **options: object) -> Classifier:
    import timm

    torch.manual_seed(0)
    return Classifier(timm.create_model(name, pretrained=False, num_classes=7, **options).eval(), input_size=(size, size))


def vgg16_bn() -> Classifier:
    import torchvision

    with torch.device("meta"):
        module = torchvision.models.vgg16_bn(weights=None, init_weights=False)
    module.features = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"], batch_norm=True)
    module.classifier = nn.Sequential(nn.Linear(512 * 49, 7))
    return Classifier(module.eval(), input_size=(64, 64))


REAL: dict[str, tuple[Callable[[], Classifier], str, int | None]] = {  # builder, layer of the probe, prefix tokens
    "resnet50": (lambda: timm_model("resnet50", 64), "layer4", None),
    "vgg16_bn": (vgg16_bn, "features.42", None),
    "vit": (lambda: timm_model("vit_tiny_patch16_224", 64, img_size=64), "blocks.11.norm1", 1),
    "deit_distilled": (lambda: timm_model("deit_tiny_distilled_patch16_224", 64, img_size=64), "blocks.11.norm1", 2),
    "dinov2_registers": (
        lambda: timm_model("vit_small_patch14_reg4_dinov2", 224, img_size=224, depth=3), "blocks.2.norm1", 5,
    ),
}  # fmt: skip


@cache
def real(name: str) -> Classifier:
    return REAL[name][0]()


@pytest.mark.parametrize("name", list(REAL))
def test_trap_08_the_layer_is_the_last_with_a_gradient_on_its_grid(name: str) -> None:
    assert real(name).layer == REAL[name][1]


@pytest.mark.parametrize("method", ["grad_cam", "hires_cam", "layer_cam", "x_grad_cam"])
@pytest.mark.parametrize("name", ["vit", "deit_distilled", "dinov2_registers"])
def test_trap_08_the_map_of_a_class_token_transformer_is_not_black(name: str, method: str) -> None:
    """For at least one of several classes: a map may be cut at zero everywhere, a dead layer's is black for all."""
    classifier = real(name)
    images = torch.rand(1, 3, *classifier.input_size, generator=torch.Generator().manual_seed(0))
    maps = torch.stack([maps_of(method, classifier, images, torch.tensor([c])) for c in range(3)])
    assert maps.abs().flatten(1).amax(1).max() > 0
    assert maps.std() > 0


def test_trap_08_layers_after_the_last_attention_are_known_to_be_dead() -> None:
    depends = {name: alive for name, _, alive in real("vit").spatial_layers}
    assert depends["blocks.11.norm1"]
    assert not any(depends[name] for name in ("blocks.11.norm2", "blocks.11", "norm") if name in depends)
    assert any(not alive for alive in depends.values())


def test_trap_08_a_network_without_a_living_layer_is_an_error() -> None:
    class ClassTokenOnly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.flat, self.head = nn.Flatten(), nn.Linear(768, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.flat(x))

    with pytest.raises(SeewhyError, match="no layer of ClassTokenOnly has a grid that its output depends on"):
        _ = Classifier(ClassTokenOnly(), input_size=(16, 16)).layer


def test_trap_08_a_map_is_refused_at_a_layer_where_it_would_be_black(batch: tuple[Tensor, Tensor]) -> None:
    classifier = TINY["vit"]()
    for method in ("grad_cam", "hires_cam"):
        with pytest.raises(SeewhyError, match=r"whose map is black: try 'blocks\.1\.norm1'"):
            explainer(method, classifier, layer="blocks.1.norm2").explain(*batch)


def test_trap_09_a_declared_prefix_is_used_for_an_image_that_is_not_square() -> None:
    tokens = torch.arange(14.0).view(1, 14, 1)  # two prefix tokens and patches of 16 pixels
    grid = Classifier(cnn(), n_prefix_tokens=2).as_grid(tokens, torch.zeros(1, 3, 96, 32))
    assert grid.shape == (1, 1, 6, 2)
    assert grid[0, 0, 0].tolist() == [2, 3]


def test_trap_08_cam_refuses_a_layer_that_its_weights_do_not_fit(batch: tuple[Tensor, Tensor]) -> None:
    """Six channels, weights of eight: one line, not an error of einsum."""
    with pytest.raises(SeewhyError, match="layer '0' has 6 channels, cam weighs 8: name another layer"):
        maps_of("cam", TINY["cnn"](), *batch, layer="0")


@pytest.mark.parametrize("name", ["vit", "deit_distilled", "dinov2_registers"])
def test_trap_09_class_distillation_and_register_tokens_are_no_patches(name: str) -> None:
    """One, two and five tokens before the patches; the rest is the grid, row after row."""
    classifier, prefix = real(name), REAL[name][2]
    images = torch.rand(1, 3, *classifier.input_size)
    with classifier.capture(classifier.layer) as outputs, torch.no_grad():
        classifier.logits(images)
    tokens = outputs[classifier.layer]
    side = round((tokens.shape[1] - prefix) ** 0.5)
    assert side**2 == tokens.shape[1] - prefix
    assert torch.equal(classifier.as_grid(tokens, images), tokens[:, prefix:].transpose(1, 2).unflatten(2, (side, side)))


def test_trap_09_a_network_without_prefix_tokens_loses_no_patch() -> None:
    """Swin: (n, h, w, channels) and no class token."""
    swin = {"img_size": 64, "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4), "window_size": 4}
    classifier = timm_model("swin_tiny_patch4_window7_224", 64, **swin)
    images = torch.rand(1, 3, 64, 64)
    with classifier.capture(classifier.layer) as outputs, torch.no_grad():
        classifier.logits(images)
    features = outputs[classifier.layer]
    assert features.shape == (1, 8, 8, 32)
    assert torch.equal(classifier.as_grid(features, images), features.permute(0, 3, 1, 2))
    assert maps_of("grad_cam", classifier, images, torch.tensor([0])).shape == (1, 64, 64)


@pytest.mark.parametrize("name", SPECIFIC)
def test_trap_10_logits_are_explained_not_probabilities(name: str, batch: tuple[Tensor, Tensor]) -> None:
    """A bias that makes the target certain would make the gradient of its probability vanish; the logit's stays."""
    classifier = TINY["cnn"]()
    certain = replace(classifier, module=deepcopy(classifier.module))
    certain.module[-1].bias.data[batch[1]] += 200  # type: ignore[index]
    torch.testing.assert_close(maps_of(name, certain, *batch), maps_of(name, classifier, *batch), rtol=1e-4, atol=1e-6)


def test_trap_10_probabilities_are_a_softmax_or_sigmoids(batch: tuple[Tensor, Tensor]) -> None:
    single, several = TINY["cnn"](), TINY["cnn_multilabel"]()
    logits = single.logits(batch[0])
    torch.testing.assert_close(single.probabilities(batch[0]), logits.exp() / logits.exp().sum(1, keepdim=True))
    torch.testing.assert_close(several.probabilities(batch[0]), 1 / (1 + (-several.logits(batch[0])).exp()))


@pytest.mark.parametrize(
    ("baseline", "said"),
    [
        (torch.full((3, 1, 1), -1.8), r"pixels in \[0, 1\], not normalized; this one is in \[-1.8, -1.8\]"),
        (torch.full((3, 1, 1), 255.0), r"in \[255, 255\]"),
        (torch.full((3, 1, 1), float("nan")), r"in \[nan, nan\]"),
        (torch.zeros(2, 1, 1), r"\(2, 1, 1\) does not broadcast to images of \(1, 3, 16, 16\)"),
        (1.5, r"a gray baseline is in \[0, 1\], got 1.5"),
    ],
)
def test_a_baseline_that_is_no_pixels_is_refused(baseline: Tensor | float, said: str) -> None:
    """Other libraries take normalized ones."""
    with pytest.raises(SeewhyError, match=said):
        baseline_images(baseline, TINY["cnn"](), torch.rand(1, 3, 16, 16))


@pytest.mark.parametrize(
    "name", [n for n in EXPLAINERS if "baseline" in EXPLAINERS[n].__dataclass_fields__ and n not in LEARNED]
)
def test_every_image_may_have_a_baseline_of_its_own(name: str, batch: tuple[Tensor, Tensor]) -> None:
    """Also one that was made in inference mode."""
    images, targets = batch
    with torch.inference_mode():
        removed = torch.rand(images.shape, generator=torch.Generator().manual_seed(1))
    together = maps_of(name, TINY["cnn"](), images, targets, baseline=removed)
    for i in range(len(images)):
        alone = maps_of(name, TINY["cnn"](), images[i : i + 1], targets[i : i + 1], baseline=removed[i])
        torch.testing.assert_close(alone[0], together[i], rtol=1e-3, atol=1e-5)


def test_trap_12_mean_color_is_what_a_mask_on_the_normalized_image_fades_to(batch: tuple[Tensor, Tensor]) -> None:
    """x m + mean (1 - m) in pixels is normalize(x) m, which is not black; black is another baseline."""
    classifier, images = TINY["cnn"](), batch[0]
    mask = torch.rand(3, 1, 16, 16)
    gray = baseline_images("mean_color", classifier, images)
    in_pixels = classifier.normalize(images * mask + gray * (1 - mask))
    torch.testing.assert_close(in_pixels, classifier.normalize(images) * mask)
    assert classifier.normalize(gray).abs().max() < 1e-6
    black = classifier.normalize(baseline_images("black", classifier, images))
    torch.testing.assert_close(black[0, :, 0, 0], -torch.tensor(classifier.mean) / torch.tensor(classifier.std))


@pytest.mark.parametrize("name", ["smooth_grad", "gradient_shap", "random"])
def test_trap_21_the_seed_alone_decides_every_draw(name: str, batch: tuple[Tensor, Tensor]) -> None:
    """Neither numpy's nor torch's global generator is read or moved; another seed is another map."""
    classifier = TINY["cnn"]()
    noise = {"noise": 0.1} if name == "gradient_shap" else {}
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)
        state = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
        found.append(maps_of(name, classifier, *batch, **noise))
        assert state == (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    assert torch.equal(*found)
    assert not torch.allclose(maps_of(name, classifier, *batch, seed=5, **noise), found[0])


@pytest.mark.parametrize("name", SPECIFIC)
def test_trap_23_dropout_and_batch_statistics_of_training_mode_do_not_reach_the_map(
    name: str, batch: tuple[Tensor, Tensor]
) -> None:
    classifier = TINY["cnn"]()
    expected = maps_of(name, classifier, *batch)
    classifier.module.train()
    statistics = deepcopy(classifier.module.state_dict())
    for _ in range(2):
        assert torch.equal(maps_of(name, classifier, *batch), expected)
    assert all(torch.equal(t, statistics[key]) for key, t in classifier.module.state_dict().items())
    assert all(m.training for m in classifier.module.modules())


@pytest.mark.parametrize("name", [n for n in SPECIFIC if n not in ("grad_cam_pp", "score_cam")])
def test_trap_27_raw_maps_are_never_rescaled(name: str, batch: tuple[Tensor, Tensor]) -> None:
    """Twice the last layer's weights, twice the map: nothing was divided by its own maximum."""
    classifier = TINY["cnn"]()
    twice = replace(classifier, module=deepcopy(classifier.module))
    twice.module[-1].weight.data *= 2  # type: ignore[index]
    torch.testing.assert_close(maps_of(name, twice, *batch), 2 * maps_of(name, classifier, *batch))


def test_trap_28_eigen_cam_is_the_same_for_every_class_and_says_so(batch: tuple[Tensor, Tensor]) -> None:
    assert not EXPLAINERS["eigen_cam"].class_specific
    for model in TINY:
        classifier = TINY[model]()
        first, second = (maps_of("eigen_cam", classifier, batch[0], torch.full((3,), c)) for c in (0, 4))
        assert torch.equal(first, second)
    assert all(EXPLAINERS[name].class_specific for name in LAYERED if name != "eigen_cam")


@pytest.mark.parametrize("name", OURS)
def test_trap_30_fused_attention_is_explained(name: str) -> None:
    """Attention that never makes its weights, as all recent transformers have it."""
    classifier = real("vit")
    assert classifier.module.blocks[0].attn.fused_attn
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    if name in ("active_saliency", "inactive_saliency"):
        maps = maps_of(name, classifier, images, torch.tensor([1]), batch_size=7)
    else:
        maps = maps_of(name, classifier, images, torch.tensor([1]))
    assert torch.isfinite(maps).all()
    assert maps.std() > 0 or name in ("grad_cam", "x_grad_cam")  # which may be cut at zero everywhere


@pytest.mark.parametrize("name", OURS)
def test_trap_30_fused_attention_gives_the_maps_of_attention_written_out(name: str, batch: tuple[Tensor, Tensor]) -> None:
    fused = tiny(TinyViT())
    plain = replace(fused, module=deepcopy(fused.module))
    for block in plain.module.blocks:  # type: ignore[union-attr]
        block.attn.forward = lambda x, attn=block.attn: written_out(attn, x)
    torch.testing.assert_close(maps_of(name, fused, *batch), maps_of(name, plain, *batch), rtol=1e-3, atol=1e-5)


def written_out(attn: nn.Module, x: Tensor) -> Tensor:
    n, t, d = x.shape
    q, k, v = attn.qkv(x).view(n, t, 3, 2, d // 2).permute(2, 0, 3, 1, 4)
    weights = (q @ k.transpose(2, 3) / (d // 2) ** 0.5).softmax(3)
    return attn.proj((weights @ v).transpose(1, 2).reshape(n, t, d))


def hooks(module: nn.Module) -> int:
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks", "_state_dict_hooks")
    return sum(len(getattr(m, kind)) for m in module.modules() for kind in kinds)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("model", list(TINY))
def test_trap_31_no_hook_is_left_behind(model: str, name: str, batch: tuple[Tensor, Tensor]) -> None:
    """Ours are gone and the user's are still there: after a map, an unknown layer and an unknown class."""
    classifier = TINY[model]()
    own = next(classifier.module.children()).register_forward_hook(lambda *_: None)
    assert hooks(classifier.module) == 1
    maps_of(name, classifier, *batch)
    assert hooks(classifier.module) == 1
    if hasattr(EXPLAINERS[name], "layer"):
        with pytest.raises(SeewhyError, match="no layer 'nowhere'"):
            maps_of(name, classifier, *batch, layer="nowhere")
    if EXPLAINERS[name].class_specific:
        with pytest.raises(SeewhyError, match="class 17 does not exist"):
            maps_of(name, classifier, batch[0], torch.full((3,), 17))
    assert hooks(classifier.module) == 1
    own.remove()
    assert hooks(classifier.module) == 0


class WithoutGradients(nn.Module):
    """As deployed code is often written."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = cnn()

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)


OPTIMIZED = [n for n in EXPLAINERS if EXPLAINERS[n].family == "optimized" and n != "metric_driven"]
"""Methods that optimize by gradients."""


@pytest.mark.parametrize("name", ["saliency", "integrated_gradients", "active_saliency", "grad_cam", *OPTIMIZED])
def test_a_network_that_switches_gradients_off_is_named(name: str, batch: tuple[Tensor, Tensor]) -> None:
    classifier = replace(TINY["cnn"](), module=WithoutGradients().eval(), feature_layer="inner.6")
    with pytest.raises(SeewhyError, match="the network computes without gradients"):
        maps_of(name, classifier, *batch)


def test_a_network_made_in_inference_mode_is_refused() -> None:
    with torch.inference_mode():
        module = cnn()
    with pytest.raises(SeewhyError, match=r"^the network was made in torch.inference_mode, .*: make it outside$"):
        Classifier(module)
