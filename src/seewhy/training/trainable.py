"""What the loop can train."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from seewhy.explainers.learned.learned_explainer import Seen, Step
from seewhy.explainers.learned.settings import Settings
from seewhy.types import Images


@runtime_checkable
class Trainable(Protocol):
    """A network and its loss. Every learned explainer is one; so is anything else that has these four."""

    @property
    def settings(self) -> Settings:
        """How it is trained unless the user says otherwise."""
        ...

    @property
    def network(self) -> nn.Module | None:
        """What is trained. The loop puts it into train mode at every step, and into eval mode for held-out images."""
        ...

    def see(self, images: Images, labels: Tensor | None) -> Seen:
        """What is known of the images before a step. Nothing in it depends on the network that is trained."""
        ...

    def loss(self, seen: Seen, generator: torch.Generator) -> Step:
        """The named terms of the loss, with a graph. Every random draw comes from the generator, which is on the CPU."""
        ...
