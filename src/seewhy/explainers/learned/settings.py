"""How something is trained: the settings that a paper publishes, and that the user may change."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

from seewhy.classifier.precision import Precision
from seewhy.options import Above, AtLeast, AtMost, Doc, checking

Optimizer = Literal["adam", "adamw", "prodigy"]
Schedule = Literal["constant", "cosine", "one_cycle"]


@partial(checking, "settings")
@dataclass(frozen=True, kw_only=True)
class Settings:
    """How something is trained. A step is one change of the weights."""

    epochs: Annotated[int, AtLeast(1), Doc("So often each training image is seen.")] = 10
    batch_size: Annotated[int, AtLeast(1), Doc("Images that are run at a time.")] = 32
    accumulation: Annotated[int, AtLeast(1), Doc("Batches whose gradients are averaged for one step.")] = 1
    optimizer: Annotated[
        Optimizer, Doc('"adam", "adamw", or "prodigy", which finds its own step size: give it learning_rate=1.')
    ] = "adamw"
    learning_rate: Annotated[float, Above(0), Doc("The highest learning rate of the schedule.")] = 1e-3
    weight_decay: Annotated[float, AtLeast(0), Doc("Decay of the weights: decoupled, but for adam.")] = 0.0
    schedule: Annotated[
        Schedule,
        Doc('The learning rate over the steps: "constant", half a "cosine" down to 0, or "one_cycle": up, then down to 0.'),
    ] = "constant"
    warmup_steps: Annotated[int, AtLeast(0), Doc("Steps over which the learning rate rises from 0.")] = 0
    clip: Annotated[float, AtLeast(0), Doc("Longest gradient of all weights together; 0 clips nothing.")] = 0.0
    patience: Annotated[
        int, AtLeast(0), Doc("Validations without a lower loss after which the training stops early; 0 never stops early.")
    ] = 0
    precision: Annotated[Precision, Doc('"bf16" runs both networks in bfloat16; weights keep their type.')] = "fp32"
    held_out: Annotated[float, AtLeast(0), AtMost(0.9), Doc("Share of the images that is kept for validation.")] = 0.1
    seed: Annotated[int, AtLeast(0), Doc("Seed of the first weights, of the order of the images and of all draws.")] = 0
