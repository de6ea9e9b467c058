"""What the command line writes on the terminal: its own lines, harmless, and no noise of other libraries."""

import io
import logging
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.command import run

import seewhy.app.cli

BAD_NAME = "\x1b]0;owned\x07\x1b[2J\nsecond \x9b31m\u202e"


def paint_one(file: Path) -> Path:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8)).save(file)
    return file


def assert_harmless(text: str) -> None:
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", text)


def test_no_name_steers_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Names of classes, of pictures and of folders: in results, and in errors."""
    picture = paint_one(tmp_path / f"a{BAD_NAME}.png")
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"class {i} \x1b[31m\x07" for i in range(6)))
    common = ["--model", "shapes", "--classes", names]
    done = run(capfd, "explain", picture, *common, "--explainer", "center", "--out", tmp_path / "out")
    assert done.status == 0
    assert "owned" in done.out, "the picture is named"
    assert "x1b[31m" in done.out, "the class is named"
    picture_line, files_line = done.out.splitlines()[-2:]
    assert "owned" in picture_line, "its name has an end of line, and still is one line"
    assert files_line.startswith("3 files in ")
    assert_harmless(done.out + done.err)
    wrong = run(capfd, "explain", picture, *common, "--target", "none", "--out", tmp_path / "out")
    missing = run(capfd, "explain", tmp_path / f"b{BAD_NAME}.png", *common, "--out", tmp_path / "out")
    folder = tmp_path / f"c{BAD_NAME}" / "class"
    folder.mkdir(parents=True)
    paint_one(folder / "a.png")
    evaluated = run(capfd, "evaluate", *common, "--data", folder.parent, "--metric", "complexity", "--explainer", "center")
    for failed in (wrong, missing, evaluated):
        assert (failed.status, len(failed.err.splitlines())) == (2, 1)
        assert_harmless(failed.out + failed.err)


def test_lines_are_written_by_one_function_alone() -> None:
    """``say`` makes them harmless; what bypasses it would not be."""
    folder = Path(seewhy.app.cli.__file__).parent
    found = [
        f"{file.name}: {line.strip()}"
        for file in sorted(folder.glob("*.py"))
        for line in file.read_text(encoding="utf-8").splitlines()
        if re.search(r"\becho\(|(?<!\.)\bprint\(|stdout\.write|stderr\.write", line)
    ]
    assert found == [
        "list.py: typer.echo(json.dumps(entries, indent=2))",
        "main.py: typer.echo(context.get_help())",
        "terminal.py: typer.echo(printable(str(line)), err=err)",
        'workers.py: typer.echo(text if self.status == 1 else text.rpartition("\\n")[2], err=True)',
    ], "the text of a worker has gone through it already"


def damaged_tiffs(folder: Path) -> list[Path]:
    """Of each compression of libtiff one that says something on stderr in Pillow."""
    files = []
    picture = Image.fromarray((np.cumsum(np.random.default_rng(0).integers(0, 3, (64, 64, 3)), 0) % 256).astype(np.uint8))
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "group4", "zstd", "lzma"):
        content = io.BytesIO()
        (picture.convert("1") if compression == "group4" else picture).save(content, "TIFF", compression=compression)
        damaged = bytearray(content.getvalue())
        damaged[40:80] = bytes(range(40))
        (folder / f"{compression}.tif").write_bytes(damaged)
        files.append(folder / f"{compression}.tif")
    return files


def test_a_damaged_picture_is_one_line_and_libraries_are_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """libtiff writes to the file descriptor, past Python."""
    for file in damaged_tiffs(tmp_path):
        done = run(capfd, "explain", file, "--model", "shapes", "--explainer", "center", "--out", tmp_path / "out")
        if done.status == 0:  # Pillow shows what is left of a damaged fax
            assert (file.name, done.err) == ("group4.tif", "")
        else:
            assert (done.status, done.err.count("\n")) == (2, 1)
            assert done.err.startswith(f"seewhy: picture {file} is broken")


def test_warnings_of_this_library_are_lines_and_others_are_kept_back(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = tmp_path / "names.txt"
    names.write_text("predicted\n" + "\n".join(f"class {i}" for i in range(5)))

    def noisy(*_: object) -> None:
        warnings.warn("Palette images should be converted", UserWarning, stacklevel=1)
        logging.getLogger("PIL.TiffImagePlugin").error("More samples per pixel than can be decoded")

    monkeypatch.setattr("seewhy.explanation.files.find_pictures", lambda paths: noisy() or list(paths))
    monkeypatch.setattr(sys, "warnoptions", [])
    picture = paint_one(tmp_path / "a.png")
    filters, shown = list(warnings.filters), warnings.showwarning
    done = run(
        capfd, "explain", picture, "--model", "shapes", "--classes", names, "--explainer", "center", "--out", tmp_path
    )
    assert done.status == 0
    assert done.err.splitlines() == [
        "seewhy: target 'predicted' is no class here, although class 0 is called so: give the index 0 for the class"
    ]
    assert (warnings.filters, warnings.showwarning) == (filters, shown), "as it was before"
