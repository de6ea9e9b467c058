"""Why not the class that was expected: shares of maps, their difference, and where they part."""

import json
from dataclasses import replace
from math import exp
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.command import run
from support.tiny_models import TINY
from torch import Tensor

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.explanation.expected import SMOOTH, ClassContrast, ClassContrasts, contrast
from seewhy.explanation.explanation import Explanation


@pytest.fixture
def small() -> Classifier:
    return TINY["cnn"]()


@pytest.fixture
def picture() -> Tensor:
    return torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))


def two(first: Tensor, second: Tensor) -> tuple[Explanation, Explanation]:
    """Explanations of two classes without a network."""
    image = torch.full((3, *first.shape), 0.5)
    return Explanation(first, 0, "ant", 0.9, "m", image), Explanation(second, 1, "bee", 0.1, "m", image)


def literal(first: Tensor, second: Tensor) -> tuple[list[list[float]], float, set[tuple[int, int]]]:
    """Difference, what lies elsewhere and the region, pixel by pixel."""
    h, w = first.shape
    maps = [[[float(v) for v in row] for row in values.double()] for values in (first, second)]
    signed = any(v < 0 for values in maps for row in values for v in row)
    shares = []
    for values in maps:
        low = 0.0 if signed else min(v for row in values for v in row)
        total = sum(abs(v - low) for row in values for v in row)
        shares.append([[(v - low) / total if total else 0.0 for v in row] for row in values])
    difference = [[shares[0][y][x] - shares[1][y][x] for x in range(w)] for y in range(h)]
    elsewhere = sum(abs(v) for row in difference for v in row) / 2
    sigma = min(h, w) / SMOOTH
    reach = int(4 * sigma + 0.5)
    weights = [exp(-(d**2) / (2 * sigma**2)) for d in range(-reach, reach + 1)]
    weights = [weight / sum(weights) for weight in weights]
    smooth = [[0.0] * w for _ in range(h)]
    for y in range(h):
        for x in range(w):
            for j, b in enumerate(weights):
                for i, a in enumerate(weights):
                    yy, xx = y + j - reach, x + i - reach
                    if 0 <= yy < h and 0 <= xx < w:
                        smooth[y][x] += b * a * difference[yy][xx]
    top, at = max((abs(smooth[y][x]), (y, x)) for y in range(h) for x in range(w))
    sign = 1 if smooth[at[0]][at[1]] > 0 else -1
    region, ahead = set(), [at]
    while ahead:
        y, x = ahead.pop()
        if (y, x) not in region and 0 <= y < h and 0 <= x < w and sign * smooth[y][x] >= top / 2:
            region.add((y, x))
            ahead += [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
    return [[v * h * w for v in row] for row in difference], elsewhere, region


@pytest.mark.parametrize("kind", ["unsigned", "signed", "one signed"])
def test_the_contrast_is_its_definition_pixel_by_pixel(kind: str) -> None:
    generator = torch.Generator().manual_seed(1)
    first, second = (torch.rand(40, 24, generator=generator) ** 4 for _ in range(2))
    if kind == "signed":
        first, second = first - 0.3, second - 0.1
    elif kind == "one signed":
        second = second - 0.1
    found = contrast(*two(first, second))
    difference, elsewhere, region = literal(first, second)
    torch.testing.assert_close(
        found.difference.double(), torch.tensor(difference, dtype=torch.float64), atol=1e-4, rtol=1e-4
    )
    assert found.elsewhere == pytest.approx(elsewhere)
    assert {tuple(at) for at in found.parting.region.nonzero().tolist()} == region


def test_neither_height_nor_offset_of_a_map_counts() -> None:
    """One class may have a hundred times the score of the other, and a map of masks stands on an offset."""
    values = [torch.rand(32, 32) for _ in range(2)]
    expected = contrast(*two(*values))
    found = contrast(*two(values[0] * 100 + 7, values[1] / 50))
    torch.testing.assert_close(found.difference, expected.difference, atol=1e-4, rtol=1e-3)
    assert found.parting.place == expected.parting.place


@pytest.mark.parametrize(
    ("at", "place"), [((3, 3), "upper left"), ((16, 16), "center"), ((28, 16), "bottom"), ((16, 30), "right")]
)
def test_two_spots_part_at_the_sharper_one(at: tuple[int, int], place: str) -> None:
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(32.0), indexing="ij")
    spot = torch.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / 8)
    wide = torch.exp(-((y - 16) ** 2 + (x - 4) ** 2) / 400)
    found = contrast(*two(spot, wide))
    assert found.parting.place == place
    assert found.parting.region[at]
    assert found.parting.predicted == pytest.approx(float(spot[found.parting.region].sum() / spot.sum()), abs=1e-3)
    assert found.parting.predicted > found.parting.expected >= 0
    assert (found.difference[found.parting.region] > 0).all()
    again = contrast(*two(wide, spot))
    assert torch.equal(again.parting.region, found.parting.region)
    torch.testing.assert_close(again.difference, -found.difference)
    assert "most at" in found.caption
    assert place in found.caption


def test_maps_that_do_not_differ_and_maps_of_one_value() -> None:
    values = torch.rand(32, 32)
    same = contrast(*two(values, 3 * values))
    assert same.said == ("the maps do not differ",)
    assert not same.parting.region.any()
    flat = contrast(*two(values, torch.zeros(32, 32)))
    assert flat.said == ("the map of bee is constant",)
    assert flat.elsewhere == pytest.approx(0.5)
    assert contrast(*two(torch.ones(32, 32), torch.zeros(32, 32))).said == ("both maps are constant",)
    for one in (same, flat):
        assert one.sheet().width > 4 * 224


def test_it_is_asked_for_in_one_call(small: Classifier, picture: Tensor, tmp_path: Path) -> None:
    likely = small.probabilities(picture[None])[0].argsort(descending=True).tolist()
    found = seewhy.explain(picture, small, "grad_cam", expected=likely[2])
    assert isinstance(found, ClassContrast)
    assert (found.predicted.target, found.expected.target) == (likely[0], likely[2])
    for e in (found.predicted, found.expected):
        torch.testing.assert_close(e.map, seewhy.explain(picture, small, "grad_cam", e.target).map)
    by_name = seewhy.explain(picture, small, "grad_cam", expected=small.class_name(likely[2]).upper())
    assert torch.equal(by_name.difference, found.difference)
    found.save(tmp_path / "a.png")
    found.save(tmp_path / "a.npy")
    assert np.array_equal(np.load(tmp_path / "a.npy"), found.difference.numpy())
    assert Image.open(tmp_path / "a.png").size == found.sheet().size
    assert found._repr_png_()[:4] == b"\x89PNG"


def test_several_pictures_and_methods(small: Classifier, picture: Tensor) -> None:
    others = [picture.roll(4, 1), 1 - picture, picture**2]
    expected = next(c for c in range(5) if c != int(small.logits(picture[None]).argmax()))
    pictures = [picture, *others]
    said = [int(small.logits(p[None]).argmax()) for p in pictures]
    with pytest.warns(UserWarning, match="random makes the same map for every class"):
        found = seewhy.explain(pictures, small, ["grad_cam", "random", "saliency"], expected=expected)
    assert isinstance(found, ClassContrasts)
    assert len(found) == 2 * sum(c != expected for c in said)
    assert [c.explainer for c in found[:2]] == ["grad_cam", "saliency"]
    assert found.sheet().height > found[:2].sheet().height or len(found) == 2


def test_what_has_no_answer_is_one_line(small: Classifier, picture: Tensor) -> None:
    said = int(small.logits(picture[None]).argmax())
    other = (said + 1) % 5

    def error(**asked: Any) -> str:
        with pytest.raises(SeewhyError) as caught:
            seewhy.explain(picture, asked.pop("classifier", small), **asked)
        return str(caught.value)

    name = small.class_name(said)
    assert error(expected=said).startswith(f"tensor: {name} (")
    assert error(expected=name).endswith("which you expected, is the predicted class: there is nothing to compare")
    assert error(explainer="random", expected=other).startswith("random makes the same map for every class, which cannot")
    assert error(expected=other, target=other) == "expected is compared with the predicted class: leave target out"
    assert error(expected="zebra").startswith("class 'zebra' does not exist")
    values = replace(small, outputs="values")
    assert "this network returns values" in error(classifier=values, expected=other)


def test_a_network_of_several_labels(picture: Tensor) -> None:
    network = TINY["cnn_multilabel"]()
    probabilities = network.probabilities(picture[None])[0]
    order = probabilities.argsort(descending=True).tolist()
    unsaid = [c for c in order if probabilities[c] <= 0.5 and c != order[0]]
    found = seewhy.explain(picture, network, "saliency", expected=unsaid[0])
    assert (found.predicted.target, found.expected.target) == (order[0], unsaid[0])
    sure = replace(network, module=Shifted(network.module))
    with pytest.raises(SeewhyError, match="which you expected, is one of the classes that the network says"):
        seewhy.explain(picture, sure, "saliency", expected=order[1])


class Shifted(torch.nn.Module):
    """The network, surer of every class."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, images: Tensor) -> Tensor:
        return self.module(images) + 50


@pytest.mark.parametrize("kind", ["vit", "shapes"])
def test_transformers_and_learned_explainers(kind: str) -> None:
    network = seewhy.load("shapes") if kind == "shapes" else TINY[kind]()
    image = torch.rand(3, *network.input_size, generator=torch.Generator().manual_seed(3))
    least = int(network.logits(image[None]).argmin())
    methods = ["grad_cam", "nn_explainer"] if kind == "shapes" else ["grad_cam", "saliency"]
    found = seewhy.explain(image, network, methods, expected=least)
    assert [c.explainer for c in found] == methods
    assert all(0 <= c.elsewhere <= 1 and c.difference.isfinite().all() for c in found)


def test_the_command(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shapes = seewhy.load("shapes")
    images = seewhy.dataset("shapes", shapes, 3).batch([0, 1, 2]).images
    said = [int(shapes.logits(image[None]).argmax()) for image in images]
    for i, image in enumerate(images):
        Image.fromarray((255 * image).byte().permute(1, 2, 0).numpy()).save(f"{i}.png")
    expected = shapes.class_name(said[0])
    base = ["explain", "0.png", "1.png", "2.png", "--model", "shapes", "--explainer", "grad_cam", "--explainer", "random"]
    result = run(capfd, *base, "--expected", expected, "--out", "out")
    assert result.status == 0
    assert "left out: random makes the same map for every class" in result.err
    assert f"left out: 0.png: {expected} (" in result.err
    manifest = json.loads(Path("out/manifest.json").read_text())
    entries = manifest["contrasts"]
    assert manifest["expected"] == expected
    assert [e["picture"] for e in entries] == [f"{i}.png" for i in (1, 2) if said[i] != said[0]]
    for entry in entries:
        difference = np.load(Path("out") / entry["difference"])
        again = seewhy.explain(entry["picture"], shapes, expected=expected)
        np.testing.assert_allclose(difference, again.difference.numpy(), atol=1e-4)
        assert entry["parting"]["place"] == again.parting.place
        assert (Path("out") / entry["sheet"]).is_file()
    for arguments, line in (
        (["--expected", expected], "which you expected, is the predicted class"),
        (["--expected", "zebra"], "class 'zebra' does not exist"),
        (["--expected", "heart", "--target", "star"], "--expected compares with the predicted class: leave --target out"),
        (["--expected", "heart", "--explainer", "center"], "center makes the same map for every class"),
    ):
        result = run(capfd, "explain", "0.png", "--model", "shapes", *arguments, "--out", "none")
        assert result.status == 2
        assert line in result.err
        assert not Path("none").exists()
