"""One picture explained, and one explanation saved: whole or not at all."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.full_disk import no_file_above
from support.tiny_models import TINY
from torch import Tensor

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.explainers import GradCAM, explainer
from seewhy.explanation.explain import explain_targets, predict
from seewhy.explanation.explanation import Explanation, Explanations, percent
from seewhy.explanation.prepare import prepare
from seewhy.explanation.targets import class_of_target, classes_of_targets


@pytest.fixture
def small() -> Classifier:
    return TINY["cnn"]()


@pytest.fixture
def picture() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8)
    return Image.fromarray(pixels).resize((40, 30), Image.Resampling.BICUBIC)


def made(name: str = "dog.jpg", target: int = 3, class_name: str = "dog", method: str = "grad_cam") -> Explanation:
    """An explanation without a network."""
    values = torch.linspace(0, 1, 16 * 16).view(16, 16) + target
    return Explanation(values, target, class_name, 0.25, method, torch.full((3, 16, 16), 0.5), name)


def test_the_predicted_class_by_default(small: Classifier, picture: Image.Image) -> None:
    seen, _ = prepare(picture, small)
    with torch.no_grad():
        probabilities = small.probabilities(seen[None])[0]
    e = seewhy.explain(picture, small)
    assert e.explainer == "grad_cam"
    assert e.target == probabilities.argmax()
    assert e.probability == pytest.approx(float(probabilities.max()))
    assert torch.equal(e.map, GradCAM(small).explain(seen[None], torch.tensor([e.target]))[0])


@pytest.mark.parametrize("target", [2, "2", "cat", "CAT"])
def test_a_class_by_index_or_name(small: Classifier, picture: Image.Image, target: int | str) -> None:
    e = seewhy.explain(picture, small, "saliency", target)
    assert (e.target, e.class_name) == (2, "cat")
    other = seewhy.explain(picture, small, "saliency", "ant")
    assert not torch.equal(e.map, other.map)
    assert e.probability != other.probability


def test_an_explainer_with_options(small: Classifier, picture: Image.Image) -> None:
    e = seewhy.explain(picture, small, seewhy.explainer("smooth_grad", small, samples=2, seed=7))
    assert e.explainer == "smooth_grad"
    again = seewhy.explain(picture, small, explainer("smooth_grad", small, samples=2, seed=8))
    assert not torch.equal(e.map, again.map)


def test_a_network_in_half_precision(picture: Image.Image, tmp_path: Path) -> None:
    half = replace(TINY["cnn"](), module=TINY["cnn"]().module.bfloat16())
    e = seewhy.explain(picture, half, "grad_cam")
    e.save(tmp_path / "a.npy")
    e.save(tmp_path / "a.png")
    assert np.load(tmp_path / "a.npy").dtype == np.float32


def test_several_classes_at_once_are_those_of_single_runs(small: Classifier, picture: Image.Image) -> None:
    seen, name = prepare(picture, small)
    probabilities = predict(seen, small, name)
    methods = {n: explainer(n, small) for n in ("grad_cam", "saliency")}
    done = explain_targets(seen, small, methods, [3, 0, 1], probabilities, name)
    assert [(e.explainer, e.target) for e in done] == [(m, t) for m in methods for t in (3, 0, 1)]
    for e in done:
        torch.testing.assert_close(e.map, seewhy.explain(picture, small, e.explainer, e.target).map)


def test_a_map_that_is_not_finite_is_an_error(small: Classifier, picture: Image.Image) -> None:
    class Bad:
        family, class_specific, paper = "reference", False, ""

        def explain(self, images: Tensor, targets: Tensor) -> Tensor:
            return images[:, 0] * torch.nan

    with pytest.raises(SeewhyError, match="Bad gives NaN for picture"):
        seewhy.explain(picture, small, Bad())  # type: ignore[arg-type]


def test_an_explainer_with_options_is_called_what_the_registry_calls_it(small: Classifier, picture: Image.Image) -> None:
    for name in ("igos_pp", "grad_cam_pp", "opti_cam_fast"):
        own = seewhy.explainer(name, small, **({"iterations": 1} if name == "igos_pp" else {}))
        assert seewhy.explain(picture, small, own).explainer == name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("predicted", [1]),
        ("all", [0, 1, 2, 3, 4]),
        ("top:1", [1]),
        ("top:3", [1, 4, 0]),
        ("3", [3]),
        ("dog", [3]),
        ("dog,ant", [3, 0]),
        ("dog, 1 ,DOG,3", [3, 1]),
    ],
)
def test_targets_as_they_are_written(small: Classifier, text: str, expected: list[int]) -> None:
    probabilities = torch.tensor([0.2, 0.4, 0.05, 0.1, 0.25])
    assert classes_of_targets(text, small, probabilities) == expected


def test_a_name_with_a_comma_is_one_class(small: Classifier) -> None:
    names = replace(small, classes=("tench, Tinca tinca", "bee", "cat", "dog", "elk"))
    assert classes_of_targets("tench, tinca tinca", names, torch.zeros(5)) == [0]
    assert classes_of_targets("bee,cat", names, torch.zeros(5)) == [1, 2]
    assert classes_of_targets("dog,tench, Tinca tinca,bee", names, torch.zeros(5)) == [3, 0, 1]
    assert classes_of_targets("tench,bee", names, torch.zeros(5)) == [0, 1]
    twice = replace(small, classes=("crane, bird", "crane, bird", "crane", "bird", "elk"))
    with pytest.raises(SeewhyError, match="2 classes are called 'crane, bird'; give the index: 0 'crane, bird', 1 "):
        classes_of_targets("crane, bird", twice, torch.zeros(5))


def test_classes_that_are_called_by_numbers(small: Classifier) -> None:
    numbers = replace(small, classes=("0", "1", "10", "11", "2"))
    assert classes_of_targets("10", numbers, torch.zeros(5)) == [2]
    assert classes_of_targets("2, 11,10", numbers, torch.zeros(5)) == [4, 3, 2]
    assert class_of_target("10", torch.zeros(2, 5), None, numbers).tolist() == [2, 2]
    with pytest.raises(SeewhyError, match="class '3' does not exist"):
        classes_of_targets("1,3", numbers, torch.zeros(5))
    thousands = replace(small, classes=("1", "000", "1,000", "a", "b"))
    assert classes_of_targets("1,000", thousands, torch.zeros(5)) == [2], "the longest name"


def test_a_class_that_is_called_like_a_target(small: Classifier) -> None:
    """The default "predicted" must stay the predicted class; the answer is said."""
    words = replace(small, classes=("predicted", "all", "second", "top:2", "elk"))
    probabilities = torch.tensor([0.2, 0.4, 0.05, 0.1, 0.25])
    expected = {"predicted": [1], "second": [4], "all": [0, 1, 2, 3, 4], "top:2": [1, 4]}
    for i, (word, classes) in enumerate([(word, expected[word]) for word in words.classes[:4]]):
        with pytest.warns(UserWarning, match=f"target '{word}' is no class here, although class {i} is called so"):
            assert classes_of_targets(word, words, probabilities) == classes
        assert classes_of_targets(str(i), words, probabilities) == [i]
    with pytest.warns(UserWarning, match="give the index 0 for the class"):
        assert class_of_target("predicted", probabilities[None], None, words).tolist() == [1]
    picture = torch.rand(3, 16, 16)
    with pytest.warns(UserWarning, match="target 'second' is no class here"):
        likely = seewhy.explain(picture, words, "saliency", "second")
    assert likely.target == seewhy.explain(picture, words, "saliency", ["top:2"])[1].target


def test_an_explanation_saves_itself(tmp_path: Path) -> None:
    e = made()
    e.save(tmp_path / "map.npy")
    e.save(str(tmp_path / "overlay.png"))
    e.save(tmp_path / "overlay.JPG")
    assert np.array_equal(np.load(tmp_path / "map.npy"), e.map.numpy())
    assert Image.open(tmp_path / "overlay.png").tobytes() == e.overlay().tobytes()
    assert Image.open(tmp_path / "overlay.JPG").format == "JPEG"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["map.npy", "overlay.JPG", "overlay.png"]


def test_it_shows_itself_in_a_notebook() -> None:
    e = made()
    shown = Image.open(BytesIO(e._repr_png_()))
    assert shown.format == "PNG"
    assert shown.tobytes() == e.overlay().tobytes()


@pytest.mark.parametrize(
    ("name", "says"),
    [("a.txt", "name it .png"), ("a", "name it .png"), ("a.psd", "name it .png"), ("no/a.png", "there is no folder")],
)
def test_a_file_that_cannot_be(name: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(SeewhyError, match=says):
        made().save(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_save_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("old")
    with no_file_above(7), pytest.raises(SeewhyError, match=r"cannot write .*a.png: File too large"):
        made().save(tmp_path / "a.png")
    assert {p.name: p.read_text() for p in tmp_path.iterdir()} == {"a.png": "old"}


def test_a_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "a.png").mkdir()
    with pytest.raises(SeewhyError, match="cannot write"):
        made().save(tmp_path / "a.png")
    assert [p.name for p in tmp_path.rglob("*")] == ["a.png"]


@pytest.mark.parametrize(
    ("probability", "text"),
    [
        (1.0, "100.0 %"),
        (0.9998, ">99.9 %"),
        (0.5, "50.0 %"),
        (0.0049, "0.5 %"),
        (0.0002, "<0.1 %"),
        (0.0, "0.0 %"),
    ],
)
def test_a_probability_in_words(probability: float, text: str) -> None:
    assert percent(probability) == text


def test_a_caption_names_class_and_probability() -> None:
    assert made(class_name="tench, Tinca tinca").caption == "tench  25.0 %"


def test_several_pictures_classes_and_methods_are_those_of_single_calls(small: Classifier, tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    pictures = [torch.rand(3, 16, 16, generator=generator) for _ in range(3)]
    found = seewhy.explain(pictures, small, ["grad_cam", "random"], ["dog", 1, "top:2"])
    assert isinstance(found, Explanations)
    likely = [small.logits(p[None])[0].topk(2).indices.tolist() for p in pictures]
    targets = [list(dict.fromkeys([3, 1, *of])) for of in likely]
    names = [f"tensor {i + 1}" for i in range(3)]
    expected = [(n, m, t) for n, of in zip(names, targets, strict=True) for m in ("grad_cam", "random") for t in of]
    assert [(e.name, e.explainer, e.target) for e in found] == expected
    for e in found:
        single = seewhy.explain(pictures[names.index(e.name)], small, e.explainer, e.target)
        torch.testing.assert_close(e.map, single.map)
        assert (e.probability, e.class_specific) == (pytest.approx(single.probability), e.explainer == "grad_cam")
    assert len(found.of(name="tensor 2")) == 2 * len(targets[1])
    assert {e.explainer for e in found.of(explainer="random", target="dog")} == {"random"}
    assert found[1:3].items == found.items[1:3]
    for given in ([], {}):
        with pytest.raises(SeewhyError, match="there is no explainer"):
            seewhy.explain(pictures, small, given)
    with pytest.raises(SeewhyError, match="there is no picture"):
        seewhy.explain([], small)
    with pytest.raises(SeewhyError, match="there is no target"):
        seewhy.explain(pictures, small, target=[])


@pytest.mark.parametrize(
    ("target", "n"),
    [(None, 0), (1, 0), ("predicted", 0), ("second", 0), ("dog", 0), ("dog,ant", 2), ("top:1", 1), ("top:3", 3), ("all", 5),
     ([2], 1)],
)  # fmt: skip
def test_one_of_each_is_an_explanation_and_several_are_a_sheet(
    small: Classifier, picture: Image.Image, target: object, n: int
) -> None:
    found = seewhy.explain(picture, small, "grad_cam", target)  # type: ignore[call-overload]
    assert isinstance(found, Explanations if n else Explanation)
    assert n == 0 or len(found) == n


def test_a_folder_is_several_pictures_and_a_list_of_one_is_several(
    small: Classifier, picture: Image.Image, tmp_path: Path
) -> None:
    for name in ("a.png", "b.png"):
        picture.save(tmp_path / name)
    assert [e.name for e in seewhy.explain(tmp_path, small)] == ["a.png", "b.png"]  # type: ignore[attr-defined]
    assert len(seewhy.explain([tmp_path, picture], small)) == 3
    assert len(seewhy.explain([picture], small)) == 1
    assert len(seewhy.explain(picture, small, ["grad_cam"])) == 1


def test_two_explainers_of_one_name_get_names_in_a_mapping(small: Classifier, picture: Image.Image) -> None:
    several = [explainer("smooth_grad", small, samples=n) for n in (1, 2)]
    with pytest.raises(SeewhyError, match="two explainers are called smooth_grad: give a mapping"):
        seewhy.explain(picture, small, several)
    named = seewhy.explain(picture, small, dict(zip("ab", several, strict=True)))
    assert [e.explainer for e in named] == ["a", "b"]


def test_a_map_that_is_the_same_for_every_class_is_made_once(small: Classifier, picture: Image.Image) -> None:
    calls: list[int] = []

    class Same:
        family, class_specific, paper = "reference", False, ""

        def explain(self, images: Tensor, targets: Tensor) -> Tensor:
            calls.append(len(targets))
            return images[:, 0] - 0.5

    found = seewhy.explain(picture, small, {"same": Same()}, "all")  # type: ignore[dict-item]
    assert calls == [1]
    assert len(found) == 5
    assert not any(e.class_specific or e.signed for e in found), "its sign speaks for no class"
    assert found[0].scale.colormap == "inferno"


def test_the_true_class_is_unknown(small: Classifier, picture: Image.Image) -> None:
    with pytest.raises(SeewhyError, match="target 'label' is the true class, which a picture does not say"):
        seewhy.explain(picture, small, target="label")


def test_several_explanations_save_a_sheet_or_all_files(small: Classifier, picture: Image.Image, tmp_path: Path) -> None:
    found = seewhy.explain(picture, small, ["grad_cam", "saliency"], "top:2")
    found.save(tmp_path / "sheet.png")
    assert Image.open(tmp_path / "sheet.png").tobytes() == found.sheet().tobytes()
    assert Image.open(BytesIO(found._repr_png_())).tobytes() == found.sheet().tobytes()
    found.save(tmp_path / "all")
    assert len(list((tmp_path / "all").glob("*.npy"))) == 4
    assert (tmp_path / "all" / "manifest.json").is_file()
    with pytest.raises(SeewhyError, match=r"name it .png for the sheet, or give a folder"):
        found.save(tmp_path / "sheet.txt")


def test_figures_of_matplotlib(small: Classifier, picture: Image.Image) -> None:
    from matplotlib.figure import Figure

    found = seewhy.explain(picture, small, ["grad_cam", "random", "saliency"], "top:2")
    own = found[0].figure()
    assert own.axes[0].get_title() == f"{found[0].caption}\ngrad_cam"
    assert len(own.axes) == 2, "the map, and its scale"
    figure = Figure()
    axes = figure.subplots(1, 2)
    assert found[0].figure(axes=axes[1]) is figure
    assert (len(axes[0].images), len(axes[1].images)) == (0, 1)
    low, high, _ = found[0].scale
    assert figure.axes[2].get_ylim() == pytest.approx((low, high))
    whole = found.figure()
    assert sum(bool(one.images) for one in whole.axes if one.get_title()) == 1 + 5, (
        "the photograph, and a map of no class once"
    )
    six = Figure().subplots(2, 3)
    assert found.figure(axes=six) is six[0, 0].figure
    assert all(one.images for one in six.flat)
    for wrong in (six[0], "axes"):
        with pytest.raises(SeewhyError, match="axes are those of matplotlib, one for each of 6 maps"):
            found.figure(axes=wrong)  # type: ignore[arg-type]
    with pytest.raises(SeewhyError, match="axes are those of matplotlib, one for each of 1 maps"):
        found[0].figure(axes=six)
