"""What all masks found by descent keep to: planted evidence, wrong options, trained networks."""

import pytest
import torch
from support.slow_masks import planted
from torch import Tensor

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.data.shapes.shapes import Shapes
from seewhy.errors import SeewhyError
from seewhy.explainers import explainer

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
