"""Ablation-CAM: the paper's equation written again in float64, its closed form, and grad-cam's own weights."""

from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from support import oracles
from support.slow_cams import LAYER, PREFIX, double, logit, same, weighed
from support.tiny_models import TINY, TinyViT, cnn, tiny
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.classifier.suffix import suffix_of
from seewhy.explainers import AblationCAM, explainer


def logit_without(classifier: Classifier, image: Tensor, c: int, layer: str, k: int, prefix: int) -> float:
    """y_c^k, by the whole network: the layer's channel k is zero on its grid."""

    def ablate(_module: object, _args: object, output: Tensor) -> Tensor:
        changed = output.clone()
        if output.ndim == 4:
            changed[:, k] = 0
        else:
            changed[:, prefix:, k] = 0
        return changed

    handle = classifier.module.get_submodule(layer).register_forward_hook(ablate)
    found = logit(classifier, image, c)
    handle.remove()
    return found


def ablation_weights(model: str, image: Tensor, c: int, relative: bool = False) -> tuple[list[float], oracles.Grid]:
    classifier, layer, prefix = double(model), LAYER.get(model, "6"), PREFIX.get(model, 0)
    a, y = oracles.features_of(classifier, image, layer, prefix), logit(classifier, image, c)
    falls = [y - logit_without(classifier, image, c, layer, k, prefix) for k in range(len(a))]
    return [fall / y if relative else fall for fall in falls], a


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("closed_form", [False, True])
@pytest.mark.parametrize("model", list(TINY))
@torch.no_grad()
def test_ablation_cam_is_the_papers_equation(model: str, closed_form: bool, relative: bool, images: Tensor) -> None:
    """With the channel's prefix tokens as they were; on images one by one and together, all classes and one."""
    method = AblationCAM(double(model), closed_form=closed_form, relative=relative, batch_size=3)
    maps = method.explain_classes(images, torch.tensor([3, 1, 3]))
    for image, found in zip(images, maps, strict=True):
        for target, m in zip((3, 1, 3), found, strict=True):
            weights, a = ablation_weights(model, image, target, relative)
            expected = oracles.upsampled(weighed(a, weights), 16, 16)
            torch.testing.assert_close(m, expected, rtol=0, atol=1e-9)
    assert maps.flatten(2).std(2).gt(1e-5).any()


def suffixes(classifier: Classifier, images: Tensor, layer: str | None = None) -> Any:
    with classifier.running():
        return suffix_of(classifier, layer or classifier.layer, images)


class Idempotent(nn.Module):
    """The features are normalized once more after the layer, which changes nothing until one is taken away."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8, 0, False), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(self.conv(x).flatten(2).transpose(1, 2))
        return self.head(nn.functional.layer_norm(tokens, (8,), eps=0).mean(1))


@torch.no_grad()
def test_the_closed_form_is_not_believed_because_the_logits_agree(images: Tensor) -> None:
    classifier = replace(tiny(Idempotent()), feature_layer="norm", n_prefix_tokens=0)
    classifier = replace(classifier, module=classifier.module.double())
    suffix = suffixes(classifier, images)
    sums = suffix.grid(suffix.recorded.features).mean((2, 3)) @ classifier.module.head.weight.T + classifier.module.head.bias
    same(sums, suffix.logits)
    with classifier.running():
        assert suffix.linear() is None
    maps = explainer("ablation_cam", classifier).explain(images, torch.tensor([3, 1]))
    same(maps, explainer("ablation_cam", classifier, closed_form=False).explain(images, torch.tensor([3, 1])))


def test_one_logit_and_several_heads_have_a_closed_form(images: Tensor) -> None:
    """A single logit is two classes, whose falls are opposite."""
    classifier = replace(tiny(cnn(k=1)), classes=())
    classifier = replace(classifier, module=classifier.module.double())
    both = [AblationCAM(classifier, closed_form=c).explain_classes(images, torch.arange(2)) for c in (True, False)]
    same(both[0], both[1])
    with classifier.running():
        assert suffixes(classifier, images).linear() is not None


class ClassMaps(nn.Module):
    """As SqueezeNet: the last convolution makes a map a class, and their means are the logits; with a ReLU, or without."""

    def __init__(self, relu: bool) -> None:
        super().__init__()
        self.features, self.classes = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 5, 1)
        self.relu = nn.ReLU() if relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.classes(self.features(x).relu())).mean((2, 3))


@pytest.mark.parametrize("relu", [False, True])
def test_on_maps_of_classes_a_class_falls_by_its_own_map_alone(relu: bool, images: Tensor) -> None:
    classifier = replace(tiny(ClassMaps(relu)), feature_layer="classes")
    classifier = replace(classifier, module=classifier.module.double())
    with classifier.running():
        assert (suffixes(classifier, images).linear() is None) == relu
        weights, features = AblationCAM(classifier).weights(images, torch.arange(5).expand(2, 5))
        logits = classifier.logits(images)
    same(weights, torch.diag_embed(logits))
    assert features.shape == (2, 5, 16, 16)


def test_after_pooling_and_a_linear_layer_ablation_cam_is_grad_cam(images: Tensor) -> None:
    """y_c - y_c^k = W_ck mean(A_k): Grad-CAM weighs by W_ck / Z, so each weight is Grad-CAM's times the channel's sum."""
    classifier, targets = double("cnn"), torch.tensor([3, 1])
    weights, features = AblationCAM(classifier).weights(images, targets[:, None])
    expected = classifier.module[-1].weight[targets] * features.mean((2, 3))
    same(weights[:, 0], expected.detach())


class Fallback(nn.Module):
    """What is before the layer is read only where the layer is 0: not on the image, but for a channel without it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.layer, self.head = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 1), nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        before = self.stem(x)
        after = self.layer(before)
        return self.head(torch.where(after == 0, before, after).mean((2, 3)))


@torch.no_grad()
def test_an_output_that_is_read_later_only_is_found_missing(images: Tensor) -> None:
    classifier = replace(tiny(Fallback()), feature_layer="layer")
    classifier = replace(classifier, module=classifier.module.double())
    weights, _ = AblationCAM(classifier).weights(images, torch.tensor([[3], [1]]))
    stem, layer = classifier.module.stem, classifier.module.layer
    change = layer(stem(classifier.normalize(images))) - stem(classifier.normalize(images))
    expected = classifier.module.head.weight[torch.tensor([3, 1])] * change.mean((2, 3))
    same(weights[:, 0], expected)


def test_ablation_cam_keeps_to_its_batch_size(images: Tensor) -> None:
    classifier, sizes = double("vit"), []
    count = classifier.module.norm.register_forward_hook(lambda m, args, out: sizes.append(len(out)))
    AblationCAM(classifier, batch_size=5).explain_classes(images, torch.arange(5))
    count.remove()
    assert max(sizes) <= 5


@pytest.mark.parametrize("relative", [False, True])
def test_a_lower_bias_turns_the_published_map_around_and_not_ours(relative: bool, images: Tensor) -> None:
    """The division by a negative logit; a bias has no place, so a map should not know of it."""
    maps = []
    for bias in (10.0, -10.0):
        classifier = double("vit")
        module = deepcopy(classifier.module)
        with torch.no_grad():
            module.head.bias.fill_(bias)
        method = AblationCAM(replace(classifier, module=module), relative=relative)
        maps.append(method.explain(images[:1], torch.tensor([3])).flatten())
    correlation = torch.corrcoef(torch.stack(maps))[0, 1]
    assert correlation < 0.9 if relative else correlation > 0.999


def pytorch_grad_cam() -> Any:
    return pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed: this test compares with it")


def peer(name: str, classifier: Classifier, layer: str, reshape: Any = None) -> Any:
    """Its method, which keeps its channel weights as ``found``."""
    base = getattr(pytorch_grad_cam(), name)

    class Watched(base):  # type: ignore[misc, valid-type]
        def get_cam_weights(self, *arguments: Any) -> Any:
            self.found = super().get_cam_weights(*arguments)
            return self.found

    return Watched(classifier.module, [classifier.module.get_submodule(layer)], reshape)


def as_that_library_shows(grid: np.ndarray) -> np.ndarray:
    """Rescaled, enlarged, rescaled."""
    cv2 = pytest.importorskip("cv2", reason="opencv is not installed: grad-cam enlarges its maps with it")

    def stretched(m: np.ndarray) -> np.ndarray:
        m = m - m.min()
        return m / (1e-7 + m.max())

    return stretched(cv2.resize(stretched(grid).astype(np.float32), (16, 16)))


def wanted(targets: Tensor) -> list[Any]:
    return [lambda logits, t=int(t): logits[t] for t in targets]


def test_ablation_cam_has_the_weights_of_grad_cam_where_the_lowest_feature_is_zero(images: Tensor) -> None:
    classifier, targets = double("cnn"), torch.tensor([3, 1])
    with classifier.capture("6") as outputs, torch.no_grad():
        classifier.logits(images)
    assert outputs["6"].amin() == 0  # otherwise that library does not write 0
    for closed_form in (True, False):
        for image, target in zip(images.split(1), targets.split(1), strict=True):
            rival = peer("AblationCAM", classifier, "6")
            expected = rival(classifier.normalize(image), wanted(target))
            method = AblationCAM(classifier, relative=True, closed_form=closed_form)
            weights, features = method.weights(image, target[:, None])
            np.testing.assert_allclose(weights[0].detach().numpy(), rival.found, rtol=2e-5, atol=2e-6)
            grid = torch.einsum("nd,ndhw->nhw", weights[:, 0], features).relu()[0].numpy()
            np.testing.assert_allclose(as_that_library_shows(grid), expected[0], atol=1e-4, rtol=0)


def test_a_class_tokens_share_of_a_channel_stays(images: Tensor) -> None:
    """Taking the channel of the class token away too, as grad-cam does for a ViT, is another question."""
    classifier = double("vit")
    assert isinstance(classifier.module, TinyViT)
    weights, _ = AblationCAM(classifier).weights(images[:1], torch.tensor([[3]]))
    kept, removed = (
        [
            logit(classifier, images[0], 3) - logit_without(classifier, images[0], 3, "blocks.1.norm1", k, prefix)
            for k in range(12)
        ]
        for prefix in (1, 0)
    )
    same(weights[0, 0], torch.tensor(kept, dtype=torch.float64))
    assert not np.allclose(kept, removed, atol=1e-3)
