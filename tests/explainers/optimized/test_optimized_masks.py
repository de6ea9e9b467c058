"""What all masks found by descent keep to: planted evidence, wrong options, trained networks."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from support.tiny_models import TINY
from torch import Tensor, nn

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.data.shapes.shapes import Shapes
from seewhy.errors import SeewhyError
from seewhy.explainers import explainer
from seewhy.explainers.optimized.smooth_masks import blur


@pytest.fixture
def double() -> Classifier:
    """A tiny network in float64."""
    classifier = TINY["cnn"]()
    return replace(classifier, module=deepcopy(classifier.module).double(), mean=(0.4, 0.5, 0.3), std=(0.2, 0.3, 0.25))


@pytest.fixture
def image() -> Tensor:
    """Not square, and smaller than the network's own size."""
    return torch.rand(1, 3, 10, 8, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


class Reads(nn.Module):
    """Logit 1 is the agreement with a pattern in a patch, which any blur destroys; logit 0 is 0."""

    def __init__(self, pattern: Tensor) -> None:
        super().__init__()
        self.pattern = nn.Parameter(pattern)

    def forward(self, x: Tensor) -> Tensor:
        score = (x * self.pattern).flatten(1).sum(1)
        return torch.stack([torch.zeros_like(score), score], 1)


def planted(size: tuple[int, int] = (32, 32), strength: float = 1.0) -> tuple[Classifier, Tensor, Tensor]:
    """A network, an image, and the patch that alone it reads."""
    image = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(2))
    region = torch.zeros(size, dtype=torch.bool)
    region[5:15, 16:26] = True
    pattern = (image - blur(image, 3.0))[0].sign() * region
    pattern = pattern - region * pattern[:, region].mean(1)[:, None, None]
    classifier = Classifier(Reads(strength * pattern), mean=(0.0,) * 3, std=(1.0,) * 3, input_size=size)
    return classifier, image, region


PLANTED: dict[str, tuple[float, dict[str, object]]] = {
    "extremal_perturbation": (0.3, {"steps": 60, "learning_rate": 0.05, "areas": (0.1,), "flip": False}),
    "smooth_pixel_mask": (1.0, {"steps": 200, "area": 0.1, "flip": False}),
    "meaningful_perturbation": (0.05, {"steps": 100}),
    "igos_pp": (0.05, {"iterations": 10, "path_steps": 5}),
}


@pytest.mark.parametrize("size", [(32, 32), (24, 40)])
@pytest.mark.parametrize("name", list(PLANTED))
def test_planted_evidence_is_found(name: str, size: tuple[int, int]) -> None:
    strength, options = PLANTED[name]
    classifier, image, region = planted(size, strength)
    found = explainer(name, classifier, **options).explain(image, torch.tensor([1]))[0]
    order = found.flatten().argsort(descending=True)[: int(region.sum()) // 2]
    assert region.flatten()[order].all()
    assert found[region].mean() > 2.5 * found[~region].mean()


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("extremal_perturbation", {"areas": (0.1, 1.2)}, "areas are parts of the image"),
        ("extremal_perturbation", {"areas": (0.3, 0.1)}, "rising"),
        ("extremal_perturbation", {"levels": 1}, "levels=1: give a whole number of at least 2"),
        ("extremal_perturbation", {"sigma": 0.0}, "sigma=0.0: give a number above 0"),
        ("smooth_pixel_mask", {"area": 0.0}, "area=0.0: give a number above 0 and below 1"),
        ("smooth_pixel_mask", {"area": 1.0}, "area=1.0: give a number above 0 and below 1"),
        ("meaningful_perturbation", {"beta": 0.5}, "beta=0.5: give a number of at least 1"),
        ("meaningful_perturbation", {"game": "hide"}, "give delete or preserve"),
        ("igos_pp", {"edge": 0.0}, "edge=0.0: give a number above 0"),
    ],
)
def test_wrong_options(double: Classifier, name: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(SeewhyError, match=said):
        explainer(name, double, **options)


ON_SHAPES: dict[str, dict[str, object]] = {
    "extremal_perturbation": {"steps": 80, "learning_rate": 0.05},
    "meaningful_perturbation": {"steps": 60},
    "igos_pp": {"iterations": 4, "path_steps": 4},
}


@pytest.mark.parametrize("name", list(ON_SHAPES))
def test_most_of_the_mask_lies_on_the_shape(name: str) -> None:
    classifier = seewhy.load("shapes")
    batch = Shapes(n=2).batch([0, 1])
    regions, images, targets = batch.regions, batch.images, batch.labels
    assert regions is not None
    assert targets is not None
    found = explainer(name, classifier, **ON_SHAPES[name]).explain(images, targets)
    noise = explainer("random", classifier).explain(images, targets)

    def on_the_shape(maps: Tensor) -> Tensor:
        return (maps * regions).sum((1, 2)) / maps.sum((1, 2))

    chance = regions.float().mean((1, 2))
    assert (on_the_shape(found) > 1.5 * chance).all()
    assert (on_the_shape(found) > on_the_shape(noise)).all()
