"""Every explainer against its paper's equations, re-written literally in ``oracles.py``, in float64."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from support import oracles
from support.tiny_models import TINY, Functional, TinyViT, cnn, tiny
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.explainers import EXPLAINERS, ExplainsClasses, explainer

PREFIX = {"vit": 1, "vit_registers": 5}
LAYER = {"vit": "blocks.1.norm1", "vit_registers": "blocks.1.norm1", "functional": "last"}  # the others: "6"
SAMPLES, STEPS, LEVEL = 4, 5, 0.15

Oracle = Callable[[str, Classifier, Tensor, int], Tensor]
"""(tiny model's name, classifier, image, class) -> map"""


@cache
def double(model: str) -> Classifier:
    classifier = TINY[model]()
    return replace(classifier, module=deepcopy(classifier.module).double())


def noises(image: Tensor, seed: int = 0, samples: int = SAMPLES) -> list[Tensor]:
    """The draws of the seed, the same for every image."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(image.shape, generator=generator).to(image) for _ in range(samples)]


def baselines(classifier: Classifier, image: Tensor) -> list[Tensor]:
    """Black, a gray and an image of one's own."""
    own = torch.linspace(0, 1, image.numel(), dtype=image.dtype).view_as(image)
    return [torch.zeros_like(image), torch.full_like(image, 0.25), own]


def draws(classifier: Classifier, image: Tensor, noise: float, seed: int = 0) -> list[oracles.Draw]:
    """One baseline, one place and one noise a sample, in this order."""
    generator = torch.Generator().manual_seed(seed)
    found, known = [], baselines(classifier, image)
    for _ in range(SAMPLES):
        start = known[int(torch.randint(len(known), (), generator=generator))]
        alpha = float(torch.rand((), generator=generator))
        found.append(oracles.Draw(start, alpha, noise * torch.randn(image.shape, generator=generator).to(image)))
    return found


def of_features(combine: Callable[[oracles.Grid, oracles.Grid], list[list[float]]]) -> Oracle:
    def oracle(model: str, classifier: Classifier, image: Tensor, c: int) -> Tensor:
        layer = LAYER.get(model, "6")
        pair = oracles.features_and_gradient(classifier, image, c, layer, PREFIX.get(model, 0))
        return oracles.upsampled(combine(*pair), *image.shape[-2:])

    return oracle


def cam(model: str, classifier: Classifier, image: Tensor, c: int) -> Tensor:
    module = classifier.module
    layer = {"vit": "norm", "vit_registers": "norm", "functional": "last"}.get(model, "7")
    if isinstance(module, TinyViT):
        heads = [module.head] if module.head_dist is None else [module.head, module.head_dist]
    else:
        heads = [module.head if isinstance(module, Functional) else module[-1]]
    weights = [sum(head.weight[c, d].item() for head in heads) / len(heads) for d in range(heads[0].in_features)]
    features = oracles.features_of(classifier, image, layer, PREFIX.get(model, 0))
    return oracles.upsampled(oracles.cam(features, weights), *image.shape[-2:])


def eigen_cam(model: str, classifier: Classifier, image: Tensor, c: int, center: bool = False) -> Tensor:
    features = oracles.features_of(classifier, image, LAYER.get(model, "6"), PREFIX.get(model, 0))
    return oracles.upsampled(oracles.eigen_cam(features, center), *image.shape[-2:])


def ramp(image: Tensor) -> Tensor:
    return baselines(double("cnn"), image)[2]


def shap_options(image: Tensor, noise: float) -> dict[str, object]:
    return {"samples": SAMPLES, "noise": noise, "baselines": ("black", 0.25, ramp(image))}


IMAGE = torch.zeros(3, 16, 16, dtype=torch.float64)
CASES: list[tuple[str, dict[str, object], Oracle]] = [
    ("saliency", {}, lambda m, *a: oracles.saliency(*a)),
    ("positive_saliency", {}, lambda m, *a: oracles.positive_saliency(*a)),
    ("negative_saliency", {}, lambda m, *a: oracles.negative_saliency(*a)),
    *(
        ("active_saliency", {"reading": r}, lambda m, *a, r=r: oracles.active_saliency(*a, reading=r))
        for r in ("equation", "released")
    ),
    *(
        ("inactive_saliency", {"reading": r}, lambda m, *a, r=r: oracles.inactive_saliency(*a, reading=r))
        for r in ("magnitude", "equation", "released")
    ),
    (
        "smooth_grad",
        {"samples": SAMPLES, "noise_level": LEVEL},
        lambda m, c, x, t: oracles.smooth_grad(c, x, t, noises(x), LEVEL),
    ),
    (
        "smooth_grad",
        {"samples": SAMPLES, "noise_level": 0.3, "seed": 7},
        lambda m, c, x, t: oracles.smooth_grad(c, x, t, noises(x, 7), 0.3),
    ),
    ("input_x_gradient", {}, lambda m, *a: oracles.input_x_gradient(*a)),
    *(
        (
            "integrated_gradients",
            {"steps": STEPS, "quadrature": rule},
            lambda m, c, x, t, rule=rule: oracles.integrated_gradients(c, x, t, torch.zeros_like(x), rule, STEPS),
        )
        for rule in ("gauss_legendre", "midpoint")
    ),
    *(  # the trapezoid rule differentiates at the baseline: not a constant one, where max pooling has ties
        (
            "integrated_gradients",
            {"steps": STEPS, "quadrature": rule, "baseline": ramp(IMAGE)},
            lambda m, c, x, t, rule=rule: oracles.integrated_gradients(c, x, t, ramp(x), rule, STEPS),
        )
        for rule in ("gauss_legendre", "trapezoid")
    ),
    *(
        (
            "gradient_shap",
            shap_options(IMAGE, noise),
            lambda m, c, x, t, noise=noise: oracles.gradient_shap(c, x, t, draws(c, x, noise)),
        )
        for noise in (0.0, 0.1)
    ),
    ("cam", {}, cam),
    *(
        (name, {}, of_features(getattr(oracles, name)))
        for name in ("grad_cam", "grad_cam_pp", "x_grad_cam", "hires_cam", "layer_cam")
    ),
    ("eigen_cam", {}, eigen_cam),
    ("eigen_cam", {"center": True}, lambda *a: eigen_cam(*a, center=True)),
    ("fake_cam", {}, lambda m, c, x, t: oracles.fake_cam(x)),
    ("center", {"sigma": 0.2}, lambda m, c, x, t: oracles.center(x, 0.2)),
]
WITHOUT_EQUATION = {"random"}  # noise has no equation; its distribution is tested below
ELSEWHERE = {  # written beside the tests of another method; else in FAMILY/test_NAME.py
    "u_relax": "relax",
    "lime": "regression",
    "kernel_shap": "regression",
    "smooth_pixel_mask": "extremal_perturbation",
}


def label(case: tuple[str, dict[str, object], Oracle]) -> str:
    return "-".join(
        [case[0], *(str(v) for v in case[1].values() if isinstance(v, str | bool)), *case[1].keys() & {"baseline"}]
    )


def same(actual: Tensor, expected: Tensor) -> None:
    assert actual.dtype == torch.float64
    torch.testing.assert_close(actual, expected, rtol=1e-8, atol=1e-10)


def test_every_explainer_has_an_oracle() -> None:
    """Whoever adds a method to the library writes its equations into ``oracles.py`` too, or beside its other tests."""
    ours = {name for name in EXPLAINERS if EXPLAINERS[name].__module__.startswith("seewhy.")}
    for name in ours - {name for name, _, _ in CASES} - WITHOUT_EQUATION:
        file = Path(__file__).parent / EXPLAINERS[name].family / f"test_{ELSEWHERE.get(name, name)}.py"
        assert file.is_file(), f"write the equations of {name} as slow, literal code in {file.name}"
        text = file.read_text(encoding="utf-8")
        assert EXPLAINERS[name].__name__ in text or f'"{name}"' in text


@pytest.mark.parametrize("model", list(TINY))
@pytest.mark.parametrize("case", CASES, ids=label)
def test_a_map_is_its_papers_equation(
    case: tuple[str, dict[str, object], Oracle], model: str, batch: tuple[Tensor, Tensor]
) -> None:
    """Each image of a batch with its own target, over chunks of two."""
    name, options, oracle = case
    classifier, images, targets = double(model), batch[0].double(), batch[1]
    if hasattr(EXPLAINERS[name], "batch_size"):
        options = {**options, "batch_size": 2}
    maps = explainer(name, classifier, **options).explain(images, targets)
    for image, target, found in zip(images, targets, maps, strict=True):
        same(found, oracle(model, classifier, image, int(target)))
    assert maps.flatten(1).std(1).gt(0).any()  # maps of zeros would prove nothing


@pytest.mark.parametrize("model", list(TINY))
@pytest.mark.parametrize("case", [c for c in CASES if hasattr(EXPLAINERS[c[0]], "explain_classes")], ids=label)
def test_all_classes_at_once_are_the_loop_over_the_classes(
    case: tuple[str, dict[str, object], Oracle], model: str, batch: tuple[Tensor, Tensor]
) -> None:
    """Every class, in an order that is not the network's, and one class asked for twice."""
    name, options, oracle = case
    classifier, images = double(model), batch[0][:2].double()
    explain = explainer(name, classifier, **options, batch_size=2)
    assert isinstance(explain, ExplainsClasses)
    order = [3, 0, 4, 2, 1, 0]
    maps = explain.explain_classes(images, torch.tensor(order))
    assert maps.shape == (2, 6, 16, 16)
    for image, found in zip(images, maps, strict=True):
        for target, m in zip(order, found, strict=True):
            same(m, oracle(model, classifier, image, target))


def tied(module: nn.Module, head: nn.Linear, pairs: list[tuple[int, int]]) -> Classifier:
    """Classes of each pair get the same weights: their gradients are the same everywhere."""
    classifier = replace(tiny(module), classes=())
    with torch.no_grad():
        for a, b in pairs:
            head.weight[b] = head.weight[a]
    return replace(classifier, module=module.double())


def few_classes() -> Classifier:
    module = cnn(k=5)  # d = 8 >= k: the k logits are differentiated
    return tied(module, module[-1], [(1, 4)])


def many_classes() -> Classifier:
    module = cnn(k=21)  # d = 8 < k: the embedding is differentiated, the classes are its combinations
    return tied(module, module[-1], [(2, 7), (0, 20), (5, 6)])


def many_classes_vit() -> Classifier:
    module = TinyViT(k=17)  # d = 12
    return tied(module, module.head, [(2, 7), (0, 16)])


@pytest.mark.parametrize("batch_size", [1, 2, 4, 64])
@pytest.mark.parametrize("build", [few_classes, many_classes, many_classes_vit])
@pytest.mark.parametrize(
    ("name", "reading"),
    [
        ("active_saliency", "equation"),
        ("active_saliency", "released"),
        ("inactive_saliency", "magnitude"),
        ("inactive_saliency", "equation"),
        ("inactive_saliency", "released"),
    ],
)
def test_classes_that_tie_are_treated_as_the_reading_says(
    name: str, reading: str, build: Callable[[], Classifier], batch_size: int, batch: tuple[Tensor, Tensor]
) -> None:
    """By both routes of class gradients, however the classes fall into chunks; ties win by equation, lose as released."""
    classifier, images = build(), batch[0][:1].double()
    wanted = torch.arange(classifier.n_classes)
    explain = explainer(name, classifier, reading=reading, batch_size=batch_size)
    assert isinstance(explain, ExplainsClasses)
    maps = explain.explain_classes(images, wanted)[0]
    gradients = [oracles.pixel_gradient(classifier, images[0], int(c)) for c in wanted]
    for c in wanted.tolist():
        # gradients known once; equal weights give gradients that are equal up to rounding, which counts as a tie
        expected = getattr(oracles, name)(
            classifier, images[0], c, reading, lambda _c, _x, index: gradients[index], tie=1e-12
        )
        same(maps[c], expected)


def test_tied_classes_share_their_active_pixels(batch: tuple[Tensor, Tensor]) -> None:
    """The test above is not about zeros: both classes of a pair have pixels by equation 5, neither has as released."""
    classifier, images = few_classes(), batch[0][:1].double()
    maps = explainer("active_saliency", classifier).explain_classes(images, torch.tensor([1, 4]))[0]
    assert torch.equal(maps[0], maps[1])
    assert maps[0].count_nonzero() > 0
    maps = explainer("active_saliency", classifier, reading="released").explain_classes(images, torch.tensor([1, 4]))
    assert maps.count_nonzero() == 0


def test_the_default_layers_are_the_oracles_layers() -> None:
    """The maps above are read where the paper reads them: the last grid that the output depends on."""
    assert {model: double(model).layer for model in TINY} == {model: LAYER.get(model, "6") for model in TINY}


@pytest.mark.parametrize("layer", ["0", "2", "4", "5", "6"])
@pytest.mark.parametrize("model", ["cnn", "cnn_inplace"])
@pytest.mark.parametrize("name", ["grad_cam", "grad_cam_pp", "x_grad_cam", "hires_cam", "layer_cam"])
def test_any_layer_can_be_named(name: str, model: str, layer: str, batch: tuple[Tensor, Tensor]) -> None:
    """Also the one just before an in-place ReLU."""
    classifier, image = double(model), batch[0][:1].double()
    pair = oracles.features_and_gradient(classifier, image[0], 2, layer)
    expected = oracles.upsampled(getattr(oracles, name)(*pair), 16, 16)
    same(explainer(name, classifier, layer=layer).explain(image, torch.tensor([2]))[0], expected)


@pytest.mark.parametrize("baseline", ["white", "mean_color", 0.3])
def test_a_path_begins_at_the_baseline(baseline: str | float, batch: tuple[Tensor, Tensor]) -> None:
    classifier, image = double("cnn"), batch[0][0].double()
    colors = {"white": [1, 1, 1], "mean_color": classifier.mean}.get(str(baseline), [0.3] * 3)
    start = torch.tensor(colors, dtype=torch.float64)[:, None, None].expand_as(image)
    expected = oracles.integrated_gradients(classifier, image, 1, start, steps=STEPS)
    found = explainer("integrated_gradients", classifier, baseline=baseline, steps=STEPS)
    same(found.explain(image[None], torch.tensor([1]))[0], expected)


def test_the_quadrature_converges_to_the_integral(batch: tuple[Tensor, Tensor]) -> None:
    """Equation 1 is an integral: on a smooth network few Gauss-Legendre points are it, and all rules come close."""
    smooth = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Tanh(), nn.Conv2d(6, 6, 3), nn.SiLU(), nn.Flatten(), nn.Linear(864, 5))
    classifier = tiny(smooth.double())
    image = batch[0][0].double()
    expected = oracles.integrated_gradients(classifier, image, 3, torch.zeros_like(image), "integral")
    scale, errors = float(expected.abs().max()), {}
    for rule in ("gauss_legendre", "midpoint", "trapezoid"):
        found = explainer("integrated_gradients", classifier, steps=20, quadrature=rule)
        errors[rule] = float((found.explain(image[None], torch.tensor([3]))[0] - expected).abs().max()) / scale
    assert errors["gauss_legendre"] < 1e-5
    assert 10 * errors["gauss_legendre"] < errors["midpoint"] < errors["trapezoid"] < 1e-2


def test_random_is_uniform_and_its_images_are_independent() -> None:
    """Noise has no equation: uniform on [0, 1), without correlation between images, seeds or neighbors."""
    images = torch.rand(40, 3, 16, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    targets = torch.zeros(40, dtype=torch.long)
    maps = explainer("random", double("cnn")).explain(images, targets)
    again = explainer("random", double("cnn"), seed=1).explain(images, targets)
    edges = torch.histc(maps, bins=10, min=0, max=1) / maps.numel()
    assert maps.min() >= 0 and maps.max() < 1  # noqa: PT018
    assert (edges - 0.1).abs().max() < 0.01
    everything = torch.cat([maps, again]).flatten(1)
    correlation = torch.corrcoef(everything) - torch.eye(80)
    assert correlation.abs().max() < 0.35  # 5.6 standard errors of 256 numbers
    beside = torch.corrcoef(torch.stack([maps[:, :, :-1].flatten(), maps[:, :, 1:].flatten()]))[0, 1]
    assert abs(float(beside)) < 0.05
