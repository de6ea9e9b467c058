"""Files are written whole or not at all, and what killed commands have left is removed."""

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.full_disk import HIDDEN, no_file_above, no_more_open_files, unfinished

from seewhy import files
from seewhy.errors import SeewhyError
from seewhy.files import remove_leftovers, scratch, staged, write_atomically, write_json, write_text


def content(folder: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in folder.iterdir()}


def stage_two(folder: Path) -> None:
    with staged(folder) as staging:
        (staging / "a.txt").write_text("a")
        (staging / "b.txt").write_text("b")


def noise(side: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8))


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")

    def write(memory: BytesIO) -> None:
        memory.write(b"new")
        assert content(tmp_path) == {"a.txt": "old"}

    write_atomically(tmp_path / "a.txt", write)
    assert content(tmp_path) == {"a.txt": "new"}


@pytest.mark.parametrize("failure", [OSError("full"), KeyboardInterrupt()], ids=repr)
def test_a_write_that_fails_leaves_the_old_file_and_no_part(failure: BaseException, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")

    def write(memory: BytesIO) -> None:
        memory.write(b"half")
        raise failure

    with pytest.raises(type(failure)):
        write_atomically(tmp_path / "a.txt", write)
    assert content(tmp_path) == {"a.txt": "old"}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
@pytest.mark.parametrize("size", [0, 100, 5000])
def test_a_picture_that_does_not_fit_is_not_kept(kind: str, size: int, tmp_path: Path) -> None:
    """Pillow writes JPEG and GIF to a full disk without an error."""
    (tmp_path / "a").write_text("old")
    with no_file_above(size), pytest.raises(SeewhyError, match=rf"^cannot write to {tmp_path}: File too large$"):
        write_atomically(tmp_path / "a", partial(noise(90).save, format=kind))
    assert content(tmp_path) == {"a": "old"}


def test_a_file_that_the_system_cuts_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some network file systems lose a part without an error."""
    stat = Path.stat

    def cut(self: Path, **options: bool) -> os.stat_result:
        if self.name.startswith(HIDDEN):
            os.truncate(self, 2)
        return stat(self, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "stat", cut)
        with pytest.raises(SeewhyError, match="the file has lost a part"):
            write_text(tmp_path / "a.txt", "abc")
    assert list(tmp_path.iterdir()) == []


def test_no_more_files_can_be_opened(tmp_path: Path) -> None:
    with no_more_open_files(), pytest.raises(SeewhyError, match=rf"^cannot write to {tmp_path}: Too many open files$"):
        write_text(tmp_path / "a.txt", "abc")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    says = rf"^cannot write to {tmp_path}: No space left on device; give the same command again when there is room$"
    with pytest.raises(SeewhyError, match=says):
        stage_two(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_json_is_read_back(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"folder": tmp_path, "n": 3})
    assert json.loads((tmp_path / "a.json").read_text()) == {"folder": str(tmp_path), "n": 3}


def test_a_name_that_is_not_utf_8_can_be_written_down(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", os.fsdecode(b"caf\xe9"))
    assert (tmp_path / "a.txt").read_text() == "caf\\udce9"


def test_a_name_may_be_as_long_as_the_system_allows(tmp_path: Path) -> None:
    """The part of a file has a name of its own."""
    write_text(tmp_path / ("n" * 255), "abc")
    assert len((tmp_path / ("n" * 255)).read_text()) == 3


def test_staged_files_move_together(tmp_path: Path) -> None:
    with staged(tmp_path / "deep" / "out") as staging:
        (staging / "a.txt").write_text("a")
        (staging / "manifest.json").write_text("{}")
        assert [p for p in (tmp_path / "deep" / "out").iterdir() if not p.name.startswith(HIDDEN)] == []
    assert content(tmp_path / "deep" / "out") == {"a.txt": "a", "manifest.json": "{}"}
    assert [p.name for p in tmp_path.iterdir()] == ["deep"]


def test_a_block_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with suppress(KeyError), staged(tmp_path / "deep" / "out") as staging:
        (staging / "a.txt").write_text("a")
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_a_block_that_does_not_fit_names_the_folder(tmp_path: Path) -> None:
    says = rf"^cannot write to {tmp_path}/out: File too large$"
    with no_file_above(2), pytest.raises(SeewhyError, match=says), staged(tmp_path / "out") as staging:
        write_text(staging / "a.txt", "abc")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["n" * 300, "/".join(["n" * 200] * 30)])
def test_a_name_that_is_too_long_is_one_short_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(SeewhyError, match="File name too long") as caught, staged(tmp_path / name):
        pass
    assert len(str(caught.value)) < 400
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SeewhyError, match=r"^cannot write to .*deep: .*file is a file$"), staged(tmp_path / "file" / "deep"):
        pass
    (tmp_path / "out" / "b.txt").mkdir(parents=True)
    with pytest.raises(SeewhyError, match=r"b.txt in it is a folder$"):
        stage_two(tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["b.txt"], "no file is moved if one cannot be"


KILLED = """
import sys, time
from pathlib import Path
from seewhy.files import staged
with staged(sys.argv[1]) as staging:
    (staging / "a.txt").write_text("half")
    print("begun", flush=True)
    time.sleep(600)
"""


def test_what_a_killed_command_has_left_is_removed_by_the_next(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, tmp_path / "deep" / "out"]
    killed, lives = (subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2))
    for one in (killed, lives):
        assert one.stdout is not None
        assert one.stdout.readline() == "begun\n"
    assert len(unfinished(tmp_path)) == 2
    try:
        killed.kill()
        while (state := Path(f"/proc/{killed.pid}/stat")).exists() and ") Z" not in state.read_text():
            time.sleep(0.01)
        stage_two(tmp_path / "deep" / "out")  # nobody has waited for the killed process: it still has a number
        assert len(unfinished(tmp_path)) == 1, "that of the process that lives"
    finally:
        lives.kill()
        lives.communicate()
        killed.communicate()
    stage_two(tmp_path / "deep" / "out")
    assert unfinished(tmp_path) == []
    assert content(tmp_path / "deep" / "out") == {"a.txt": "a", "b.txt": "b"}


def left(folder: Path, name: str, hours: float = 0.0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("half")
    os.utime(folder / name, times=(time.time() - hours * 3600,) * 2)
    return folder / name


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_whose_leftovers_are_removed(tmp_path: Path) -> None:
    with scratch(tmp_path) as mine:
        machine, process, start, _ = mine.name.removeprefix(HIDDEN).split("-")
        kept = [
            left(tmp_path, f"{HIDDEN}{machine}-{process}-{start}-77", hours=99),
            left(tmp_path, f"{HIDDEN}0123456789-{process}-{start}-0", hours=23),
            left(tmp_path, f"{HIDDEN}older", hours=23),
            left(tmp_path, "other.part", hours=99),
            left(tmp_path / "below", f"{HIDDEN}0123456789-1-1-0", hours=25),
        ]
        gone = [
            left(tmp_path, f"{HIDDEN}{machine}-{process}-{int(start) + 1}-0"),  # the number belongs to another process now
            left(tmp_path, f"{HIDDEN}{machine}-{'9' * 30}-1-0"),
            left(tmp_path, f"{HIDDEN}0123456789-{process}-{start}-1", hours=25),
            left(tmp_path, f"{HIDDEN}other-form", hours=25),
        ]
        remove_leftovers(tmp_path)
        assert mine.is_dir()
        assert [path.exists() for path in (*kept, *gone)] == [True] * len(kept) + [False] * len(gone)
        remove_leftovers(tmp_path, below=True)
        assert not kept[-1].exists()


def test_a_process_of_another_user_is_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(process: int, signal: int) -> None:
        raise PermissionError

    theirs = left(tmp_path, f"{HIDDEN}{files._machine()}-{2**22 - 1}-1-0")
    monkeypatch.setattr(os, "kill", forbidden)
    monkeypatch.setattr(files, "_start_of", lambda process: "unknown")  # where /proc hides it
    remove_leftovers(tmp_path)
    assert theirs.exists()
