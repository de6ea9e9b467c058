"""What people write in place of the right name is done where it is plain, and else answered with the right name."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from support.command import as_users_run_it, run

import seewhy
from seewhy.app import catalog
from seewhy.errors import SeewhyError
from seewhy.explainers import EXPLAINERS
from seewhy.files import did_you_mean_file
from seewhy.registry import did_you_mean

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two pictures, as macOS and Windows leave it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("cat.png", "dog.png"):
        Image.fromarray(np.full((24, 24, 3), 90, np.uint8)).save(folder / name)
    for name in ("._cat.png", "._dog.png", ".DS_Store", "Thumbs.db", "desktop.ini"):
        (folder / name).write_bytes(b"\x00\x05\x16\x07\x00\x02\x00\x00")  # the magic number of AppleDouble
    return folder


def explained(capfd: Capture, *arguments: str) -> list[str]:
    """The pictures and classes that the command says it has explained."""
    out = run(capfd, "explain", *arguments, "--model", "shapes", "--explainer", "center", "--out", "maps").out
    return [line.partition(":")[0] for line in out.splitlines() if line.endswith("center")]


def refused(capfd: Capture, *arguments: str) -> str:
    """What the command says on stderr when it ends with the status of a mistake."""
    result = run(capfd, *arguments)
    assert result.status == 2
    return result.err


def test_what_systems_put_beside_pictures_is_left_out(photos: Path, capfd: Capture) -> None:
    assert explained(capfd, "photos") == ["photos/cat.png", "photos/dog.png"]
    by_shell = sorted(str(path.relative_to(photos.parent)) for path in photos.iterdir())
    assert explained(capfd, *by_shell) == ["photos/cat.png", "photos/dog.png"]
    said = refused(capfd, "explain", "photos/._cat.png", "--model", "shapes")
    assert "._cat.png is not a picture that can be read" in said


def test_they_are_no_failed_pictures_of_a_dataset(photos: Path, capfd: Capture) -> None:
    (photos / "labels.csv").write_text("file,label\ncat.png,circle\n._cat.png,circle\nThumbs.db,circle\ndog.png,star\n")
    command = "evaluate --data photos --model shapes --explainer center --metric complexity --out run -q"
    assert run(capfd, *command.split()).err == ""
    manifest = json.loads(Path("run/manifest.json").read_text())
    assert (manifest["images"], manifest["failures"]) == (2, [])


def test_dicom_in_a_folder_without_pydicom_is_one_line(
    photos: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (photos / "chest.dcm").write_bytes(bytes(128) + b"DICM" + bytes(64))
    monkeypatch.setitem(sys.modules, "pydicom", None)
    said = refused(capfd, "explain", "photos", "--model", "shapes")
    assert 'chest.dcm is DICOM, which needs pydicom: pip install "seewhy[dicom]"' in said
    assert said.count("\n") == 1


@pytest.mark.parametrize("target", ["top3", "top:3", "Top-3", "top 3"])
def test_the_best_three_classes(target: str, photos: Path, capfd: Capture) -> None:
    assert len(explained(capfd, "photos/cat.png", "--target", target)) == 3


@pytest.mark.parametrize(
    ("command", "says"),
    [
        ("explain photos/cta.png --model shapes", "photos/cta.png does not exist. Did you mean 'cat.png'?"),
        ("explain photos/dog.jpg --model shapes", "Did you mean 'dog.png'?"),
        ("explain photo --model shapes", "photo does not exist. Did you mean 'photos'?"),
        ("explain fotos/dog.png --model shapes", "There is no folder fotos. Did you mean 'photos'?"),
        ("explain photos --model shapes --target predcited", "Did you mean 'predicted'?"),
        ("explain photos --model shapes --target circel,star", "Did you mean 'circle'?"),
        ("explain photos --model shapes --explainer Grad-CAM", "Did you mean 'grad_cam'?"),
        ("explain photos --model ResNet-18", "Did you mean 'resnet18'?"),
        ("explain photos --model resnet18 --weights photos/cat.pth", "Did you mean 'cat.png'?"),
        ("explain photos --model shapes --classes imagnet", "Did you mean 'imagenet'?"),
        ("evaluate --model shapes --data phtos --metric srg", "Did you mean 'photos'?"),
        ("evaluate --model shapes --data folder:phtos --metric srg", "Did you mean 'photos'?"),
        ("evaluate --model shapes --data shapes --metric SRG", "Did you mean 'srg'?"),
        ("evaluate --model shapes --data shapes --metric deletion,insertion", "--metric deletion --metric insertion"),
        ("evaluate --model shapes --data shapes --limit 2 --metric srg --target circle,star", "Give one class here."),
        ("evaluate --model resnet18,resnet34 --data shapes --metric srg", "give one of resnet18, resnet34 in each command"),
        ("report photoss", "no run folder photoss: seewhy evaluate --out writes one. Did you mean 'photos'?"),
    ],
)
def test_a_mistyped_name_is_answered_with_the_right_one(command: str, says: str, photos: Path, capfd: Capture) -> None:
    said = refused(capfd, *command.split())
    assert says in said
    assert said.count("\n") == 1


def test_folders_of_a_folder_are_named(photos: Path, capfd: Capture) -> None:
    said = refused(capfd, "explain", ".", "--model", "shapes")
    assert "folder . holds no picture" in said
    assert "; its folders do: give photos" in said


def test_what_explain_wrote_is_no_run(photos: Path, capfd: Capture) -> None:
    assert explained(capfd, "photos/cat.png")
    assert "maps was written by seewhy explain: give a run folder" in refused(capfd, "report", "maps")


def test_class_names_with_commas_and_none(photos: Path, capfd: Capture) -> None:
    names = ("--classes", "one,two, three,four,five,six", "--target", "three")
    assert explained(capfd, "photos/cat.png", *names) == ["photos/cat.png"]
    assert "cannot use device 'gpu': give cpu, cuda, cuda:1 or mps" in refused(
        capfd, "explain", "photos", "--model", "shapes", "--device", "gpu"
    )


def test_what_is_no_explainer_in_python(photos: Path) -> None:
    classifier = seewhy.load("shapes")
    data = seewhy.DATASETS["shapes"](n=2, size=96)

    class Mine:
        family, class_specific, paper = "gradient", True, ""

        def __init__(self, maps: Any) -> None:
            self.explain = lambda images, targets: maps

    wrong = {
        "Mine is a class, and no explainer: give one of it": Mine,
        "function is no explainer: give a name, or an object with explain": lambda images, targets: images,
        r"explain returns ndarray : return one tensor \(1, 96, 96\)": Mine(np.zeros((1, 96, 96))),
        r"explain returns Tensor \(3, 96, 96\): return one tensor": Mine(torch.zeros(3, 96, 96)),
    }
    with as_users_run_it():
        for says, method in wrong.items():
            with pytest.raises(SeewhyError, match=says):
                seewhy.explain("photos/cat.png", classifier, method)
        for method in (Mine, len):
            with pytest.raises(SeewhyError, match=r"is no|and no"):
                seewhy.evaluate(classifier, {"mine": method}, ["complexity"], data)
        with pytest.raises(ValueError, match="explainer 'mine': Mine has no explain"):
            EXPLAINERS.register("mine")(Mine)


def test_a_folder_of_runs(photos: Path, capfd: Capture) -> None:
    command = "evaluate --model shapes --data photos --explainer center --metric complexity --out runs/a -q"
    assert run(capfd, *command.split()).status == 0
    assert "seewhy evaluate --out writes one; give runs/a" in refused(capfd, "report", "runs")


@pytest.mark.parametrize("column", ["filename", "image", "Path"])
def test_a_column_of_another_name(column: str, photos: Path, capfd: Capture) -> None:
    (photos / "labels.csv").write_text(f"{column},label\ncat.png,circle\n")
    said = refused(capfd, *["evaluate", "--data", "photos", "--model", "shapes", "--metric", "complexity"])
    assert f"no column 'file' in its first line; it has {column}, label: call the column '{column}' 'file'" in said


def test_a_mistyped_picture_in_a_table(photos: Path, capfd: Capture) -> None:
    (photos / "labels.csv").write_text("file,label\ncatt.png,circle\n")
    said = refused(capfd, *["evaluate", "--data", "photos", "--model", "shapes", "--metric", "complexity"])
    assert "labels.csv, line 2: picture 'catt.png'" in said
    assert "Did you mean 'cat.png'?" in said


@pytest.mark.parametrize(
    ("words", "there", "missing"),
    [
        (["models", "vit", "tiny"], "vit_tiny_patch16_224", "resnet18"),
        (["models", "shapes"], "shapes/vit", "resnet18"),
        (["model", "torchvision"], "torchvision/vgg16", "shapes/vit"),
        (["explainers", "cam"], "layer_cam", "rise"),
        (["explainer", "Grad-CAM"], "x_grad_cam", "layer_cam"),
        (["metrics", "srg"], "r_srg", "deletion"),
        (["srg"], "r_srg", "deletion"),
        (["datasets", "pascal"], "voc", "folder"),
    ],
)
def test_a_list_of_what_words_name(words: list[str], there: str, missing: str, capfd: Capture) -> None:
    found = json.loads(run(capfd, "list", *words, "--json").out)
    listed = {entry["name"] for entries in found.values() for entry in entries}
    assert there in listed
    assert missing not in listed


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("metrics delte", "no metrics with 'delte'. Did you mean 'deletion'? seewhy list metrics shows all"),
        ("datasets x9z", "no datasets with 'x9z'. seewhy list datasets shows all"),
        ("explaniers", "no name with 'explaniers'. Did you mean 'explainers'?"),
    ],
)
def test_a_list_of_nothing_is_one_line(words: str, says: str, capfd: Capture) -> None:
    said = refused(capfd, "list", *words.split())
    assert says in said
    assert said.count("\n") == 1


def test_every_network_that_the_list_names_has_a_source() -> None:
    names = [entry["name"] for entry in catalog.found("models", [""])]
    assert len(names) == len(set(names)) > 1000
    assert {"shapes", "resnet18", "torchvision/resnet18"} <= set(names)


def test_names_are_compared_as_people_hear_them(tmp_path: Path) -> None:
    assert did_you_mean("GradCAM++", ["grad_cam", "grad_cam_pp"]) == " Did you mean 'grad_cam_pp'?"
    assert did_you_mean("labrador", ["pug", "Labrador retriever"]) == " Did you mean 'Labrador retriever'?"
    assert did_you_mean("-", ["_", "a"]) == ""
    (tmp_path / ".hidden.png").touch()
    assert did_you_mean_file(tmp_path / "hidden.png") == ""
    assert did_you_mean_file(tmp_path / "a\0b") == ""
    (tmp_path / "a.png").touch()
    assert did_you_mean_file(tmp_path / "a.png") == ""
