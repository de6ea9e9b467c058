"""The command line: results to stdout and files, everything else to stderr."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from rich.progress import Progress
from support.command import run
from support.learned_methods import register_two
from support.tiny_models import LEARNED, TINY, is_defined

import seewhy
from seewhy.app import catalog
from seewhy.app.choose import UNTRAINED
from seewhy.app.cli.progress import Lines, progress_bar
from seewhy.classifier.sources import MODELS
from seewhy.data import DATASETS
from seewhy.explainers import EXPLAINERS

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with two pictures in a folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "pictures").mkdir()
    rng = np.random.default_rng(0)
    for name in ("cat.png", "dog.png"):
        pixels = Image.fromarray(rng.integers(0, 255, (5, 6, 3), np.uint8))
        pixels.resize((30, 24), Image.Resampling.BICUBIC).save(tmp_path / "pictures" / name)
    return tmp_path


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_explain_one_picture(work: Path, capfd: Capture) -> None:
    result = run(capfd, "explain", "pictures/dog.png", "--model", "factories:small")
    expected = seewhy.explain(work / "pictures" / "dog.png", TINY["cnn"]())
    assert result.status == 0
    assert result.err == ""
    lines = result.out.splitlines()
    assert lines[0].startswith(
        "input: 16 x 16 (given by factories:small); center crop 0.875, bilinear (default); mean 0.485"
    )
    assert lines[1] == "network: 5 classes (given by factories:small); logits, feature layer 6 (found by a probe)"
    assert lines[2:] == [f"pictures/dog.png: {expected.caption}, grad_cam", "3 files in explanations"]
    stem = f"dog.grad_cam.{expected.class_name}"
    assert names(work / "explanations") == [f"{stem}.npy", f"{stem}.png", "manifest.json"]
    assert np.array_equal(np.load(work / "explanations" / f"{stem}.npy"), expected.map.numpy())
    assert Image.open(work / "explanations" / f"{stem}.png").tobytes() == expected.overlay().tobytes()


def test_explain_a_folder_with_all_options(work: Path, capfd: Capture) -> None:
    arguments = "pictures --model factories:small --model-option size=18,20 --explainer grad_cam --explainer smooth_grad"
    arguments += " --option samples=2 --target cat,3 --out results/run --classes names.txt --device cpu"
    (work / "names.txt").write_text("ape\nbat\ncat\ndoe\neel\n")
    result = run(capfd, "explain", *arguments.split())
    assert (result.status, result.err) == (0, "")
    maps = [f"{p}.{m}.{c}" for p in ("cat", "dog") for m in ("grad_cam", "smooth_grad") for c in ("cat", "doe")]
    files = [f"{name}.{suffix}" for name in maps for suffix in ("npy", "png")]
    assert names(work / "results" / "run") == sorted([*files, "cat.sheet.png", "dog.sheet.png", "manifest.json"])
    assert np.load(work / "results" / "run" / f"{maps[0]}.npy").shape == (18, 20)
    assert len(result.out.splitlines()) == 2 + len(maps) + 1
    manifest = json.loads((work / "results" / "run" / "manifest.json").read_text())
    assert manifest["command"] == ["explain", *arguments.split()]
    assert (manifest["model"], manifest["weights"], manifest["target"]) == ("factories:small", None, "cat,3")
    assert [e["map"] for e in manifest["explanations"]] == [f"{name}.npy" for name in maps]
    assert manifest["classifier"]["input_size"] == {"value": [18, 20], "from": "given as an option"}
    assert manifest["classifier"]["classes"] == {"value": 5, "from": "given as names.txt"}
    assert manifest["classifier"]["mean"]["from"] == "default, ImageNet's"
    assert manifest["classifier"]["feature_layer"] == {"value": "6", "from": "found by a probe"}
    assert all({"method", "options"} <= about.keys() and "limits" not in about for about in manifest["explainers"].values())
    methods = {name: (about["method"], about["options"].get("samples")) for name, about in manifest["explainers"].items()}
    assert methods == {"grad_cam": ("grad_cam", None), "smooth_grad": ("smooth_grad", 2)}


def test_a_network_that_ends_in_a_softmax_is_said_to_do_so(work: Path, capfd: Capture) -> None:
    """Once, in the line on the network, and not as a warning."""
    result = run(capfd, "explain", "pictures", "--model", "factories:softmax", "--explainer", "saliency")
    expected = seewhy.explain(work / "pictures" / "cat.png", TINY["cnn"](), "saliency")
    said = "probabilities by a softmax, whose input is explained (found by a probe)"
    assert (result.status, result.err) == (0, "")
    assert result.out.count(said) == 1
    assert result.out.splitlines()[2] == f"pictures/cat.png: {expected.caption}, saliency"
    assert json.loads((work / "explanations" / "manifest.json").read_text())["classifier"]["outputs"]["value"] in said


def test_a_regression_has_neither_classes_nor_percent(work: Path, capfd: Capture) -> None:
    command = ["explain", "pictures", "--model", "factories:one", "--model-option", "outputs=values"]
    result = run(capfd, *command, "--explainer", "grad_cam", "--explainer", "rise:selector=logit,samples=4")
    assert (result.status, result.err) == (0, "")
    manifest = (work / "explanations" / "manifest.json").read_text()
    value = json.loads(manifest)["explanations"][0]["value"]
    assert f"output  {value:.4g}, " in result.out
    assert "%" not in result.out
    assert '"class"' not in manifest
    assert '"probability"' not in manifest
    wrong = run(capfd, *command, "--target", "second")
    assert (wrong.status, wrong.err.count("\n")) == (2, 1)
    assert "one output" in wrong.err


def test_all_explainers(work: Path, capfd: Capture) -> None:
    options = ["--option", "samples=2", "--option", "steps=2", "--target", "top:2"]
    result = run(capfd, "explain", "pictures/cat.png", "--model", "factories:small", "--explainer", "all", *options)
    assert result.status == 0
    attention = r"left out: [a-z_, ]*raw_attention[a-z_, ]*: Sequential has no attention over tokens .*\n"
    learned = rf"left out: {', '.join(sorted(LEARNED))}: {re.escape(UNTRAINED)}\n" if LEARNED else ""
    tokens = r"left out: transformer_input_sampling: the patches of .*\n"
    assert re.fullmatch(attention + learned + tokens, result.err)
    manifest = json.loads((work / "explanations" / "manifest.json").read_text())
    defined = [name for name in EXPLAINERS if is_defined(name, "cnn") and name not in LEARNED]
    assert [e["explainer"] for e in manifest["explanations"]] == [name for name in defined for _ in range(2)]


def test_quiet(work: Path, capfd: Capture) -> None:
    for flag in ("--quiet", "-q"):
        result = run(capfd, "explain", "pictures", "--model", "factories:small", flag)
        assert result == (0, "", "")
    assert (work / "explanations" / "manifest.json").is_file()
    result = run(capfd, "explain", "no.png", "--model", "factories:small", "--quiet")
    assert result.status == 2
    assert result.err.startswith("seewhy: ")


def test_the_bar_is_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    """On stderr, where a pipe from stdout does not meet it; plain lines where stderr is no terminal; silent when told so."""
    assert isinstance(progress_bar(quiet=False), Lines)
    monkeypatch.setattr(Console, "is_terminal", property(lambda console: True))
    shown, silent = progress_bar(quiet=False), progress_bar(quiet=True)
    assert isinstance(shown, Progress)
    assert isinstance(silent, Progress)
    assert not shown.disable
    assert shown.console.stderr
    assert silent.disable


def test_version_and_help(work: Path, capfd: Capture) -> None:
    assert run(capfd, "--version") == (0, f"seewhy {seewhy.__version__}\n", "")
    for arguments, says in (
        (["--help"], "explain"),
        (["explain", "--help"], "--target"),
        (["list", "--help"], "--json"),
        (["demo", "--help"], "--out"),
    ):
        result = run(capfd, *arguments)
        assert (result.status, result.err) == (0, "")
        assert "Usage: seewhy" in result.out
        assert says in result.out
    result = run(capfd)
    assert result.status == 2
    assert "Usage: seewhy" in result.out + result.err


def test_every_option_says_what_it_is(capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text = run(capfd, "explain", "--help").out
    for option in ("model", "weights", "classes", "model-option", "explainer", "option", "target", "out", "device", "quiet"):
        line = next(line for line in text.splitlines() if f" --{option} " in line)
        assert len(line.split(f"--{option}")[1].strip(" │").split()) > 3, line


def test_list_as_json(capfd: Capture) -> None:
    result = run(capfd, "list", "--json")
    assert (result.status, result.err) == (0, "")
    listed = json.loads(result.out)
    assert list(listed) == ["explainers", "metrics", "models", "datasets", "presets"]
    assert [e["name"] for e in listed["explainers"]] == list(EXPLAINERS)
    assert [e["name"] for e in listed["models"]] == list(MODELS)
    assert [e["name"] for e in listed["datasets"]] == list(DATASETS)
    methods = {e["name"]: e for e in listed["explainers"]}
    options = methods["grad_cam"]["options"]
    assert {name: option["default"] for name, option in options.items()} == {
        **{"layer": None, "batch_size": 32},
        **{"selector": "logit", "libra": False},
    }
    assert options["batch_size"]["takes"] == "a whole number of at least 1"
    assert options["batch_size"]["text"]
    assert methods["opti_cam"]["options"]["precision"]["choices"] == ["fp32", "bf16"]
    assert methods["grad_cam"]["all_classes_at_once"] is True
    assert methods["fake_cam"]["all_classes_at_once"] is False
    assert methods["random"]["class_specific"] is False
    assert all(e["summary"] for kind in listed.values() for e in kind)
    assert list(json.loads(run(capfd, "list", "models", "--json").out)) == ["models"]


def test_list_for_people(capfd: Capture) -> None:
    everything = run(capfd, "list").out
    for name in [*EXPLAINERS, *MODELS, *DATASETS]:
        assert f"\n{name} " in everything, name
    assert "seewhy[hf]" in everything
    explainers = run(capfd, "list", "explainers").out
    assert "grad_cam" in explainers
    assert "torchvision/NAME" not in explainers


def test_other_mistakes_keep_their_traceback(monkeypatch: pytest.MonkeyPatch, capfd: Capture) -> None:
    """Only what the user can mend is one line; a bug of ours must not hide."""

    def bug(kind: str) -> list[object]:
        raise AssertionError("ours")

    monkeypatch.setattr(catalog, "entries", bug)
    with pytest.raises(AssertionError, match="ours"):
        run(capfd, "list")


def test_the_module_beside_the_user_is_found(work: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    text = "from torch import nn\n\ndef make(k):\n    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), "
    text += "nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, k))\n"
    (work / "own_network.py").write_text(text)
    arguments = ["pictures/cat.png", "--model", "own_network:make", "--model-option", "k=3", "--model-option", "size=20"]
    result = run(capfd, "explain", *arguments, "--target", "all")
    assert (result.status, result.err) == (0, "")
    assert len(list((work / "explanations").glob("*.npy"))) == 3


# -- learned explainers ---------------------------------------------------------------------------------------------------


@pytest.fixture
def learned(work: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two trained explainers of the network of ``factories:small``: one reads a layer, the other has its own network."""
    monkeypatch.setattr(EXPLAINERS, "_entries", dict(EXPLAINERS._entries))
    register_two()
    classifier = seewhy.load("factories:small")
    for name in ("weighed", "painted"):
        method = seewhy.explainer(name, classifier)
        seewhy.save_explainer(method.untrained(), work / "runs" / f"my_{name}")  # type: ignore[attr-defined]
    return work


def test_explain_by_a_folder(learned: Path, capfd: Capture) -> None:
    picture = ["pictures/cat.png", "--model", "factories:small"]
    result = run(capfd, "explain", *picture, "--explainer", "runs/my_weighed", "--explainer", "runs/my_painted")
    assert (result.status, result.err) == (0, "")
    manifest = json.loads((learned / "explanations" / "manifest.json").read_text())
    assert [e["explainer"] for e in manifest["explanations"]] == ["my_weighed", "my_painted"]
    assert manifest["explainers"]["my_weighed"]["method"] == "weighed"
    assert manifest["explainers"]["my_weighed"]["options"]["network"].startswith("OneLayer ")
    result = run(capfd, "explain", *picture, "--explainer", "weighed")
    assert result == (2, "", "seewhy: weighed is learned, and not trained for this network: seewhy fit weighed trains it\n")


def test_explain_without_a_network(learned: Path, capfd: Capture) -> None:
    alone = ["explain", "pictures/cat.png", "--explainer", "runs/my_painted"]
    result = run(capfd, *alone, "--target", "0")
    assert (result.status, result.err) == (0, "")
    manifest = json.loads((learned / "explanations" / "manifest.json").read_text())
    (entry,) = manifest["explanations"]
    assert (entry["target"], entry["probability"]) == (0, None)
    assert run(capfd, *alone, "--target", "all").status == 0
    for more, said in {
        (): "target 'predicted' is what a network says, and there is none: name a class, all, or give --model",
        ("--target", "top:2"): "target 'top:2' is what a network says",
        ("--target", "0", "--explainer", "runs/my_weighed"): "reads the features of Sequential",
        ("--target", "0", "--explainer", "grad_cam"): "grad_cam explains a network: give --model",
        ("--target", "0", "--weights", "x.pt"): "--weights is of a network: give --model",
    }.items():
        result = run(capfd, *alone, *more)
        assert (result.status, result.out, result.err.count("\n")) == (2, "", 1)
        assert said in result.err
    result = run(capfd, "explain", "pictures/cat.png")
    assert result.err == "seewhy: give --model NAME; or --explainer FOLDER, of an explainer with a network of its own\n"


def test_the_list_says_that_learned_methods_are_trained_first(learned: Path, capfd: Capture) -> None:
    said = " ".join(run(capfd, "list", "explainers").out.split())
    assert "seewhy fit METHOD trains it for a network" in said
    methods = {e["name"]: e for e in json.loads(run(capfd, "list", "explainers", "--json").out)["explainers"]}
    assert methods["weighed"]["trained_first"] is True
    assert methods["grad_cam"]["trained_first"] is False
