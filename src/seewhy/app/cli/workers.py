"""The processes of ``--devices N``. One process starts N workers, waits for them, and says how they ended.

Lightning could start them, as children of the first one. Then an observer kills the first one with SIGKILL when another one
has ended with an error, before it can say so; and the others go on when the first one is killed.
"""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, NoReturn

import typer

from seewhy.app.cli.stop import Stopped, going_on_in
from seewhy.errors import SeewhyError

if TYPE_CHECKING:
    from lightning.fabric import Fabric

PARENT = "SEEWHY_PARENT"
"""An environment variable of workers: the number of the process that has started them."""
FROM_OUTSIDE = ("LOCAL_RANK", "JSM_NAMESPACE_LOCAL_RANK", "OMPI_COMM_WORLD_RANK", "PMI_RANK")
"""Environment variables of processes that torchrun, jsrun or mpirun has started."""
OTHER_ENDED = 75
"""The exit status of a worker that has ended because another one has."""
GRACE_SECONDS = 10
"""So long a process may take to end by itself."""


class Worker:
    """A worker process. What a worker other than the first says on stderr is kept, since all workers make one mistake."""

    def __init__(self, rank: int, command: Sequence[str], around: dict[str, str]) -> None:
        self.rank = rank
        self.said: IO[bytes] | None = TemporaryFile() if rank else None  # noqa: SIM115, it lives as long as the worker
        self.process = subprocess.Popen(command, env={**around, "LOCAL_RANK": str(rank)}, stderr=self.said)

    @property
    def status(self) -> int | None:
        """None while it runs; negative after a signal."""
        return self.process.poll()

    def repeat(self) -> None:
        """Say what the worker has said: all of it if it ended with a traceback, else its last line."""
        if self.said is not None:
            self.said.seek(0)
            text = self.said.read().decode(errors="replace").strip()
            typer.echo(text if self.status == 1 else text.rpartition("\n")[2], err=True)


def is_worker() -> bool:
    """Has another process of ours started this one?"""
    return PARENT in os.environ


def are_started_from_outside() -> bool:
    """Has torchrun, srun, jsrun or mpirun started the processes? As Lightning understands the environment."""
    srun = "SLURM_NTASKS" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive")
    return srun or any(name in os.environ for name in FROM_OUTSIDE)


def shared_out(devices: int, nodes: int, device: str, out: Path | None) -> "Fabric | None":
    """The processes of a command; None for a single one. The first process of ``--devices N`` starts workers, and ends.

    The errors are those of ``check_processes`` and ``processes``.
    """
    from seewhy.devices import check_processes, processes

    check_processes(devices, nodes, device, out)
    if devices > 1 and not are_started_from_outside() and out is not None:
        with going_on_in(out):
            work(devices, out)
    return processes(devices, nodes, device, out)


def work(devices: int, out: Path) -> NoReturn:
    """Start the command again in ``devices`` workers, wait for them, and end as they have ended: one of them says why.

    No worker is left when this process ends: it ends them; and if it is killed, each one sees that it has no parent.
    """
    port = os.environ.get("MASTER_PORT") or _free_port()
    around = {**os.environ, "MASTER_PORT": port, PARENT: str(os.getpid())}
    workers: list[Worker] = []
    try:
        for rank in range(devices):
            workers.append(Worker(rank, _this_command(), around))
        failed = _first_failure(workers)
    except OSError as error:
        raise SeewhyError(f"worker {len(workers)} of {devices} cannot be started: {error.strerror or error}") from None
    finally:
        _end(workers)
    if failed is None:
        raise typer.Exit(0)
    status = failed.status or 0
    if status < 0:
        how = "killed, perhaps for its memory" if -status == signal.SIGKILL else f"ended by {signal.Signals(-status).name}"
        raise SeewhyError(f"worker {failed.rank} was {how}; the same command goes on in {out}")
    if status == OTHER_ENDED:
        raise SeewhyError(f"another process of this command ended; the same command goes on in {out}")
    if status > 128:
        raise Stopped(status - 128, out)
    if workers[0].status != status:
        failed.repeat()
    raise typer.Exit(status)


def follow_parent() -> None:
    """In a worker: end when the process that has started it is no longer there."""
    if is_worker() and hasattr(os, "getppid"):
        threading.Thread(target=_follow, args=(int(os.environ[PARENT]),), daemon=True, name="follow parent").start()


@contextmanager
def one_voice(fabric: "Fabric | None", out: Path | None) -> Iterator[None]:
    """Of several processes that stop for the same reason one says it, the first of each machine."""
    from seewhy.devices import ExchangeError, ShareError, leave_group

    first = fabric is None or fabric.local_rank == 0
    try:
        yield
    except Stopped as stop:
        if first:
            raise
        raise typer.Exit(stop.status) from None
    except ExchangeError:
        if is_worker():
            raise typer.Exit(OTHER_ENDED) from None
        raise SeewhyError(f"another process of this command ended; the same command goes on in {out}") from None
    except SeewhyError as error:
        leave_group()
        if first or is_worker() or isinstance(error, ShareError):
            raise
        raise typer.Exit(2) from None
    leave_group()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(128 + signal.SIGTERM)  # it hangs in an exchange


def _first_failure(workers: Sequence[Worker]) -> Worker | None:
    """Wait for all workers, and return the one that failed first, for a reason of its own if one has; None if none fails.

    When one has failed, the others end by themselves, or are ended.
    """
    failed: list[Worker] = []
    since = float("inf")
    while running := [worker for worker in workers if worker.status is None]:
        failed += [w for w in workers if w.status and w not in failed]
        if failed and since == float("inf"):
            since = time.monotonic()
        if time.monotonic() - since > GRACE_SECONDS:
            _end(running)
            break  # how those end says nothing
        time.sleep(0.1)
    else:
        failed += [w for w in workers if w.status and w not in failed]
    return min(failed, key=lambda worker: worker.status == OTHER_ENDED, default=None)


def _end(workers: Sequence[Worker]) -> None:
    """End the workers that still run: gently, and then by force."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        running = [worker for worker in workers if worker.status is None]
        for worker in running:
            worker.process.send_signal(number)
        until = time.monotonic() + GRACE_SECONDS
        while any(worker.status is None for worker in running) and time.monotonic() < until:
            time.sleep(0.02)


def _this_command() -> list[str]:
    """The command line of this process, to be started again: a script, or a module after ``python -m``."""
    spec = sys.modules["__main__"].__spec__
    started = ["-m", spec.name] if spec is not None else [str(Path(sys.argv[0]).absolute())]
    return [sys.executable, *started, *sys.argv[1:]]


def _free_port() -> str:
    with socket.socket() as opened:
        opened.bind(("", 0))
        return str(opened.getsockname()[1])
