"""Which images a step has, and what is drawn in it: functions of the seed and of the number of the step alone.

So a run that was killed goes on with the images and the draws of an undisturbed one, also in the middle of an epoch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256

import torch
from torch import Tensor


def key_of(seed: int, *places: int | str) -> int:
    """A seed for a random stream of its own: that of an epoch, of a step and a micro-batch, of held-out images."""
    return int.from_bytes(sha256(f"{seed} {places}".encode()).digest()[:8]) >> 1


def generator_of(seed: int, *places: int | str) -> torch.Generator:
    """The random stream of a place, on the CPU."""
    return torch.Generator().manual_seed(key_of(seed, *places))


@contextmanager
def drawing(device: torch.device, seed: int, *places: int | str) -> Iterator[None]:
    """Inside the block PyTorch's own random numbers, such as those of dropout, are of this place; afterwards as before."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(key_of(seed, *places))
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(key_of(seed, *places))
        yield


class Order:
    """The images of every step. Each epoch has an order of its own, and leaves out what would be an incomplete batch.

    Args:
        n: images.
        batch_size: images of a step; if there are fewer images than that, all of them.
        seed: of the orders.
    """

    def __init__(self, n: int, batch_size: int, seed: int) -> None:
        self.n, self.seed = n, seed
        self.batch_size = min(batch_size, n)
        self.steps = n // self.batch_size
        """Of an epoch."""
        self._epoch, self._places = -1, torch.empty(0, dtype=torch.long)

    def places(self, step: int) -> Tensor:
        """(batch_size,) int64, places among the n images, of the step with this number; steps are counted from 0."""
        epoch, i = divmod(step, self.steps)
        if epoch != self._epoch:
            self._epoch, self._places = epoch, torch.randperm(self.n, generator=generator_of(self.seed, "order", epoch))
        return self._places[i * self.batch_size : (i + 1) * self.batch_size]
