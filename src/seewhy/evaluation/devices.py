"""Several processes for one evaluation: Lightning Fabric starts them, or finds those that torchrun or SLURM started."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from seewhy.errors import SeewhyError

if TYPE_CHECKING:
    from lightning.fabric import Fabric


def processes(devices: int, nodes: int, device: str, out: Path | None) -> "Fabric | None":
    """The processes of an evaluation, launched; None for a single one.

    On GPUs each has one of its own.

    Args:
        devices: processes on this machine.
        nodes: machines.
        device: cpu or cuda.
        out: the run folder in which they meet.

    Raises:
        SeewhyError: no run folder; a device that cannot be shared out; fewer GPUs than asked for.
    """
    if devices * nodes == 1:
        return None
    if out is None:
        raise SeewhyError("several processes meet in a run folder: give --out")
    if device not in ("cpu", "cuda"):
        raise SeewhyError(f"--devices shares out cpu or cuda, not {device}")
    if device == "cuda" and torch.cuda.device_count() < devices:
        raise SeewhyError(f"--devices {devices}, but there are {torch.cuda.device_count()} GPUs here")
    from lightning.fabric import Fabric

    for part in ("fabric", "pytorch"):  # they greet every process
        logging.getLogger(f"lightning.{part}").setLevel(logging.WARNING)
    fabric = Fabric(accelerator=device, devices=devices, num_nodes=nodes, strategy="ddp")
    fabric.launch()
    return fabric


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
