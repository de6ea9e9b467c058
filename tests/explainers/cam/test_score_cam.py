"""Score-CAM: the paper's algorithm written again in float64, exact numbers, and grad-cam's own maps."""

from collections.abc import Callable
from dataclasses import replace
from math import exp
from typing import Any, cast

import numpy as np
import pytest
import torch
from support import oracles
from support.slow_cams import LAYER, PREFIX, double, logit, same, weighed
from support.tiny_models import TINY
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.explainers import ExplainsClasses, ScoreCAM, explainer


def probability(classifier: Classifier, image: Tensor, c: int) -> float:
    logits = classifier.logits(image[None])[0].tolist()
    if classifier.multilabel:
        return 1 / (1 + exp(-logits[c]))
    return exp(logits[c]) / sum(exp(z) for z in logits)


Score = Callable[[Classifier, Tensor, int], float]


def increases(classifier: Classifier, image: Tensor, c: int, a: oracles.Grid, f: Score, removed: Tensor) -> list[float]:
    """C(A_k) = f(X o H_k) - f(X_b), with H_k = s(Up(A_k)) and, for a constant map, zeros."""
    found = []
    for channel in a:
        up = oracles.upsampled(channel, *image.shape[-2:]).tolist()
        low, high = min(map(min, up)), max(map(max, up))
        masked = image.clone()
        for i, row in enumerate(up):
            for j, value in enumerate(row):
                h = (value - low) / (high - low) if high > low else 0.0
                masked[:, i, j] = h * image[:, i, j] + (1 - h) * removed[:, i, j]
        found.append(f(classifier, masked, c) - f(classifier, removed, c))
    return found


def score_cam(model: str, image: Tensor, c: int, f: Score, removed: Tensor, how: str) -> Tensor:
    classifier = double(model)
    a = oracles.features_of(classifier, image, LAYER.get(model, "6"), PREFIX.get(model, 0))
    u = increases(classifier, image, c, a, f, removed)
    if how == "softmax":
        u = [exp(v) / sum(exp(o) for o in u) for v in u]
    return oracles.upsampled(weighed(a, u), *image.shape[-2:])


@pytest.mark.parametrize("options", [{}, {"selector": "probability", "baseline": 0.3}, {"weights": "raw"}])
@pytest.mark.parametrize("model", list(TINY))
@torch.no_grad()
def test_score_cam_is_the_papers_algorithm(model: str, options: dict[str, Any], images: Tensor) -> None:
    f = probability if "selector" in options else logit
    method = ScoreCAM(double(model), **options, batch_size=5)
    maps = method.explain_classes(images, torch.arange(5))
    for image, found in zip(images, maps, strict=True):
        removed = torch.full_like(image, options.get("baseline", 0.0))
        for target in (3, 0):
            expected = score_cam(model, image, target, f, removed, options.get("weights", "softmax"))
            torch.testing.assert_close(found[target], expected, rtol=0, atol=1e-9)
    # a map that is cut everywhere would prove nothing; here nearly equal weights make the sum of normalized tokens negative
    assert maps[:, [3, 0]].amax((2, 3)).gt(1e-5).any() or (model, options) == ("vit_registers", {})


def with_dead_channels(k: int = 2) -> Classifier:
    """The CNN, of which the last ReLU never passes the first ``k`` of eight channels."""
    classifier = replace(TINY["cnn"](), classes=())
    norm = classifier.module[5]
    with torch.no_grad():
        norm.weight[:k] = 0
        norm.bias[:k] = -1
    return replace(classifier, module=classifier.module.double())


@pytest.mark.parametrize("weights", ["softmax", "raw", "released"])
@torch.no_grad()
def test_a_dead_channel_costs_nothing_and_changes_nothing(weights: str, images: Tensor) -> None:
    """Its score is that of the removed image, which is asked once."""
    classifier, passes = with_dead_channels(), list[int]()
    explainer("score_cam", classifier, weights=weights, selector="probability").explain(
        images[:1], torch.tensor([3])
    )  # probes once
    count = classifier.module[0].register_forward_hook(lambda m, args, out: passes.append(len(out)))
    maps = explainer("score_cam", classifier, weights=weights, selector="probability").explain(images[:1], torch.tensor([3]))
    assert sum(passes) == 1 + 1 + 6  # the image, the removed one, and a mask for each of six channels
    count.remove()
    image, black = images[0], torch.zeros_like(images[0])
    a = oracles.features_of(classifier, image, "6")
    u = increases(classifier, image, 3, a, probability, black)
    assert u[:2] == [0, 0]
    if weights == "softmax":
        u = [exp(v) / sum(exp(o) for o in u) for v in u]
    if weights == "released":
        u = [0, 0, *(v + probability(classifier, black, 3) for v in u[2:])]
    same(maps[0], oracles.upsampled(weighed(a, u), 16, 16))


def test_score_cam_of_few_channels_is_that_of_the_most_varied(images: Tensor) -> None:
    """All of them is exact, and so is any number that leaves out the dead alone, with weights that do not share one."""
    classifier, targets = with_dead_channels(), torch.tensor([3, 1])
    exact, all_alive, all_of_them = (
        explainer("score_cam", classifier, weights="raw", channels=c).explain(images, targets) for c in (None, 6, 100)
    )
    same(all_alive, exact)
    same(all_of_them, exact)
    with classifier.capture("6") as outputs, torch.no_grad():
        classifier.logits(images)
    strongest = outputs["6"].flatten(2).var(2).argmax(1)
    alone = explainer("score_cam", classifier, channels=1).explain(images, targets)  # the softmax of one is 1
    grid = torch.stack([f[k] for f, k in zip(outputs["6"], strongest, strict=True)])
    expected = torch.stack([oracles.upsampled(m.tolist(), 16, 16) for m in grid])
    same(alone, expected)


def test_score_cam_needs_a_channel() -> None:
    with pytest.raises(SeewhyError, match=r"channels=0.*at least 1"):
        explainer("score_cam", TINY["cnn"](), channels=0)


def test_score_cam_keeps_to_its_batch_size(images: Tensor) -> None:
    classifier, sizes = double("cnn"), list[int]()
    explainer("score_cam", classifier).explain(images, torch.tensor([3, 1]))  # probes once
    count = classifier.module[0].register_forward_hook(lambda m, args, out: sizes.append(len(out)))
    method = cast(ExplainsClasses, explainer("score_cam", classifier, batch_size=3))
    method.explain_classes(images, torch.arange(5))
    count.remove()
    assert max(sizes) == 3
    assert sum(sizes) <= 2 * (1 + 1 + 8)  # all classes from the same passes


def test_score_cam_of_a_detector_finds_its_pattern() -> None:
    """Channel 0 sees red, channel 1 green; class 0 is red minus green: the map of class 0 is red's map alone."""
    conv, head = nn.Conv2d(3, 2, 1, bias=False), nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 0]])[:, :, None, None])
        head.weight.copy_(torch.tensor([[16.0, -16], [-16, 16]]))
    module = nn.Sequential(conv, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).double()
    classifier = Classifier(module, mean=(0.0,) * 3, std=(1.0,) * 3, input_size=(4, 4), feature_layer="1")
    image = torch.zeros(1, 3, 4, 4, dtype=torch.float64)
    image[0, 0, 0, 0] = image[0, 1, 3, 3] = 1.0
    maps = explainer("score_cam", classifier, weights="raw", selector="logit").explain(image, torch.tensor([0]))
    expected = torch.zeros(1, 4, 4, dtype=torch.float64)
    expected[0, 0, 0] = 1.0  # red adds 16/16 of one pixel of 16; green would take as much away, and is cut
    same(maps, expected)


def test_bfloat16_changes_a_map_of_score_cam_little(batch: tuple[Tensor, Tensor]) -> None:
    for model in ("cnn", "vit"):
        exact, rounded = (explainer("score_cam", TINY[model](), precision=p).explain(*batch) for p in ("fp32", "bf16"))
        assert rounded.dtype == torch.float32
        for a, b in zip(exact, rounded, strict=True):
            assert torch.corrcoef(torch.stack([a.flatten(), b.flatten()]))[0, 1] > 0.99
        assert not torch.equal(exact, rounded)


def pytorch_grad_cam() -> Any:
    return pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed: this test compares with it")


def tokens_as_grid(tokens: Tensor) -> Tensor:
    return tokens[:, 1:].reshape(len(tokens), 4, 4, -1).permute(0, 3, 1, 2)


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


@pytest.mark.parametrize(("model", "layer", "reshape"), [("cnn", "6", None), ("vit", "blocks.1.norm1", tokens_as_grid)])
def test_score_cam_is_that_of_grad_cam(model: str, layer: str, reshape: Any, images: Tensor) -> None:
    """Logits, a softmax over the channels, masks on the normalized image whose corners are those of the grid."""
    classifier, targets = double(model), torch.tensor([3, 1])
    rival = peer("ScoreCAM", classifier, layer, reshape)
    expected = rival(classifier.normalize(images), wanted(targets))
    method = ScoreCAM(classifier, layer, selector="logit", baseline="mean_color", align_corners=True)
    with classifier.running():
        features = method._features(images)
        removed = images.new_tensor(classifier.mean)[:, None, None].expand_as(images)
        weights = method._weights(images, removed, features, targets[:, None, None])
    np.testing.assert_allclose(weights[:, 0].numpy(), rival.found, rtol=1e-5, atol=1e-7)
    grids = torch.einsum("nd,ndhw->nhw", weights[:, 0], features).relu().numpy()
    assert expected.max() > 0.9
    for grid, m in zip(grids, expected, strict=True):
        np.testing.assert_allclose(as_that_library_shows(grid), m, atol=1e-5, rtol=0)
    ours = method.explain(images, targets)
    same(ours, torch.stack([oracles.upsampled(grid.tolist(), 16, 16) for grid in grids]))
