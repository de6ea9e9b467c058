"""Several processes for one command: Lightning Fabric starts them, or finds those that torchrun or SLURM started."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from os import cpu_count, environ
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from seewhy.errors import SeewhyError, cause, short_number

if TYPE_CHECKING:
    from lightning.fabric import Fabric

PROCESSES_PER_CORE = 4
MAX_PROCESSES = 65536


def processes(devices: int, nodes: int, device: str, out: Path | None) -> "Fabric | None":
    """The processes of an evaluation or a training, launched; None for a single one.

    On GPUs each has one of its own. The arguments and errors are those of ``check_processes``; SeewhyError also if the
    processes cannot meet.
    """
    if devices * nodes == 1:
        return None
    check_processes(devices, nodes, device, out)
    from lightning.fabric import Fabric

    for part in ("fabric", "pytorch"):  # they greet every process
        logging.getLogger(f"lightning.{part}").setLevel(logging.WARNING)
    try:
        fabric = Fabric(accelerator=device, devices=devices, num_nodes=nodes, strategy="ddp")
        fabric.launch()
    except (RuntimeError, ValueError, OSError) as error:  # where they meet, and how many they are, is said from outside
        raise SeewhyError(f"the {devices * nodes} processes cannot meet: {cause(error)}") from None
    return fabric


def check_processes(devices: int, nodes: int, device: str, out: Path | None) -> None:
    """SeewhyError for processes that cannot be had.

    Args:
        devices: processes on this machine.
        nodes: machines.
        device: cpu or cuda.
        out: the run folder in which they meet.

    Raises:
        SeewhyError: no run folder; a device that cannot be shared out; fewer GPUs than asked for; more processes than
            the CPU can work for; several machines, and nobody has said where they meet.
    """
    if devices * nodes == 1:
        return
    if out is None:
        raise SeewhyError("several processes meet in a run folder: give --out")
    if device not in ("cpu", "cuda"):
        raise SeewhyError(f"--devices shares out cpu or cuda, not {device}")
    if device == "cuda" and torch.cuda.device_count() < devices:
        raise SeewhyError(f"--devices {short_number(devices)}, but there are {torch.cuda.device_count()} GPUs here")
    cores = cpu_count() or 1
    if device == "cpu" and devices > PROCESSES_PER_CORE * cores:
        most = PROCESSES_PER_CORE * cores
        raise SeewhyError(f"--devices {short_number(devices)}, but the CPU has {cores} cores here: give at most {most}")
    if devices * nodes > MAX_PROCESSES:
        raise SeewhyError(
            f"--nodes {short_number(nodes)} x --devices {short_number(devices)}: give at most {MAX_PROCESSES} processes"
        )
    if nodes > 1 and not any(name in environ for name in ("MASTER_ADDR", "SLURM_NTASKS", "LSB_JOBID")):
        raise SeewhyError(
            f"--nodes {nodes}, but nobody says where they meet: start the command with srun or torchrun, or set "
            "MASTER_ADDR, MASTER_PORT and NODE_RANK on each machine"
        )


class ShareError(SeewhyError):
    """A process other than the first has failed in its own share; the first process does not know of it."""


class ExchangeError(RuntimeError):
    """Another process of the group has ended during an exchange."""


@contextmanager
def exchange() -> Iterator[None]:
    """A block in which processes wait for each other, and nothing else is done."""
    try:
        yield
    except RuntimeError as error:
        raise ExchangeError(str(error)) from error


def leave_group() -> None:
    """Destroy the process group before exit, where gloo's threads could abort the process.

    Do not call it during an exchange: it would wait for the others.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
