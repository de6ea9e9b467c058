"""What theory says about the maps: laws that hold on any network, and networks on which the answer is known."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from support import oracles
from support.tiny_models import TINY, TinyViT, cnn, tiny
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.explainers import EXPLAINERS, Explainer, ExplainsClasses, IntegratedGradients, SmoothGrad, explainer
from seewhy.masking.baselines import baseline_images

CAMS = ("cam", "grad_cam", "grad_cam_pp", "x_grad_cam", "hires_cam", "layer_cam")
SPECIFIC = [n for n in EXPLAINERS if EXPLAINERS[n].class_specific and EXPLAINERS[n].family in ("gradient", "cam")]
CHEAP: dict[str, dict[str, object]] = {
    "smooth_grad": {"samples": 3},
    "integrated_gradients": {"steps": 4},
    "gradient_shap": {"samples": 3},
}


def double(classifier: Classifier) -> Classifier:
    return replace(classifier, module=deepcopy(classifier.module).double())


def make(name: str, classifier: Classifier, **options: object) -> Explainer:
    return explainer(name, classifier, **{**CHEAP.get(name, {}), **options})


def linear(seed: int = 0) -> Classifier:
    """Five classes, each a weighted sum of the pixels."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(768, 5))
    with torch.no_grad():
        module[1].weight.copy_(torch.randn(5, 768, generator=torch.Generator().manual_seed(seed)))
    return Classifier(module.double(), input_size=(16, 16))


def images_and_targets(n: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(n, 3, 16, 16, generator=generator, dtype=torch.float64), torch.tensor([0, 3, 1])[:n]


def same(actual: Tensor, expected: Tensor, tolerance: float = 1e-9) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


# -- completeness, and what a linear network makes of every method ------------------------------------------------------


@pytest.mark.parametrize("baseline", ["black", "white", "mean_color", "blur", 0.3])
@pytest.mark.parametrize("model", list(TINY))
def test_integrated_gradients_sum_to_the_difference_of_logits(model: str, baseline: str | float) -> None:
    classifier, (images, targets) = double(TINY[model]()), images_and_targets()
    maps = explainer("integrated_gradients", classifier, baseline=baseline, steps=400, quadrature="midpoint")
    difference = classifier.scores(images, targets) - classifier.scores(
        baseline_images(baseline, classifier, images), targets
    )
    found = maps.explain(images, targets).sum((1, 2))
    torch.testing.assert_close(found, difference.detach(), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("steps", [2, 3, 50])
@pytest.mark.parametrize("quadrature", ["gauss_legendre", "midpoint", "trapezoid"])
def test_integrated_gradients_of_a_linear_network_are_complete_with_any_rule(quadrature: str, steps: int) -> None:
    classifier, (images, targets) = linear(), images_and_targets()
    maps = explainer("integrated_gradients", classifier, quadrature=quadrature, steps=steps).explain(images, targets)
    difference = classifier.scores(images, targets) - classifier.scores(torch.zeros_like(images), targets)
    same(maps.sum((1, 2)), difference.detach())


@pytest.mark.parametrize("name", ["integrated_gradients", "gradient_shap"])
def test_on_a_linear_network_every_path_from_black_is_input_x_gradient(name: str) -> None:
    classifier, (images, targets) = linear(), images_and_targets()
    options = {"baselines": ("black",)} if name == "gradient_shap" else {"baseline": "black"}
    maps = make(name, classifier, **options).explain(images, targets)
    same(maps, explainer("input_x_gradient", classifier).explain(images, targets))


def test_saliency_of_a_linear_network_is_its_weights() -> None:
    classifier, (images, targets) = linear(), images_and_targets()
    weights = classifier.module[1].weight.detach().view(5, 3, 16, 16)  # type: ignore[index]
    weights = weights / torch.tensor(classifier.std, dtype=torch.float64)[:, None, None]
    for name, expected in {
        "saliency": weights.abs().amax(1),
        "positive_saliency": weights.clamp_min(0).amax(1),
        "negative_saliency": (-weights).clamp_min(0).amax(1),
        "active_saliency": torch.where(weights == weights.amax(0), weights, 0).amax(1),
        "inactive_saliency": torch.where(weights == weights.amin(0), -weights, 0).amax(1),
    }.items():
        same(explainer(name, classifier).explain(images, targets), expected[targets])


def test_active_and_inactive_pixels_belong_to_one_class_each() -> None:
    """Without ties every entry of a color channel has one highest and one lowest class: the maps divide the pixels."""
    classifier, (images, _) = linear(), images_and_targets(1)
    everything = torch.arange(5)
    for name in ("active_saliency", "inactive_saliency"):
        method = explainer(name, classifier)
        assert isinstance(method, ExplainsClasses)
        owners = (method.explain_classes(images, everything) != 0).sum(1)
        assert owners.max() <= 3  # at most one class for each of three channels
        assert owners.min() >= 1


# -- CAMs ---------------------------------------------------------------------------------------------------------------


def pooled() -> Classifier:
    """Convolutions, global average pooling, a linear layer: what CAM is defined for. The grid is the image's own."""
    convolutions = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()
    return double(tiny(nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))))


def test_after_global_pooling_the_cams_are_cam_up_to_a_positive_scale() -> None:
    """The gradient of a feature is the class's weight over the 256 cells: Grad-CAM, HiResCAM and XGrad-CAM are CAM."""
    classifier, (images, targets) = pooled(), images_and_targets()
    assert classifier.layer == "3"
    cam = explainer("cam", classifier).explain(images, targets)
    assert (cam.amin((1, 2)) < 0).any()
    assert (cam.amax((1, 2)) > 0).any()
    same(explainer("hires_cam", classifier).explain(images, targets) * 256, cam)
    same(explainer("grad_cam", classifier).explain(images, targets) * 256, cam.clamp_min(0))
    same(explainer("x_grad_cam", classifier).explain(images, targets) * 256, cam.clamp_min(0))


def test_the_two_classes_of_one_logit_have_opposite_maps() -> None:
    """p = sigmoid(z) has the logits -z/2 and z/2: of the methods that are linear in the gradient, and of CAM."""
    convolutions = nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, padding=1), nn.ReLU()
    network = tiny(nn.Sequential(*convolutions, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 1)))
    classifier, (images, _) = double(replace(network, classes=())), images_and_targets()
    absent, present = torch.zeros(3, dtype=torch.long), torch.ones(3, dtype=torch.long)
    for name in ("cam", "hires_cam", "input_x_gradient", "integrated_gradients", "gradient_shap"):
        same(make(name, classifier).explain(images, absent), -make(name, classifier).explain(images, present))
    gradients = torch.stack([oracles.input_x_gradient(classifier, image, 1) for image in images])
    same(explainer("input_x_gradient", classifier).explain(images, present), gradients)
    hires = explainer("hires_cam", classifier).explain(images, present)
    same(explainer("cam", classifier).explain(images, present), hires * 256)
    assert hires.abs().max() > 0


def test_cam_sums_to_the_logit_without_its_bias() -> None:
    classifier, (images, targets) = pooled(), images_and_targets()
    maps = explainer("cam", classifier).explain(images, targets)
    bias = classifier.module[-1].bias.detach()  # type: ignore[index]
    same(maps.mean((1, 2)), classifier.scores(images, targets).detach() - bias[targets])


@pytest.mark.parametrize("name", CAMS)
@pytest.mark.parametrize("model", list(TINY))
def test_all_classes_in_one_pass_are_the_loop(name: str, model: str) -> None:
    classifier, (images, _) = double(TINY[model]()), images_and_targets()
    method = explainer(name, classifier)
    assert isinstance(method, ExplainsClasses)
    together = method.explain_classes(images, torch.arange(5))
    for c in range(5):
        same(together[:, c], method.explain(images, torch.full((3,), c)))


# -- laws that hold on any network ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("build", [cnn, TinyViT])
@pytest.mark.parametrize("name", SPECIFIC)
def test_a_permutation_of_the_classes_permutes_the_maps(name: str, build: type[nn.Module]) -> None:
    classifier, (images, targets) = double(tiny(build())), images_and_targets()
    order = torch.tensor([4, 2, 0, 1, 3])  # class i of the permuted network is class order[i]
    permuted = double(classifier)
    head = permuted.module.get_submodule(permuted.heads[0])
    head.weight.data, head.bias.data = head.weight.data[order], head.bias.data[order]
    expected = make(name, classifier).explain(images, order[targets])
    same(make(name, permuted).explain(images, targets), expected)


@pytest.mark.parametrize("build", [cnn, TinyViT])
@pytest.mark.parametrize("name", SPECIFIC)
def test_a_constant_added_to_all_logits_changes_nothing(name: str, build: type[nn.Module]) -> None:
    classifier, (images, targets) = double(tiny(build())), images_and_targets()
    expected = make(name, classifier).explain(images, targets)
    shifted = double(classifier)
    shifted.module.get_submodule(shifted.heads[0]).bias.data += 7
    same(make(name, shifted).explain(images, targets), expected)


def mirrored() -> Classifier:
    """A CNN of kernels that are their own mirror images: it cannot tell left from right."""
    module = cnn()
    classifier = tiny(module)
    with torch.no_grad():
        for m in module.modules():
            if isinstance(m, nn.Conv2d):
                m.weight.copy_((m.weight + m.weight.flip(3)) / 2)
    return double(classifier)


@pytest.mark.parametrize("name", [n for n in EXPLAINERS if EXPLAINERS[n].family in ("gradient", "cam")])
def test_a_mirrored_image_has_a_mirrored_map(name: str) -> None:
    """On a network that cannot tell left from right; the noise of SmoothGrad is not mirrored, so there is none."""
    classifier, (images, targets) = mirrored(), images_and_targets()
    options = {"noise_level": 0.0} if name == "smooth_grad" else {}
    method = make(name, classifier, **options)
    maps = method.explain(images, targets)
    same(method.explain(images.flip(3), targets), maps.flip(2), 1e-8)
    assert not torch.allclose(maps, maps.flip(2))


class RedSpot(nn.Module):
    """Class 0 is "a red spot", read at stride 2; the others see nothing of it."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 2, 2, 2)
        self.act = nn.ReLU()
        self.head = nn.Linear(2, 3)
        with torch.no_grad():
            self.features.weight.zero_()[:, 0] = 0.25
            self.features.bias.fill_(-0.3)
            self.head.weight.copy_(torch.tensor([[1.0, 1.0], [-1.0, -1.0], [0.0, 0.0]]))
            self.head.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.act(self.features(x)).mean((2, 3)))


class RedToken(RedSpot):
    """The same as tokens, with a class token before them that is not read."""

    def __init__(self) -> None:
        super().__init__()
        self.num_prefix_tokens = 1
        self.norm = nn.LayerNorm(2, elementwise_affine=False, bias=False)
        self.norm.forward = lambda t: t * 1.0  # type: ignore[method-assign]

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.act(self.features(x)).flatten(2).transpose(1, 2)
        tokens = self.norm(torch.cat([torch.zeros_like(tokens[:, :1]), tokens], 1))
        return self.head(tokens[:, 1:].mean(1))


@pytest.mark.parametrize("build", [RedSpot, RedToken])
@pytest.mark.parametrize("name", [n for n in EXPLAINERS if EXPLAINERS[n].family in ("gradient", "cam")])
def test_the_map_lights_where_the_object_is(name: str, build: type[nn.Module]) -> None:
    """Upper right of an image that is wider than high: a map upside down, mirrored or transposed passes every shape test."""
    image = torch.full((1, 3, 16, 24), 0.1)
    image[:, 0, 2:6, 16:22] = 1.0
    classifier = Classifier(build(), mean=(0.0,) * 3, std=(1.0,) * 3, input_size=(16, 24))
    target = torch.tensor([1 if name in ("negative_saliency", "inactive_saliency") else 0])
    m = make(name, classifier).explain(image, target)[0]
    m = m.clamp_min(0)
    rows, columns = m.sum(1) / m.sum(), m.sum(0) / m.sum()
    assert 2 < (rows * torch.arange(16)).sum() < 5
    assert 16 < (columns * torch.arange(24)).sum() < 21
    assert m[2:6, 16:22].sum() > 0.55 * m.sum()


def test_doubled_logits_double_the_gradient_maps() -> None:
    """Gradients are linear in the network; see also trap 27."""
    classifier, (images, targets) = double(TINY["cnn"]()), images_and_targets()
    twice = double(classifier)
    twice.module[-1].weight.data *= 2  # type: ignore[index]
    for name in SPECIFIC:
        if name not in ("grad_cam_pp", "score_cam"):  # not linear: its equation 19, a softmax
            same(make(name, twice).explain(images, targets), 2 * make(name, classifier).explain(images, targets))


# -- what the network is shown -------------------------------------------------------------------------------------------


class Logging(nn.Module):
    """Keeps what it is given, image by image."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.seen = module, []

    def forward(self, x: Tensor) -> Tensor:
        self.seen.extend(x.detach().clone())
        return self.module(x)


@contextmanager
def watched(module: nn.Module) -> Iterator[tuple[Classifier, list[Tensor]]]:
    """A classifier that does not normalize, and the list of all images that its network sees."""
    logging = Logging(module)
    names = tuple("abcde")  # so that no probe is needed to count them
    classifier = Classifier(logging, mean=(0.0,) * 3, std=(1.0,) * 3, input_size=(16, 16), classes=names)
    classifier.logits(torch.rand(2, 3, 16, 16, dtype=torch.float64))  # what is tried once is tried now
    logging.seen.clear()
    yield classifier, logging.seen


def test_smooth_grad_without_noise_is_saliency() -> None:
    for model in TINY:
        classifier, (images, targets) = double(TINY[model]()), images_and_targets()
        maps = explainer("smooth_grad", classifier, noise_level=0.0, samples=3).explain(images, targets)
        same(maps, explainer("saliency", classifier).explain(images, targets))


@pytest.mark.parametrize("level", [0.05, 0.2])
def test_the_noise_that_the_network_sees_is_a_part_of_the_images_range(level: float) -> None:
    images, targets = images_and_targets(2)
    images[1] = 0.4 + images[1] / 5  # a pale image has a fifth of the range, so a fifth of the noise
    with watched(cnn().double()) as (classifier, seen):
        explainer("smooth_grad", classifier, noise_level=level, samples=40, batch_size=8).explain(images, targets)
    assert len(seen) == 80
    noise = [torch.stack(seen).unflatten(0, (-1, 2))[:, i] - images[i] for i in range(2)]
    for i, expected in enumerate(level * (images.amax((1, 2, 3)) - images.amin((1, 2, 3)))):
        assert abs(float(noise[i].mean())) < 0.02 * expected
        assert noise[i].std().item() == pytest.approx(expected.item(), rel=0.02)
        assert (noise[i].std(0) > 0.5 * expected).all()  # every sample draws anew
    assert torch.corrcoef(noise[0][:2].flatten(1))[0, 1].abs() < 0.15


@pytest.mark.parametrize("quadrature", ["gauss_legendre", "midpoint", "trapezoid"])
@pytest.mark.parametrize("baseline", ["black", 0.7])
def test_the_points_of_integrated_gradients_lie_on_the_straight_path(quadrature: str, baseline: str | float) -> None:
    images, targets = images_and_targets(2)
    start = 0.0 if baseline == "black" else 0.7
    with watched(cnn().double()) as (classifier, seen):
        method = explainer(
            "integrated_gradients", classifier, steps=9, quadrature=quadrature, baseline=baseline, batch_size=4
        )
        method.explain(images, targets)
    for i, image in enumerate(images):
        points = torch.stack(seen).unflatten(0, (-1, 2))[:, i]
        alphas = (points - start).flatten(1) @ (image - start).flatten() / (image - start).square().sum()
        same(points, start + alphas[:, None, None, None] * (image - start))
        assert len(alphas) == 9
        assert (alphas.diff() > 0).all()
        same(alphas + alphas.flip(0), torch.ones(9, dtype=torch.float64))  # the rules are symmetric
        ends = quadrature == "trapezoid"
        assert (alphas[0].abs().item() < 1e-9) == ends


def test_gradient_shap_draws_places_uniformly_and_every_baseline() -> None:
    images, targets = images_and_targets(1)
    with watched(cnn().double()) as (classifier, seen):
        options = {"samples": 400, "baselines": ("black", "white")}
        explainer("gradient_shap", classifier, **options).explain(images, targets)
    x = images[0]
    alphas = {0.0: [], 1.0: []}
    for point in seen:
        for start in (0.0, 1.0):
            alpha = float((point - start).sum() / (x - start).sum())
            if torch.allclose(point, start + alpha * (x - start)):
                alphas[start].append(alpha)
                break
    assert sum(map(len, alphas.values())) == 400
    assert all(len(found) > 160 for found in alphas.values())
    for found in alphas.values():
        steps = (torch.tensor(sorted(found)) - torch.linspace(0, 1, len(found))).abs().max()
        assert steps < 1.63 / len(found) ** 0.5  # Kolmogorov-Smirnov at 1 %


# -- the five maps of Llorente et al. -------------------------------------------------------------------------------------


def centered(k: int = 5) -> Classifier:
    """A linear network whose logits sum to 0 for every image: the lowest gradient of an entry is never positive."""
    classifier = linear(3)
    weight = classifier.module[1].weight.data  # type: ignore[index]
    weight -= weight.mean(0)
    return classifier


def test_equation_6_to_the_letter_is_nowhere_positive() -> None:
    """The maximum over channels of negative gradients and zeros: the pixels that matter most are its lowest."""
    classifier, (images, targets) = centered(), images_and_targets()
    letter = explainer("inactive_saliency", classifier, reading="equation").explain(images, targets)
    magnitude = explainer("inactive_saliency", classifier).explain(images, targets)
    assert letter.max() <= 0
    assert magnitude.min() >= 0
    assert (magnitude > 0).sum() > 3 * (letter < 0).sum()  # a zero of one color hides the others


def white_deletion(images: Tensor, maps: Tensor, fraction: float) -> Tensor:
    """Section 4.2 of the paper: pixels of the highest values, and no zeros, become white; ties at the threshold stay."""
    deleted = []
    for image, m in zip(images, maps, strict=True):
        threshold = m.flatten().sort(descending=True).values[round(fraction * m.numel())]
        deleted.append(torch.where((m > threshold) & (m != 0), 1.0, image))
    return torch.stack(deleted)


@pytest.mark.parametrize("build", [centered, pooled])
def test_white_deletion_refutes_equation_6_to_the_letter(build: Callable[[], Classifier]) -> None:
    """Magnitude lowers the score of the class more at every fraction, and moves more images to another class."""
    classifier = build()
    images = torch.rand(40, 3, 16, 16, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    clean = classifier.logits(images).detach()
    targets = clean.argmax(1)
    kept = {}
    for reading in ("magnitude", "equation"):
        maps = explainer("inactive_saliency", classifier, reading=reading).explain(images, targets)
        for fraction in (0.03, 0.1, 0.2, 0.4):
            logits = classifier.logits(white_deletion(images, maps, fraction)).detach()
            drop = (clean - logits).gather(1, targets[:, None]).mean()
            kept[reading, fraction] = float(drop), float((logits.argmax(1) == targets).double().mean())
    for fraction in (0.03, 0.1, 0.2, 0.4):
        assert kept["magnitude", fraction][0] > kept["equation", fraction][0]
        assert kept["magnitude", fraction][1] <= kept["equation", fraction][1]
    if build is centered:  # untrained convolutions give all noise the same class
        assert kept["magnitude", 0.2][1] < kept["equation", 0.2][1] - 0.2


WRAPPED = {
    "smooth_grad": lambda c, x, t: oracles.smooth_gradient(c, x, t, noises(x, 50), 0.15),
    "integrated_gradients": lambda c, x, t: oracles.integrated_gradient(c, x, t, torch.zeros_like(x)),
    "input_x_gradient": lambda c, x, t: x * oracles.pixel_gradient(c, x, t),
}


def noises(image: Tensor, samples: int, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(image.shape, generator=generator).to(image) for _ in range(samples)]


@pytest.mark.parametrize("of", list(WRAPPED))
@pytest.mark.parametrize("name", ["positive_saliency", "negative_saliency", "active_saliency", "inactive_saliency"])
@pytest.mark.parametrize("model", ["cnn", "vit"])
def test_a_rule_reads_the_signs_of_any_gradient_method(model: str, name: str, of: str) -> None:
    """Named, with its default options: the attribution of a color channel takes the gradient's place."""
    classifier, (images, _) = double(TINY[model]()), images_and_targets(1)
    found = explainer(name, classifier, of=of, batch_size=7).explain(images, torch.tensor([2]))[0]
    gradients = [WRAPPED[of](classifier, images[0], c) for c in range(5)]
    same(found, getattr(oracles, name)(classifier, images[0], 2, of=lambda _c, _x, c: gradients[c]))


@pytest.mark.parametrize("name", ["positive_saliency", "negative_saliency", "active_saliency", "inactive_saliency"])
def test_a_rule_reads_the_signs_of_an_explainer_with_options(name: str) -> None:
    """Also by the route of many classes, where the embedding is differentiated."""
    classifier = replace(tiny(cnn(k=13)), classes=())
    classifier, (images, _) = double(classifier), images_and_targets(1)
    for of, gradient in (
        (SmoothGrad(classifier, samples=3, noise_level=0.4, seed=2), lambda c, x, t: oracles.smooth_gradient(
            c, x, t, noises(x, 3, 2), 0.4
        )),
        (IntegratedGradients(classifier, steps=4, baseline="white"), lambda c, x, t: oracles.integrated_gradient(
            c, x, t, torch.ones_like(x), steps=4
        )),
    ):  # fmt: skip
        found = explainer(name, classifier, of=of, batch_size=5).explain(images, torch.tensor([11]))[0]
        gradients = [gradient(classifier, images[0], c) for c in range(13)]
        same(found, getattr(oracles, name)(classifier, images[0], 11, of=lambda _c, _x, c, g=gradients: g[c]))
