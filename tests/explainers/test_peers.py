"""Other libraries as live oracles, where they are right: Captum and pytorch-grad-cam, when they are installed.

Both are given the same network, the same images and the same draws. Where a peer is known to be wrong, the test says so
and proves the difference to be that.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from support.tiny_models import Functional, TinyViT, cnn, tiny
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.explainers import GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM, XGradCAM, explainer
from seewhy.explainers.cam.eigen_cam import eigen_cam
from seewhy.explainers.gradients import feature_gradients

SEEDS = range(24)
pytestmark = pytest.mark.filterwarnings("ignore:Input Tensor 0 did not already require gradients")


def captum(part: str) -> Any:
    return pytest.importorskip(f"captum.{part}", reason="captum is not installed: this test compares with it")


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(768, 12), nn.ReLU(), nn.Linear(12, 12), nn.Tanh(), nn.Linear(12, 5))


def drawn(module: nn.Module, seed: int) -> nn.Module:
    """The module in eval mode, with weights of the seed that keep every layer alive."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in [*module.named_parameters(), *module.named_buffers()]:
            noise = torch.randn(p.shape, generator=generator)
            if name.endswith("running_var") or (p.ndim == 1 and name.endswith("weight")):
                p.copy_(1 + 0.2 * noise.abs())
            elif p.is_floating_point():
                p.copy_(noise * (0.3 if p.ndim == 1 else (2 / p[0].numel()) ** 0.5))
    return module.eval()


def random_network(seed: int) -> tuple[Classifier, Tensor, Tensor]:
    """A CNN, an MLP, a ViT or a functional network in float64; three images; their targets."""
    module = drawn((cnn, mlp, TinyViT, Functional)[seed % 4](), seed).double()
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(3, 3, 16, 16, generator=generator, dtype=torch.float64)
    return Classifier(module, input_size=(16, 16)), images, torch.randint(5, (3,), generator=generator)


def same(actual: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    """Up to a part ``tolerance`` of the largest entry; and it is not all about zeros."""
    scale = expected.detach().abs().max().item()
    assert scale > 1e-4
    torch.testing.assert_close(actual, expected.detach(), rtol=0, atol=tolerance * scale)


# -- Captum -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", SEEDS)
def test_saliency_is_captums(seed: int) -> None:
    classifier, images, targets = random_network(seed)
    theirs = captum("attr").Saliency(classifier.logits).attribute(images.clone(), target=targets)
    same(explainer("saliency", classifier).explain(images, targets), theirs.amax(1))


@pytest.mark.parametrize("seed", SEEDS)
def test_positive_and_negative_saliency_are_captums_signed_gradient(seed: int) -> None:
    classifier, images, targets = random_network(seed)
    theirs = captum("attr").Saliency(classifier.logits).attribute(images.clone(), target=targets, abs=False)
    same(explainer("positive_saliency", classifier).explain(images, targets), theirs.clamp_min(0).amax(1))
    same(explainer("negative_saliency", classifier).explain(images, targets), (-theirs).clamp_min(0).amax(1))


@pytest.mark.parametrize("seed", SEEDS)
def test_input_x_gradient_is_captums(seed: int) -> None:
    classifier, images, targets = random_network(seed)
    theirs = captum("attr").InputXGradient(classifier.logits).attribute(images.clone(), target=targets)
    same(explainer("input_x_gradient", classifier).explain(images, targets), theirs.sum(1))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("ours", "theirs"), [("gauss_legendre", "gausslegendre"), ("midpoint", "riemann_middle")])
def test_integrated_gradients_are_captums(ours: str, theirs: str, seed: int) -> None:
    """From black, and from a baseline of each image's own."""
    classifier, images, targets = random_network(seed)
    peer = captum("attr").IntegratedGradients(classifier.logits)
    for baseline in (torch.zeros_like(images), images.flip(0) * 0.5):
        expected = peer.attribute(images, baseline, target=targets, n_steps=7, method=theirs).sum(1)
        found = explainer("integrated_gradients", classifier, steps=7, quadrature=ours, baseline=baseline)
        same(found.explain(images, targets), expected, 1e-6)  # Captum keeps some weights in float32


@pytest.mark.parametrize("seed", SEEDS[:4])
def test_captums_trapezoid_falls_short_by_one_step(seed: int) -> None:
    """Its weights sum to 1 - 1/steps; ours to 1, so that a linear network is explained completely."""
    classifier, images, targets = random_network(seed)
    peer = captum("attr").IntegratedGradients(classifier.logits)
    baseline = images.flip(0) * 0.5  # at a constant one max pooling has ties, and a gradient for each way to break them
    short = peer.attribute(images, baseline, target=targets, n_steps=9, method="riemann_trapezoid").sum(1)
    found = explainer("integrated_gradients", classifier, steps=9, quadrature="trapezoid", baseline=baseline[:1])
    same(found.explain(images[:1], targets[:1]), short[:1] * 9 / 8, 1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_gradient_shap_is_captums_for_the_same_draws(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Captum draws a place for each copy of each image, we one for each copy: it is given ours."""
    classifier, images, targets = random_network(seed)
    samples, gray = 6, 0.25
    alphas = drawn_places(classifier, samples, gray, seed)
    peer = captum("attr").GradientShap(classifier.logits)
    # image 0's copies come first, then those of image 1
    monkeypatch.setattr(np.random, "uniform", lambda low, high, size: np.tile(alphas, size // samples))
    baseline = torch.full_like(images[:1], gray)
    theirs = peer.attribute(images, baseline, n_samples=samples, stdevs=0.0, target=targets).sum(1)
    found = explainer("gradient_shap", classifier, samples=samples, baselines=(gray,), seed=seed)
    same(found.explain(images, targets), theirs)


def drawn_places(classifier: Classifier, samples: int, gray: float, seed: int) -> np.ndarray:
    """Where on the way from the gray to the image the samples were, read off what the network would be given."""
    white = torch.ones(1, 3, 16, 16, dtype=torch.float64)
    method: Any = explainer("gradient_shap", classifier, samples=samples, baselines=(gray,), seed=seed)
    return np.array([(point.images.mean().item() - gray) / (1 - gray) for point in method.points(white)])


@pytest.mark.parametrize("seed", SEEDS[:4])
def test_gradient_shap_has_captums_expectation(seed: int) -> None:
    """Many draws of each, several baselines, noise: the means agree within their standard errors."""
    classifier, images, targets = random_network(seed)
    images, targets = images[:1], targets[:1]
    grays, samples, noise = (0.0, 0.4, 1.0), 1500, 0.1
    torch.manual_seed(seed)
    np.random.seed(seed)
    baselines = torch.stack([torch.full_like(images[0], gray) for gray in grays])
    rounds = [
        captum("attr")
        .GradientShap(classifier.logits)
        .attribute(images, baselines, n_samples=samples // 10, stdevs=noise, target=targets)
        for _ in range(10)
    ]
    theirs = torch.cat(rounds).sum(1)
    ours = torch.cat(
        [
            explainer("gradient_shap", classifier, samples=samples // 10, baselines=grays, noise=noise, seed=s).explain(
                images, targets
            )
            for s in range(10)
        ]
    )
    error = (ours.var(0) / 10 + theirs.var(0) / 10).sqrt()
    distance = (ours.mean(0) - theirs.mean(0)).abs()[error > 0] / error[error > 0]
    assert error.count_nonzero() > 100
    assert distance.mean() < 1.3  # 0.8 is expected of standard normals, more of errors estimated from ten rounds


@pytest.mark.parametrize("seed", SEEDS)
def test_smooth_grad_is_captums_noise_tunnel_for_the_same_draws(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signed gradient is averaged, then read as saliency; the standard deviation is a part of the image's range."""
    classifier, images, targets = random_network(seed)
    images, targets, samples, level = images[:1], targets[:1], 5, 0.2
    generator = torch.Generator().manual_seed(seed)
    noise = torch.stack([torch.randn(images.shape[1:], generator=generator) for _ in range(samples)]).double()
    spread = float(images.max() - images.min())
    attr = captum("attr")
    monkeypatch.setattr(torch, "normal", lambda mean, std: std * noise)
    theirs = attr.NoiseTunnel(attr.Saliency(classifier.logits)).attribute(
        images, nt_type="smoothgrad", nt_samples=samples, stdevs=level * spread, target=targets, abs=False
    )
    found = explainer("smooth_grad", classifier, samples=samples, noise_level=level, seed=seed)
    same(found.explain(images, targets), theirs.abs().amax(1), 1e-6)  # Captum keeps its deviations in float32


@pytest.mark.parametrize("layer", ["0", "3", "6"])
@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("seed", SEEDS[:5])
def test_grad_cam_is_captums(seed: int, inplace: bool, layer: str) -> None:
    _, images, targets = random_network(seed)
    classifier = Classifier(drawn(cnn(inplace=inplace), seed).double(), input_size=(16, 16))
    peer = captum("attr").LayerGradCam(classifier.logits, classifier.module.get_submodule(layer))
    theirs = peer.attribute(images, targets, relu_attributions=True)
    theirs = captum("attr").LayerAttribution.interpolate(theirs, (16, 16), "bilinear")[:, 0]
    same(explainer("grad_cam", classifier, layer=layer).explain(images, targets), theirs)


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize(
    ("layer", "expected"), [("conv1", [[11.25, 13.5], [20.25, 22.5]]), ("relu1", [[0.0, 4.0], [28.0, 32.5]])]
)
def test_grad_cam_of_captums_toy_network(layer: str, expected: list[list[float]], inplace: bool) -> None:
    """Exact numbers on a network of hand-set weights, also when the ReLU works in place on the layer's output."""
    module = captum("testing.helpers.basic_models").BasicModel_ConvNet_One_Conv(inplace=inplace)
    classifier = Classifier(module, mean=(0.0,), std=(1.0,), input_size=(4, 4))
    image = torch.arange(16.0).view(1, 1, 4, 4)
    pair = feature_gradients(classifier, image, torch.tensor([0]), layer)
    assert GradCAM(classifier, layer).combine(*pair)[0].tolist() == expected
    peer = captum("attr").LayerGradCam(module, module.get_submodule(layer))
    assert peer.attribute(image.clone(), 0, relu_attributions=True)[0, 0].tolist() == expected


# -- pytorch-grad-cam -------------------------------------------------------------------------------------------------

CAMS = {
    "GradCAM": GradCAM,
    "GradCAMPlusPlus": GradCAMPlusPlus,
    "XGradCAM": XGradCAM,
    "HiResCAM": HiResCAM,
    "LayerCAM": LayerCAM,
}


def pytorch_grad_cam() -> Any:
    return pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed: this test compares with it")


def stretched(m: np.ndarray) -> np.ndarray:
    """How that library rescales a map, once on the grid and once more on the image."""
    m = m - m.min()
    return m / (1e-7 + m.max())


def as_that_library_shows(classifier: Classifier, image: Tensor, grid: np.ndarray) -> np.ndarray:
    """Our raw map on the layer's grid, cut at zero, rescaled, enlarged, rescaled."""
    cv2 = pytest.importorskip("cv2", reason="opencv is not installed: grad-cam enlarges its maps with it")
    size = image.shape[-1], image.shape[-2]
    return stretched(cv2.resize(stretched(np.maximum(grid, 0)).astype(np.float32), size))


def theirs(name: str, classifier: Classifier, images: Tensor, targets: Tensor, layer: str, reshape: Any) -> np.ndarray:
    library, wanted = pytorch_grad_cam(), [lambda logits, t=int(t): logits[t] for t in targets]
    method = getattr(library, name)(classifier.module, [classifier.module.get_submodule(layer)], reshape)
    return method(classifier.normalize(images), wanted)


def a_cnn(seed: int) -> tuple[Classifier, str, Any]:
    module = drawn(cnn(), seed).double()
    return Classifier(steep(module, module[-1]), input_size=(16, 16)), "6", None


def steep(module: nn.Module, head: nn.Linear) -> nn.Module:
    """That library adds 1e-6 to the denominator of Grad-CAM++, which can be near 0: gradients must be large."""
    head.weight.data *= 1e5
    return module


def a_vit(seed: int) -> tuple[Classifier, str, Callable[[Tensor], Tensor]]:
    module = drawn(TinyViT(), seed).double()
    classifier = Classifier(steep(module, module.head), input_size=(16, 16))
    return classifier, "blocks.1.norm1", lambda t: t[:, 1:].reshape(len(t), 4, 4, -1).permute(0, 3, 1, 2)


@pytest.mark.parametrize("build", [a_cnn, a_vit])
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("name", list(CAMS))
def test_a_cam_is_that_of_pytorch_grad_cam(name: str, seed: int, build: Any) -> None:
    """On networks without in-place ReLU, which that library gets wrong, and after its own two rescalings."""
    classifier, layer, reshape = build(seed)
    images, targets = torch.rand(3, 3, 16, 16).double(), torch.tensor([0, 3, 1])
    expected = theirs(name, classifier, images, targets, layer, reshape)
    assert expected.max() > 0.9
    grids = CAMS[name](classifier).combine(*feature_gradients(classifier, images, targets, layer))
    for image, grid, m in zip(images, grids, expected, strict=True):
        np.testing.assert_allclose(as_that_library_shows(classifier, image, grid.numpy()), m, atol=1e-3, rtol=0)


@pytest.mark.parametrize("build", [a_cnn, a_vit])
@pytest.mark.parametrize("seed", range(5))
def test_eigen_cam_is_that_of_pytorch_grad_cam_up_to_its_sign(seed: int, build: Any) -> None:
    """It subtracts each channel's mean, as ``center=True`` does, and leaves the sign of the vector to chance."""
    classifier, layer, reshape = build(seed)
    images, targets = torch.rand(3, 3, 16, 16).double(), torch.tensor([0, 3, 1])
    expected = theirs("EigenCAM", classifier, images, targets, layer, reshape)
    with classifier.capture(layer) as outputs, torch.no_grad():
        classifier.logits(images)
        grids = eigen_cam(classifier.as_grid(outputs[layer], images), True).numpy()
    for image, grid, m in zip(images, grids, expected, strict=True):
        errors = [np.abs(as_that_library_shows(classifier, image, sign * grid) - m).max() for sign in (1, -1)]
        assert min(errors) < 1e-3


def test_pytorch_grad_cam_is_wrong_before_an_in_place_relu_and_we_are_not() -> None:
    """Why the networks above have none: its CPU maps are made of overwritten features; ours do not change."""
    torch.manual_seed(0)
    safe = tiny(cnn())
    inplace = replace(safe, module=cnn(inplace=True).eval())
    inplace.module.load_state_dict(safe.module.state_dict())
    images, targets = torch.rand(3, 3, 16, 16), torch.tensor([0, 3, 1])
    ours = [explainer("x_grad_cam", c, layer="5").explain(images, targets) for c in (safe, inplace)]
    same(ours[1], ours[0], 1e-6)
    peer = [theirs("XGradCAM", c, images, targets, "5", None) for c in (safe, inplace)]
    assert np.abs(peer[0] - peer[1]).max() > 0.1
