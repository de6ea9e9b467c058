"""The command line in front of any terminal, and in front of a command that it cannot read."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.command import Result, run

Capture = pytest.CaptureFixture[str]
NAMES = ["cercle é", "日本", "🙂", "a\udce9b", "étoile", "x"]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 20, 3), np.uint8)).save(tmp_path / "p.png")
    return tmp_path


def shown(monkeypatch: pytest.MonkeyPatch, capfd: Capture, encoding: str, *arguments: str) -> Result:
    """What a terminal of this encoding gets."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding, write_through=True) for _ in range(2))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        status = run(capfd, *arguments).status
    out.flush()
    return Result(status, *(stream.buffer.getvalue().decode(encoding, "replace") for stream in (out, err)))  # type: ignore[attr-defined]


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437", "utf-8"])
@pytest.mark.parametrize(
    "arguments",
    [
        "evaluate --model shapes --data shapes --limit 1 --metric deletion:steps=2 --metric average_gain",
        "explain p.png --model shapes --target all --classes names.txt",
        "explain --help",
        "explain p.png --model shapes --target é日",
        "list metrics",
    ],
)
def test_a_terminal_that_lacks_letters(
    arguments: str, encoding: str, work: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (work / "names.txt").write_text("cercle é\n日本\n🙂\n↑\nétoile\nx\n", encoding="utf-8")
    result = shown(monkeypatch, capfd, encoding, *arguments.split())
    assert result.status == (2 if "--target é" in arguments else 0), result.err
    if "--classes" in arguments and encoding == "latin-1":
        assert "p.png: cercle é " in result.out
        assert "p.png: \\u65e5\\u672c " in result.out
        assert "p.png: ^ " in result.out, "an arrow has a plain sign"
    if "deletion" in arguments:
        assert ("deletion ↓" if encoding == "utf-8" else "deletion:steps=2 v") in result.out.replace(":steps=2 ↓", " ↓")


def test_a_picture_whose_name_is_not_utf_8(work: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system takes any bytes for a name."""
    (work / "pictures").mkdir()
    name = os.fsdecode(b"caf\xe9.png")
    (work / "pictures" / name).write_bytes((work / "p.png").read_bytes())
    result = shown(monkeypatch, capfd, "utf-8", "explain", f"pictures/{name}", "--model", "shapes", "--out", "out")
    assert (result.status, result.err) == (0, "")
    assert "caf\\udce9.png: " in result.out
    asked = ["--model", "shapes", "--data", "pictures", "--metric", "complexity", "--out", "run"]
    result = shown(monkeypatch, capfd, "utf-8", "evaluate", *asked)
    assert (result.status, result.err) == (0, "")
    assert shown(monkeypatch, capfd, "utf-8", "report", "run").status == 0
    assert "caf\\udce9.png" in (work / "run" / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["explian"], "seewhy: No such command 'explian'. Did you mean 'explain'? (seewhy --help says how it is used)\n"),
        (["explain", "--model", "shapes"], "seewhy: Missing argument "),
        (["explain", "p.png", "--modle", "x"], "seewhy: No such option: --modle"),
        (["evaluate", "--batch-size", "x"], "seewhy: Invalid value for '--batch-size'"),
        (["evaluate", "--seed", "9" * 5_000], "seewhy: Invalid value for '--seed'"),
        (["list", "--json=3"], "seewhy: Option '--json' does not take a value"),
    ],
)
def test_a_command_that_cannot_be_read_is_one_line(arguments: list[str], says: str, work: Path, capfd: Capture) -> None:
    result = run(capfd, *arguments)
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith(says)
    assert result.err.count("\n") == 1
    assert result.err.endswith(" --help says how it is used)\n")
    assert len(result.err) < 1_500
    assert result.err.strip().isprintable()


LONG = "a" * 300


@pytest.mark.parametrize(
    "arguments",
    [
        f"explain {LONG}.png --model shapes",
        f"explain p.png --model shapes --weights {LONG}",
        f"explain p.png --model shapes --classes {LONG}",
        f"explain p.png --model shapes --out {LONG}",
        f"evaluate --model shapes --metric complexity --data {LONG}",
        f"evaluate --model shapes --metric complexity --data folder:{LONG}",
        f"evaluate --model shapes --metric complexity --data voc:{LONG}",
        f"evaluate --model shapes --metric complexity --data shapes --limit 1 --out {LONG}",
        f"evaluate --model shapes --metric complexity --data table.csv --limit 1 --out {LONG}",
        f"report {LONG}",
        f"report run --out {LONG}.html",
        f"explain p.png --model hf/{LONG}",
        f"explain p.png --model {LONG}:x",
    ],
)
def test_a_path_that_no_file_system_takes(arguments: str, work: Path, capfd: Capture) -> None:
    (work / "table.csv").write_text(f"file,index\n{LONG}.png,0\n")
    result = run(capfd, *arguments.split())
    assert result.status == 2
    assert result.err.startswith("seewhy: ")
    assert result.err.count("\n") == 1
    assert sorted(p.name for p in work.iterdir()) == ["p.png", "table.csv"]


def test_a_picture_with_a_long_name_is_explained(work: Path, capfd: Capture) -> None:
    """Its name is cut where the explainer and the class are added to it; two that begin alike stay two."""
    (work / "pictures").mkdir()
    for end in "ab":
        (work / "pictures" / f"{'é' * 120}{end}.png").write_bytes((work / "p.png").read_bytes())
    (work / "names.txt").write_text("\n".join(f"{i} {'b' * 400}" for i in range(6)))
    asked = [
        "--model",
        "shapes",
        "--classes",
        "names.txt",
        "--out",
        "out",
        "--explainer",
        "saliency",
        "--explainer",
        "grad_cam",
    ]
    result = run(capfd, "explain", "pictures", *asked)
    assert (result.status, result.err) == (0, "")
    files = [path.name for path in (work / "out").iterdir()]
    assert len(files) == 2 * (2 * 2 + 1) + 1
    assert max(len(name.encode()) for name in files) < 255


@pytest.mark.parametrize(
    "arguments",
    [
        "--batch-size 99999999999999999999999",
        "--seed 99999999999999999999999",
        "--pictures 99999999999999999999999",
        "--threads 99999999999",
        f"--limit {'9' * 5_000}",
        "--limit 99999999999999999",
        f"--limit complexity={'9' * 5_000}",
        f"--shard 1/{'9' * 5_000} --out run",
        f"--explainer smooth_grad:samples={'9' * 5_000}",
        f"--explainer smooth_grad:noise_level={'9' * 400}",
        f"--explainer smooth_grad:seed={'9' * 25}",
        f"--explainer grad_cam:layer={'[' * 5_000}",
        f"--explainer opti_cam:layer={'[' * 5_000}{']' * 5_000}",
        f"--explainer rise:samples={'[' * 5_000}",
        f"--metric deletion:steps={'9' * 5_000}",
        f"--data-option seed={'9' * 25}",
        f"--data-option n={'9' * 12}",
        f"--data-option size={'9' * 9}",
        f"--target {'9' * 5_000}",
        f"--map-class {'9' * 5_000} --metric class_masks",
        f"--model-option size={'9' * 5_000}",
        f"--model-option mean={'9' * 5_000}",
    ],
)
def test_numbers_and_nesting_beyond_reason(arguments: str, work: Path, capfd: Capture) -> None:
    base = "evaluate --model shapes --data shapes --metric complexity"
    result = run(capfd, *base.split(), *(["--limit", "1"] if "--limit" not in arguments else []), *arguments.split())
    assert result.status == 2
    assert result.err.startswith("seewhy: ")
    assert result.err.count("\n") == 1
    assert len(result.err) < 1_500
    assert [p.name for p in work.iterdir()] == ["p.png"]


def test_in_a_process_of_its_own_without_a_terminal(work: Path) -> None:
    command = [sys.executable, "-c", "from seewhy.app.cli.main import main; main()", "evaluate", "--model", "shapes"]
    asked = ["--data", "shapes", "--limit", "1", "--metric", "deletion:steps=2", "--explainer", "center"]
    plain = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0"}
    done = subprocess.run([*command, *asked], capture_output=True, env=plain, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"deletion:steps=2 v" in done.stdout


@pytest.mark.parametrize(
    ("word", "says"), [("\x1b[2J", "'\\x1b[2J'"), ("x" * 5_000, "'" + 100 * "x" + "'"), ("explainres", "'explainers'?")]
)
def test_a_name_that_is_nowhere_is_one_short_line(word: str, says: str, work: Path, capfd: Capture) -> None:
    result = run(capfd, "list", word)
    assert (result.status, result.out) == (2, "")
    assert says in result.err
    assert result.err.count("\n") == 1
