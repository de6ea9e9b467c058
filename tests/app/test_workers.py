"""The processes of --devices N: a mistake in one of them is one line and status 2, and none is left, whatever is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image
from support.command import run

Capture = pytest.CaptureFixture[str]
SUPERVISOR = """
import sys
from pathlib import Path
import typer
from seewhy.app.cli import main, stop, workers
workers._this_command = lambda: [sys.executable, "-c", sys.argv[1]]
workers.GRACE_SECONDS = stop.CLEANING_SECONDS = {grace}
app = typer.Typer()
@app.command(context_settings={{"allow_extra_args": True}})
def evaluate(code: str) -> None:
    with stop.going_on_in(Path("run")):
        workers.work(3, Path("run"))
main.app = app
main.main()
"""
WORKER = """
import os, sys, time
from pathlib import Path
from seewhy.app.cli import workers
workers.follow_parent()
rank = int(os.environ["LOCAL_RANK"])
Path(f"{rank}.pid").write_text(str(os.getpid()))
def end(status, line):
    print(line, file=sys.stderr, flush=True)
    sys.exit(status)
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def started(does: str, grace: float = 10) -> "subprocess.Popen[str]":
    """A process that starts three workers, each of which does this."""
    code = [sys.executable, "-c", SUPERVISOR.format(grace=grace), WORKER + does]
    return subprocess.Popen(code, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Its status and what it has said; no worker is left."""
    _, said = process.communicate(timeout=60)
    none_left()
    return process.returncode, said


def lives(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and ") Z" not in stat.read_text()


def none_left(patience: float = 0.0) -> None:
    until = time.monotonic() + patience
    pids = [int(file.read_text()) for file in Path().glob("*.pid")]
    while any(lives(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(lives(pid) for pid in pids)


def all_there() -> None:
    until = time.monotonic() + 60
    while not all((Path(f"{rank}.pid").exists() and Path(f"{rank}.pid").read_text()) for rank in range(3)):
        assert time.monotonic() < until
        time.sleep(0.02)


def test_workers_that_end_well(work: Path) -> None:
    assert ended(started("print(rank)")) == (0, "")


@pytest.mark.parametrize(
    ("does", "says"),
    [
        ("end(2, 'seewhy: worker 1: wrong') if rank == 1 else time.sleep(600)", "seewhy: worker 1: wrong"),
        ("end(2, f'seewhy: no such metric')", "seewhy: no such metric"),
        ("end(2, 'seewhy: no such metric') if rank < 2 else sys.exit(75)", "seewhy: no such metric"),
        ("sys.exit(75) if rank != 1 else end(2, 'noise\\nseewhy: it is broken')", "seewhy: it is broken"),
        (
            "os.kill(os.getpid(), 9) if rank == 1 else time.sleep(600)",
            "seewhy: worker 1 was killed, perhaps for its memory; the same command goes on in run",
        ),
        (
            "os.kill(os.getpid(), 11) if rank == 0 else sys.exit(75)",
            "seewhy: worker 0 was ended by SIGSEGV; the same command goes on in run",
        ),
        ("sys.exit(75)", "seewhy: another process of this command ended; the same command goes on in run"),
    ],
)
def test_a_mistake_is_one_line(does: str, says: str, work: Path) -> None:
    assert ended(started(does, grace=0.3)) == (2, says + "\n")


def test_a_traceback_is_shown(work: Path) -> None:
    status, said = ended(started("1 / 0 if rank == 1 else time.sleep(600)", grace=0.3))
    assert status == 1
    assert said.startswith("Traceback")
    assert said.endswith("ZeroDivisionError: division by zero\n")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_who_stops_the_first_stops_all(number: int, status: int, work: Path) -> None:
    process = started("time.sleep(600)")
    all_there()
    process.send_signal(number)
    assert ended(process) == (status, "seewhy: stopped; the same command goes on in run\n")


def test_a_worker_that_does_not_listen_is_ended_too(work: Path) -> None:
    process = started("import signal; signal.signal(15, signal.SIG_IGN); Path(f'{rank}.deaf').touch(); time.sleep(600)", 0.3)
    while len(list(work.glob("*.deaf"))) < 3:
        time.sleep(0.02)
    process.terminate()
    assert ended(process) == (143, "seewhy: stopped; the same command goes on in run\n")


def test_no_worker_survives_its_parent(work: Path) -> None:
    process = started("time.sleep(600)")
    all_there()
    process.kill()
    process.communicate()
    none_left(patience=20)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--devices 1000", "--devices 1000, but the CPU has"),
        (f"--devices {10**40}", "--devices 10^40, but the CPU has"),
        ("--nodes 1000", "--nodes 1000, but nobody says where they meet: start the command with srun or torchrun, or set"),
        (f"--nodes {10**40}", "--nodes 10^40 x --devices 1: give at most 65536 processes"),
        (f"--batch-size {10**40}", "Invalid value for '--batch-size'"),
        (f"--limit {10**40}", "--limit takes a number from 1 on, or NAME=NUMBER; not 1000"),
        ("--limit 999999999", "shapes cannot take n=999999999: give a whole number of at least 1 and of at most"),
        (f"--limit {'9' * 5000}", "--limit takes a number from 1 on, or NAME=NUMBER; not 9999"),
        (f"--limit complexity={'9' * 5000}", "NAME=NUMBER; not complexity=9999"),
        (f"--shard 1/{'9' * 5000}", "--shard takes I/N with I from 1 to N, such as 2/8; not 1/999"),
        (f"--threads {10**9}", "threads is 1000000000; give at least 1, and at most"),
    ],
)
def test_numbers_beyond_reason(options: str, says: str, work: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **options: pytest.fail("a process is started"))
    base = ["evaluate", "--model", "shapes", "--data", "shapes", "--metric", "complexity", "--out", "run"]
    base += [] if "--limit" in options else ["--limit", "2"]
    result = run(capfd, *base, *options.split())
    assert (result.status, result.out) == (2, "")
    assert says in result.err
    assert result.err.startswith("seewhy: ")
    assert len(result.err.splitlines()) == 1
    assert len(result.err) < 500
    assert list(work.iterdir()) == []


def test_a_share_that_cannot_be_measured(work: Path) -> None:
    """The pictures of the second process are broken. The first used to be killed, or to say a line of its own."""
    (work / "pictures").mkdir()
    for i in range(40):
        Image.new("RGB", (16, 16), (i, 0, 0)).save(work / "pictures" / f"{i:02}.png")
        if i >= 20:
            (work / "pictures" / f"{i:02}.png").write_bytes(b"no picture")
    script = work / "command.py"
    script.write_text("from seewhy.app.cli.main import main\nif __name__ == '__main__':\n    main()\n")
    words = "evaluate --model shapes --data pictures --metric complexity --batch-size 10 --out run --devices 2"
    around = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, script, *words.split()], capture_output=True, text=True, check=False, env=around)
    assert done.returncode == 2
    assert done.stderr.startswith("seewhy: process 1: reading failed on 16 images and worked on none")
    assert done.stderr.count("\n") == 1
