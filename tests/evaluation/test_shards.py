"""Shares of an evaluation: processes of a group, and shards that know nothing of each other."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.command import run
from support.evaluations import CNN, N, Others, Pictures, Watched, bytes_of, measured

from seewhy.errors import SeewhyError
from seewhy.evaluation.run import open_run
from seewhy.explainers import explainer


@pytest.mark.parametrize("network", ["shapes/cnn", "shapes/vit"])
def test_two_processes_find_what_one_finds(tmp_path: Path, network: str, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = (
        f"evaluate --model {network} --data shapes --limit 9 --batch-size 2 --metric relevance_mass --metric lif --quiet"
    )
    assert run(capfd, *arguments.split(), "--out", tmp_path / "one").status == 0
    script = tmp_path / "command.py"  # as the installed command: a file that Lightning can start again
    script.write_text("from seewhy.app.cli.main import main\nif __name__ == '__main__':\n    main()\n")
    command = [sys.executable, script, *arguments.split(), "--out", tmp_path / "two", "--devices", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")
    assert open_run(tmp_path / "two").manifest.processes == 2


def test_shards_joined_are_what_one_process_finds(tmp_path: Path) -> None:
    one = measured(tmp_path / "one", limits={"deletion": 5})
    with pytest.raises(SeewhyError, match=r"lacks 8 units, of shard 1/1: run that"):
        measured(tmp_path / "run", join=True, limits={"deletion": 5})
    assert not (tmp_path / "run").exists()
    for i in (3, 1):
        part = measured(tmp_path / "run", shard=(i, 3), limits={"deletion": 5})
        assert 0 < len(part.frame) < len(one.frame)
        with pytest.raises(SeewhyError, match="is not finished"):
            open_run(tmp_path / "run")
    with pytest.raises(SeewhyError, match=r"lacks 2 units, of shard 2/3: run that, or give the command without join"):
        measured(tmp_path / "run", join=True, limits={"deletion": 5})
    measured(tmp_path / "run", shard=(2, 3), limits={"deletion": 5})
    idle = Watched(fails=lambda _: pytest.fail("it is there"))
    methods = {"watched": idle, "grad_cam": explainer("grad_cam", CNN)}
    joined = measured(tmp_path / "run", methods=methods, join=True, limits={"deletion": 5})
    assert joined.frame.equals(one.frame)
    assert bytes_of(tmp_path / "run") == bytes_of(tmp_path / "one")
    measured(tmp_path / "run", methods=methods, shard=(2, 3), limits={"deletion": 5})
    assert open_run(tmp_path / "run").manifest.complete, "a shard that finds nothing to do leaves the folder as it is"


def test_the_next_plain_call_finishes_what_shards_have_begun(tmp_path: Path) -> None:
    measured(tmp_path / "run", shard=(2, 4))
    watched = Watched()
    measured(tmp_path / "run", methods={"watched": watched, "grad_cam": explainer("grad_cam", CNN)})
    assert len(watched.asked) == 3
    measured(tmp_path / "one")
    assert bytes_of(tmp_path / "run") == bytes_of(tmp_path / "one")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"shard": (0, 3)}, "shard 0/3: give I/N with I from 1 to N"),
        ({"shard": (4, 3)}, "shard 4/3: give I/N"),
        ({"shard": (1, 3), "join": True}, "a shard measures and join writes the tables"),
        ({"shard": (1, 3), "out": None}, "shards meet in a run folder: give out"),
        ({"join": True, "out": None}, "shards meet in a run folder: give out"),
    ],
)
def test_wrong_shards(options: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(SeewhyError, match=says):
        measured(**{"out": tmp_path / "run", **options})
    assert list(tmp_path.iterdir()) == []


def test_shards_on_the_command_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options = "--limit 6 --batch-size 2 --metric complexity --explainer saliency --out"
    command = f"evaluate --model shapes --data shapes {options}".split()
    result = run(capfd, *command, tmp_path / "run", "--shard", "1/2")
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith("2 numbers of shard 1/2 in ")
    result = run(capfd, *command, tmp_path / "run", "--join")
    assert (result.status, result.out) == (2, "")
    assert "lacks 2 units, of shard 2/2" in result.err
    assert run(capfd, *command, tmp_path / "run", "--shard", "2/2", "--quiet") == (0, "", "")
    joined, alone = (run(capfd, *command, *more) for more in ((tmp_path / "run", "--join"), (tmp_path / "one",)))
    assert joined.out.splitlines()[:2] == alone.out.splitlines()[:2]
    assert bytes_of(tmp_path / "run") == bytes_of(tmp_path / "one")
    assert "--shard takes I/N with I from 1 to N" in run(capfd, *command, tmp_path / "run", "--shard", "3/2").err


def test_a_share_may_have_no_batch(tmp_path: Path) -> None:
    assert len(measured(tmp_path / "run", shard=(1, 9)).frame) == 0
    assert not (tmp_path / "run" / "manifest.json").exists()


def test_shards_in_which_nothing_can_be_measured_leave_nothing_when_they_are_joined(tmp_path: Path) -> None:
    nothing = Pictures(broken=tuple(range(N)))
    for i in (1, 2):
        assert len(measured(tmp_path / "run", nothing, shard=(i, 2)).frame) == 0
    with pytest.raises(SeewhyError, match=r"^nothing could be evaluated: 11 failures, the first of image 0"):
        measured(tmp_path / "run", nothing, join=True)
    assert list(tmp_path.iterdir()) == []


def test_processes_in_which_nothing_can_be_measured_leave_nothing(tmp_path: Path) -> None:
    nothing = Pictures(broken=tuple(range(N)))
    for rank in (1, 0):
        with pytest.raises(SeewhyError, match=r"^nothing could be evaluated"):
            measured(tmp_path / "run", nothing, fabric=Others(rank, [""]))
    assert list(tmp_path.iterdir()) == []


def test_a_process_in_which_nothing_can_be_measured_says_what_it_knows(tmp_path: Path) -> None:
    """The share of the second process is broken, and that of the first is not."""
    some = Pictures(broken=tuple(range(6, N)))
    with pytest.raises(SeewhyError, match="nothing could be evaluated"):  # the first has written nothing yet
        measured(tmp_path / "run", some, fabric=Others(1, [""]))
    assert list(tmp_path.iterdir()) == []
    measured(tmp_path / "run", some, fabric=Others(0, []))
    assert len(list((tmp_path / "run" / "units").glob("*/facts.parquet"))) == 2
    with pytest.raises(SeewhyError, match="is not finished"):  # the first would finish it now
        measured(tmp_path / "run", some, fabric=Others(1, [""]))
    assert len(list((tmp_path / "run" / "units").glob("*/facts.parquet"))) == 4
