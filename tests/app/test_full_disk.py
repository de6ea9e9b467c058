"""A disk that takes no more, at any file of any command: one line that names the folder, and nothing half-written."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.command import run
from support.full_disk import no_file_above, unfinished

Capture = pytest.CaptureFixture[str]
EVALUATE = "evaluate --model factories:small --data pictures --batch-size 2 --explainer saliency --metric complexity"
EVALUATE += " --keep-maps --quiet --out "
COMMANDS = {
    "explain": "explain pictures --model factories:small --explainer grad_cam --explainer saliency --quiet --out run",
    "evaluate": EVALUATE + "run",
    "evaluate a shard": EVALUATE + "run --shard 1/1",
    "report": "report whole --quiet --out run/page.html",
}


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Capture) -> Path:
    """A folder with pictures of noise: as jpg each is larger than a manifest."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    for i in range(3):
        pixels = np.random.default_rng(i).integers(0, 255, (64, 64, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{i}.png")
    return tmp_path


def broken(folder: Path) -> list[Path]:
    """Pictures that are not whole."""
    found = []
    for file in (file for file in folder.rglob("*") if file.suffix in (".jpg", ".png")):
        try:
            Image.open(file).load()
        except OSError:
            found.append(file)
    return found


@pytest.mark.parametrize("command", list(COMMANDS))
def test_a_full_disk_is_one_line(command: str, work: Path, capfd: Capture) -> None:
    """At whatever file the disk is full."""
    if command == "report":
        assert run(capfd, *EVALUATE.split(), "whole").status == 0
    words, refused = COMMANDS[command].split(), 0
    for size in (200, 700, 1500, 4000, 9000):
        with no_file_above(size):
            result = run(capfd, *words)
        if result.status:
            assert (result.status, result.err) == (2, "seewhy: cannot write to run: File too large\n")
            refused += 1
        assert unfinished(work) == []
        assert broken(work) == []
    assert refused >= 3
    assert run(capfd, *words).status == 0, "the same command, when there is room"
    assert unfinished(work) == []


def test_a_picture_cut_short_is_not_kept(work: Path, capfd: Capture) -> None:
    """Pillow writes half a JPEG to a full disk without an error."""
    seen = work / "seen"
    assert run(capfd, *EVALUATE.split(), seen, "--model-option", "size=96").status == 0
    size = min(file.stat().st_size for file in (seen / "pictures").glob("*.jpg")) - 1
    assert (seen / "manifest.json").stat().st_size <= size, "so the first file that does not fit is a picture"
    with no_file_above(size):
        result = run(capfd, *EVALUATE.split(), "run", "--model-option", "size=96")
    assert broken(work / "run") == []
    assert list((work / "run" / "pictures").glob("*.jpg")) == []
    assert result == (2, "", "seewhy: cannot write to run: File too large\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_the_output_of_a_command_may_be_full_too() -> None:
    with Path("/dev/full").open("w") as full:
        code = [sys.executable, "-c", "from seewhy.app.cli.main import main; main()", "--help"]
        done = subprocess.run(code, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "seewhy: cannot write to the output: No space left on device\n")


def test_an_output_that_nobody_reads_is_no_error() -> None:
    """As of seewhy list | head."""
    code = [sys.executable, "-c", "from seewhy.app.cli.main import main; main()", "list", "metrics"]
    with subprocess.Popen(code, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
