"""Files are written whole or not at all."""

import json
from contextlib import suppress
from pathlib import Path

import pytest

from seewhy.errors import SeewhyError
from seewhy.files import staged, write_atomically, write_json


def content(folder: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in folder.iterdir()}


def stage_two(folder: Path) -> None:
    with staged(folder) as staging:
        (staging / "a.txt").write_text("a")
        (staging / "b.txt").write_text("b")


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")

    def write(part: Path) -> None:
        part.write_text("new")
        assert (tmp_path / "a.txt").read_text() == "old"

    write_atomically(tmp_path / "a.txt", write)
    assert content(tmp_path) == {"a.txt": "new"}


@pytest.mark.parametrize("failure", [OSError("full"), KeyboardInterrupt()], ids=repr)
def test_a_write_that_fails_leaves_the_old_file_and_no_part(failure: BaseException, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")

    def write(part: Path) -> None:
        part.write_text("half")
        raise failure

    with pytest.raises(type(failure)):
        write_atomically(tmp_path / "a.txt", write)
    assert content(tmp_path) == {"a.txt": "old"}


def test_json_is_read_back(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"folder": tmp_path, "n": 3})
    assert json.loads((tmp_path / "a.json").read_text()) == {"folder": str(tmp_path), "n": 3}


def test_staged_files_move_together(tmp_path: Path) -> None:
    with staged(tmp_path / "deep" / "out") as staging:
        (staging / "a.txt").write_text("a")
        (staging / "manifest.json").write_text("{}")
        assert not (tmp_path / "deep").exists()
    assert content(tmp_path / "deep" / "out") == {"a.txt": "a", "manifest.json": "{}"}
    assert [p.name for p in tmp_path.iterdir()] == ["deep"]


def test_a_block_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with suppress(KeyError), staged(tmp_path / "out") as staging:
        (staging / "a.txt").write_text("a")
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SeewhyError, match=r"^cannot write to .*deep: .*file is a file$"), staged(tmp_path / "file" / "deep"):
        pass
    (tmp_path / "out" / "b.txt").mkdir(parents=True)
    with pytest.raises(SeewhyError, match=r"b.txt in it is a folder$"):
        stage_two(tmp_path / "out")
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["b.txt"], "no file is moved if one cannot be"
