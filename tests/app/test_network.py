"""Texts and pictures to compare with, on the command line."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from support.command import run
from support.two_towers import clip_folder

import seewhy

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clip_folder(tmp_path_factory.mktemp("two") / "clip")


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with pictures in folders of classes."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for seed, name in enumerate(("a_dog/1.png", "a_dog/2.png", "cat/1.png", "cat/2.png")):
        file = tmp_path / "pictures" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = torch.randint(0, 255, (40, 40, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(file)
    return tmp_path


def test_texts_are_targets(work: Path, clip: Path, capfd: Capture) -> None:
    (work / "texts.txt").write_text("a dog\nzebra, b\n")
    templates = ("--template", "the {}", "--template", "{} c")
    result = run(
        capfd, "explain", "pictures/cat/1.png", "--model", f"hf/{clip}", "--texts", "texts.txt", *templates,
        "--explainer", "grad_cam", "--explainer", "grad_eclip", "--target", "zebra, b",
    )  # fmt: skip
    assert (result.status, result.err) == (0, "")
    classifier = seewhy.load(f"hf/{clip}", texts=["a dog", "zebra, b"], template=["the {}", "{} c"])
    expected = seewhy.explain("pictures/cat/1.png", classifier, "grad_eclip", "zebra, b")
    assert f"pictures/cat/1.png: {expected.caption}, grad_eclip" in result.out.splitlines()
    assert "texts in: the {}; {} c" in result.out.splitlines()
    assert expected.caption.startswith("zebra, b  ")
    about = json.loads(Path("explanations/manifest.json").read_text())["classifier"]
    assert about["compared_with"]["value"]["templates"] == ["the {}", "{} c"]
    assert about["classes"] == {"value": 2, "from": "the texts"}


def test_several_texts_on_the_line(work: Path, clip: Path, capfd: Capture) -> None:
    """One value holds texts with commas; of several values each is a text."""
    line = ("explain", "pictures/cat/1.png", "--model", f"hf/{clip}", "--explainer", "saliency", "--target", "all")
    run(capfd, *line, "--texts", "a dog,cat", "--out", "one")
    run(capfd, *line, "--texts", "a dog, b", "--texts", "cat", "--out", "two")
    named = {
        out: [e["class"] for e in json.loads(Path(out, "manifest.json").read_text())["explanations"]]
        for out in ("one", "two")
    }
    assert named == {"one": ["a dog", "cat"], "two": ["a dog, b", "cat"]}


def test_similar_to_a_picture(work: Path, capfd: Capture) -> None:
    result = run(
        capfd, "explain", "pictures/cat/1.png", "--model", "shapes", "--similar-to", "pictures/cat/2.png",
        "--explainer", "grad_cam",
    )  # fmt: skip
    assert (result.status, result.err) == (0, "")
    similar = seewhy.similar_to(seewhy.load("shapes"), "pictures/cat/2.png")
    expected = seewhy.explain("pictures/cat/1.png", similar, "grad_cam")
    assert result.out.splitlines()[2] == f"pictures/cat/1.png: {expected.caption}, grad_cam"
    assert expected.caption.startswith("similar to 2.png  ")
    (entry,) = json.loads(Path("explanations/manifest.json").read_text())["explanations"]
    assert entry["output"] == "similar to 2.png"


def test_the_classes_of_the_dataset_are_the_texts(work: Path, clip: Path, capfd: Capture) -> None:
    line = ("evaluate", "--model", f"hf/{clip}", "--texts", "dataset", "--data", "pictures", "--metric", "average_drop")
    line = (*line, "--explainer", "saliency", "--target", "label", "--out", "runs")
    result = run(capfd, *line, "--template", "the {}")
    assert (result.status, result.err) == (0, "")
    found = seewhy.open_run("runs")
    classifier = seewhy.load(f"hf/{clip}", texts=["a dog", "cat"], template="the {}")
    dataset = seewhy.dataset("pictures", classifier)
    expected = seewhy.evaluate(classifier, ["saliency"], ["average_drop"], dataset, target="label")
    assert found.scores.sort("image_id")["value"].to_list() == pytest.approx(expected.frame["value"].to_list())
    assert found.manifest.classes == ["a dog", "cat"]
    assert found.manifest.asked.classifier["compared_with"]["templates"] == ["the {}"]
    again = run(capfd, *line, "--template", "a {}")
    assert again.status == 2
    assert "runs has a run of another question" in again.err
    assert "templates" in again.err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--model", "shapes", "--texts", "a,b"), "shapes has no text tower"),
        (("--model", "CLIP", "--texts", "a,b", "--classes", "imagenet"), "the texts are the classes"),
        (("--model", "CLIP", "--template", "a {}"), "give texts"),
        (("--model", "CLIP", "--texts", "no.txt"), "no.txt': no such file"),
        (("--model", "CLIP", "--texts", "a,,b"), "an empty text"),
        (("--model", "CLIP"), "compares images with texts"),
        (("--model", "CLIP", "--texts", "a,b", "--target", "c"), "class 'c' does not exist"),
        (("--model", "shapes", "--similar-to", "none.png"), "none.png"),
        (("--model", "CLIP", "--similar-to", "pictures/cat/2.png", "--texts", "a,b"), "without --texts"),
        (
            ("--model", "shapes", "--similar-to", "pictures/cat/2.png", "--explainer", "smooth_pixel_mask"),
            "no probabilities",
        ),
    ],
)
def test_a_mistake_is_one_line(work: Path, clip: Path, capfd: Capture, options: tuple[str, ...], words: str) -> None:
    given = [f"hf/{clip}" if option == "CLIP" else option for option in options]
    result = run(capfd, "explain", "pictures/cat/1.png", *given)
    assert result.status == 2
    assert words in result.err
    assert len(result.err.splitlines()) == 1
    assert not Path("explanations").exists()


@pytest.mark.parametrize("names", [("0", "1"), ("n01440764", "n01443537")])
def test_numbers_are_no_texts(work: Path, clip: Path, capfd: Capture, names: tuple[str, str]) -> None:
    for old, new in zip(("a_dog", "cat"), names, strict=True):
        (work / "pictures" / old).rename(work / "pictures" / new)
    result = run(
        capfd, "evaluate", "--model", f"hf/{clip}", "--texts", "dataset", "--data", "pictures", "--metric", "average_drop"
    )  # fmt: skip
    assert result.status == 2
    assert "called by numbers, which are no texts" in result.err
