"""From a picture to an explanation, and from explanations to files: whole or not at all."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.tiny_models import TINY, cnn
from torch import Tensor, nn

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.explainers import GradCAM, Saliency, explainer
from seewhy.explanation.explain import Explanation, explain_targets, percent, predict, prepare
from seewhy.explanation.files import comparison, slug, write
from seewhy.explanation.targets import classes_of_targets


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


# -- explain ------------------------------------------------------------------------------------------------------


def test_a_file_a_picture_an_array_and_a_tensor_agree(small: Classifier, picture: Image.Image, tmp_path: Path) -> None:
    picture.save(tmp_path / "dog.png")
    seen, _ = prepare(picture, small)
    sources = [tmp_path / "dog.png", str(tmp_path / "dog.png"), picture, np.asarray(picture), seen]
    done = [seewhy.explain(source, small, "saliency") for source in sources]
    assert [e.name for e in done] == ["dog.png", "dog.png", "picture", "array", "tensor"]
    for e in done:
        assert torch.equal(e.map, done[0].map)
        assert torch.equal(e.image, seen)
        assert e.map.shape == (16, 16)
        assert e.probability == done[0].probability
        assert e.class_name == small.class_name(e.target)


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


def test_a_tensor_is_given_to_the_network_as_it_is(small: Classifier) -> None:
    """Of another size than the network's own, too."""
    image = torch.rand(3, 20, 28)
    e = seewhy.explain(image, small, "saliency", 0)
    assert torch.equal(e.image, image)
    assert torch.equal(e.map, Saliency(small).explain(image[None], torch.tensor([0]))[0])


def test_a_network_for_gray_pictures(picture: Image.Image) -> None:
    module = cnn()
    module[0] = nn.Conv2d(1, 6, 3, padding=1)  # type: ignore[index]
    gray = Classifier(module.eval(), mean=(0.5,), std=(0.25,), input_size=(16, 16))
    e = seewhy.explain(picture, gray, "saliency")
    assert e.image.shape == (1, 16, 16)
    seen, _ = prepare(picture, TINY["cnn"]())
    weights = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    assert (e.image[0] - (seen * weights).sum(0)).abs().max() < 1.5 / 255
    assert e.overlay().width == 448


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


# -- targets ------------------------------------------------------------------------------------------------------


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


# -- one explanation ----------------------------------------------------------------------------------------------


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


def test_a_save_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_text("old")
    write_bytes = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        write_bytes(path, content[:7])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SeewhyError, match=r"cannot write .*a.png: No space left on device"):
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


def test_a_name_that_every_file_system_takes() -> None:
    assert slug("golden retriever") == "golden_retriever"
    assert slug("../../etc/passwd") == "etc_passwd"
    assert slug("a:b*c?") == "a_b_c"
    assert slug("Äffchen-2") == "Äffchen-2"
    assert slug("...") == "_"


# -- many explanations ---------------------------------------------------------------------------------------------


def test_the_files_of_a_run(tmp_path: Path) -> None:
    groups = [[made("dog.jpg"), made("dog.jpg", 1, "bee, insect")], [made("cat.png", method="saliency")]]
    files = write(tmp_path / "out", groups, {"model": "small"})
    names = ["cat.saliency.dog.npy", "cat.saliency.dog.png", "dog.grad_cam.bee.npy", "dog.grad_cam.bee.png"]
    names += ["dog.grad_cam.dog.npy", "dog.grad_cam.dog.png", "dog.sheet.png"]
    assert sorted(p.name for p in files[:-1]) == names
    assert files[-1] == tmp_path / "out" / "manifest.json"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted([*names, "manifest.json"])
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    manifest = json.loads(files[-1].read_text())
    assert manifest["model"] == "small"
    assert manifest["schema"] == 1
    assert set(manifest["versions"]) == {"python", "seewhy", "torch", "torchvision", "timm"}
    entry = {"picture": "dog.jpg", "explainer": "grad_cam", "target": 1, "class": "bee, insect", "probability": 0.25}
    assert manifest["explanations"][1] == {**entry, "overlay": "dog.grad_cam.bee.png", "map": "dog.grad_cam.bee.npy"}
    assert len(manifest["explanations"]) == 3
    assert np.array_equal(np.load(tmp_path / "out" / "dog.grad_cam.bee.npy"), groups[0][1].map.numpy())


def test_equal_names_do_not_meet(tmp_path: Path) -> None:
    """Two pictures of one name, and two classes of one name: every map has a file of its own."""
    groups = [[made("a/dog.jpg", 2, "crane"), made("a/dog.jpg", 3, "crane")], [made("b/dog.png", 4, "crane")]]
    files = write(tmp_path, groups, {})
    maps = sorted(p.name for p in files if p.suffix == ".npy")
    assert maps == ["dog-2.grad_cam.crane.npy", "dog.grad_cam.crane-2.npy", "dog.grad_cam.crane.npy"]
    entries = json.loads((tmp_path / "manifest.json").read_text())["explanations"]
    assert len({entry["map"] for entry in entries}) == 3
    for entry, e in zip(entries, [*groups[0], *groups[1]], strict=True):
        assert np.array_equal(np.load(tmp_path / entry["map"]), e.map.numpy())


def test_names_that_look_alike_do_not_meet(tmp_path: Path) -> None:
    """A picture whose name ends like a numbered one; two names that one slug stands for; names in capitals."""
    pictures = ["a.png", "a.jpg", "a-2.png", "a b.png", "a_b.png", "A.png"]
    files = write(tmp_path, [[made(name, i)] for i, name in enumerate(pictures)], {})
    assert len({p.name.lower() for p in files}) == 2 * len(pictures) + 1
    entries = json.loads((tmp_path / "manifest.json").read_text())["explanations"]
    for i, entry in enumerate(entries):
        assert np.load(tmp_path / entry["map"])[0, 0] == i


def test_what_was_there_before_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    write(tmp_path, [[made(target=1)]], {"run": 1})
    write(tmp_path, [[made(target=2)]], {"run": 2})
    assert np.load(tmp_path / "dog.grad_cam.dog.npy")[0, 0] == 2
    assert json.loads((tmp_path / "manifest.json").read_text())["run"] == 2
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("failure", [RuntimeError("boom"), KeyboardInterrupt(), SeewhyError("no")], ids=repr)
def test_an_interrupted_run_leaves_nothing(failure: BaseException, tmp_path: Path) -> None:
    def pictures() -> Iterator[Sequence[Explanation]]:
        yield [made()]
        raise failure

    with pytest.raises(type(failure)):
        write(tmp_path / "deep" / "out", pictures(), {})
    assert list(tmp_path.iterdir()) == []


def test_an_interrupted_run_leaves_the_last_one(tmp_path: Path) -> None:
    def pictures() -> Iterator[Sequence[Explanation]]:
        yield [made(target=2)]
        raise KeyboardInterrupt

    write(tmp_path, [[made(target=1)]], {})
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, pictures(), {})
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_the_sheet_has_a_row_for_each_class() -> None:
    group = [made(target=t, class_name=c, method=m) for m in ("grad_cam", "saliency") for t, c in ((1, "bee"), (3, "dog"))]
    sheet = comparison(group)
    single = comparison(group[:1] + group[2:3])
    assert sheet.width == single.width, "the picture and two methods"
    assert sheet.height > single.height
