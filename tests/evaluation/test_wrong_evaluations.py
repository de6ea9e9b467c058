"""What people get wrong when they evaluate: one line that says what, where and what to do, and nothing half-written."""

import csv
import json
from pathlib import Path

import pytest
from support.command import run
from torchvision.utils import save_image

from seewhy.data import Shapes

BASE = "evaluate --model shapes --data shapes --limit 2 --metric complexity --out RUN"
WRONG = {
    "no such explainer": (f"{BASE} --explainer grad_kam", "Did you mean 'grad_cam'?"),
    "no such metric": ("evaluate --model shapes --data shapes --metric delition --out RUN", "Did you mean 'deletion'?"),
    "no such network": (BASE.replace("--model shapes", "--model shapez"), "shapez"),
    "no such dataset": (BASE.replace("--data shapes", "--data shape"), "Did you mean 'shapes'?"),
    "no such folder": (BASE.replace("--data shapes", "--data folder:gone"), "gone does not exist"),
    "empty folder": (BASE.replace("--data shapes", "--data empty"), "holds no pictures"),
    "no such option": (f"{BASE} --option stepps=3", "no option 'stepps'"),
    "a value that is none": (f"{BASE} --metric deletion:steps=many", "steps"),
    "metric without regions": (
        BASE.replace("--data shapes", "--data plain").replace("complexity", "relevance_mass"),
        "relevance_mass needs the region of the object, which the dataset folder does not have",
    ),
    "metric without labels": (
        BASE.replace("--data shapes", "--data plain").replace("complexity", "masked_classification"),
        "masked_classification needs the true class, which the dataset folder does not have",
    ),
    "target without labels": (
        BASE.replace("--data shapes", "--data plain") + " --target label",
        "target label needs the true",
    ),
    "a class that the network does not know": (BASE.replace("--data shapes", "--data strange"), "'zebra' is no class"),
    "a label beyond its classes": (BASE.replace("--data shapes", "--data beyond.csv"), "17 is no class"),
    "csv with a missing file": (
        BASE.replace("--data shapes", "--data missing.csv"),
        "missing.csv, line 3: picture 'no.png'",
    ),
    "csv without a column file": (BASE.replace("--data shapes", "--data nofile.csv"), "no column 'file'"),
    "a box without sense": (BASE.replace("--data shapes", "--data boxes.csv"), "a box is four numbers"),
    "explainer for another network": (
        BASE.replace("--model shapes", "--model torchvision/vgg11 --weights WEIGHTS"),
        "do not fit",
    ),
    "method that the network does not allow": (
        "evaluate --model factories:flat --data plain --metric complexity --explainer cam --out RUN",
        "cam",
    ),
    "limit for a stranger": (f"{BASE} --limit srg=3", "a limit for srg, which is no explainer, metric or EXPLAINER/METRIC"),
    "limit that is no number": (
        f"{BASE} --limit few",
        "takes a number from 1 on, or NAME=NUMBER; not few",
    ),
    "limit of none": (
        f"{BASE} --limit complexity=0",
        "or NAME=NUMBER; not complexity=0",
    ),
    "several processes without a folder": (
        "evaluate --model shapes --data shapes --metric complexity --devices 2",
        "several processes meet in a run folder",
    ),
    "several processes on one GPU": (f"{BASE} --devices 2 --device cuda:1", "--devices shares out cpu or cuda, not cuda:1"),
    "a run folder that is a file": (BASE.replace("RUN", "plain/0.png"), "cannot write to plain/0.png"),
    "only the images that are good": (f"{BASE} --only good", "only is all, correct or wrong; not 'good'"),
    "report of nothing": ("report gone", "no run folder gone"),
    "report of another folder": ("report plain", "plain is no run folder, it has no manifest.json"),
    "report of an explanation": ("report explained", "was written by seewhy explain"),
    "report of an unfinished run": ("report unfinished", "is not finished: give its seewhy evaluate command again"),
    "report that is no page": ("report unfinished --out page.pdf", "not finished|html"),
}


def written(path: Path, rows: list[list[str]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders and files with which something is wrong."""
    path = tmp_path_factory.mktemp("shelf")
    for name in ("plain", "empty", "strange/zebra", "explained", "unfinished"):
        (path / name).mkdir(parents=True)
    for i, image in enumerate(Shapes(n=2, size=64).batch(range(2)).images):
        save_image(image, path / "plain" / f"{i}.png")
        save_image(image, path / "strange" / "zebra" / f"{i}.png")
    written(path / "missing.csv", [["file", "index"], ["plain/0.png", "1"], ["no.png", "2"]])
    written(path / "beyond.csv", [["file", "index"], ["plain/0.png", "17"]])
    written(path / "nofile.csv", [["picture", "index"], ["plain/0.png", "1"]])
    written(path / "boxes.csv", [["file", "index", "boxes"], ["plain/0.png", "1", "3 4 5"]])
    (path / "explained" / "manifest.json").write_text(json.dumps({"schema": 1, "explanations": []}))
    (path / "unfinished" / "manifest.json").write_text(json.dumps({"schema": 3, "asked": {}, "complete": False}))
    return path


@pytest.mark.parametrize("mistake", list(WRONG))
def test_one_line_and_nothing_half_written(
    mistake: str, shelf: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command, says = WRONG[mistake]
    monkeypatch.chdir(shelf)
    before = sorted(shelf.rglob("*"))
    weights = Path(__file__).parents[2] / "src" / "seewhy" / "classifier" / "weights" / "shapes_cnn.safetensors"
    result = run(capfd, *(str(weights) if word == "WEIGHTS" else word for word in command.split()))
    assert result.status == 2
    assert result.out == ""
    lines = [line for line in result.err.splitlines() if line and not line.startswith("left out")]
    assert len(lines) == 1, result.err
    assert lines[0].startswith("seewhy: ") or "Error" in lines[0]
    assert any(part in lines[0] for part in says.split("|")), lines[0]
    assert sorted(shelf.rglob("*")) == before
