"""The processes of one training: each has its micro-batches of a step, and all make the same step."""

from collections.abc import Callable, Iterable, Sequence
from os import environ
from typing import TYPE_CHECKING, TypeVar, cast

import torch
from torch import Tensor, nn

from seewhy.devices import exchange
from seewhy.errors import SeewhyError

if TYPE_CHECKING:
    from lightning.fabric import Fabric

T = TypeVar("T")


class Together:
    """A single process, or those that Lightning Fabric has started.

    Gradients are summed by hand. ``DistributedDataParallel`` would do it in its ``forward``, and the loss of a method calls
    the network as it likes.
    """

    def __init__(self, fabric: "Fabric | None") -> None:
        self.fabric = fabric
        self.rank = fabric.global_rank if fabric else 0
        self.world = fabric.world_size if fabric else 1
        self.on_this_machine = int(environ.get("LOCAL_WORLD_SIZE", self.world)) if fabric else 1

    def mine(self, parts: Sequence[T]) -> list[tuple[int, T]]:
        """The parts of this process, with their numbers."""
        return list(enumerate(parts))[self.rank :: self.world]

    def everybody(self, said: T) -> list[T]:
        """What each process says, in their order: something small that can be pickled."""
        if self.fabric is None:
            return [said]
        heard: list[T | None] = [None] * self.world
        with exchange():
            torch.distributed.all_gather_object(heard, said)
        return [one for one in heard if one is not None]

    def first_says(self, said: T) -> T:
        """What the first process says."""
        if self.fabric is None:
            return said
        with exchange():
            return self.fabric.broadcast(said)

    def first_does(self, work: Callable[[], T]) -> T:
        """What ``work`` returns in the first process; its SeewhyError is raised in all."""
        done: tuple[T | None, str] = (None, "")
        if self.rank == 0:
            try:
                done = (work(), "")
            except SeewhyError as error:
                done = (None, str(error))
        found, mistake = self.first_says(done)
        if mistake:
            raise SeewhyError(mistake)
        return cast(T, found)

    def add_gradients(self, network: nn.Module) -> None:
        """Each gradient becomes its sum over the processes, and each running statistic its mean."""
        if self.fabric is None:
            return
        trained = [p for p in network.parameters() if p.requires_grad]
        for p in trained:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        self._add([p.grad for p in trained if p.grad is not None])
        floating = [b for b in network.buffers() if b.is_floating_point()]
        for statistic in floating:
            statistic.div_(self.world)
        self._add(floating)

    def _add(self, tensors: Iterable[Tensor]) -> None:
        """Each tensor becomes its sum over the processes, in one exchange."""
        assert self.fabric is not None
        tensors = list(tensors)
        if not tensors:
            return
        with exchange():
            total = cast(Tensor, self.fabric.all_reduce(torch.cat([t.flatten() for t in tensors]), reduce_op="sum"))
        for t, part in zip(tensors, total.split([t.numel() for t in tensors]), strict=True):
            t.copy_(part.view_as(t))
