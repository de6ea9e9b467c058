"""Optimizers, and the learning rate of every step: a function of the number of the step, so that it has no state."""

from collections.abc import Iterable
from math import cos, pi

import torch
from torch import nn

from seewhy.explainers.learned.settings import Settings

ONE_CYCLE_RISE, ONE_CYCLE_START, ONE_CYCLE_END = 0.3, 1 / 25, 1 / 25e4
"""Of ``torch.optim.lr_scheduler.OneCycleLR``: share of the steps that rise; the first and the last rate, as shares of the
highest one."""
ONE_CYCLE_BETAS = 0.95, 0.85
"""Adam's first beta at both ends and at the highest rate, as ``OneCycleLR`` sets it."""


def make_optimizer(settings: Settings, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer that the settings name.

    "prodigy" finds its step size by itself: the learning rate is a factor, usually 1. Its weight decay is decoupled, and
    ``safeguard_warmup`` is on, as in the released code of NEM-U and NEMt.
    """
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.optimizer == "prodigy":
        from prodigyopt import Prodigy

        return Prodigy(parameters, lr=rate, weight_decay=decay, decouple=True, safeguard_warmup=True)
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(parameters, lr=rate, weight_decay=decay)


def set_rate(optimizer: torch.optim.Optimizer, settings: Settings, step: int, steps: int) -> float:
    """Give the optimizer the learning rate of a step, and return it. With "one_cycle" Adam's first beta changes too."""
    rate = settings.learning_rate * share_of_rate(settings, step, steps)
    for group in optimizer.param_groups:
        group["lr"] = rate
        if settings.schedule == "one_cycle":
            ends, middle = ONE_CYCLE_BETAS
            group["betas"] = (_cycle(settings, step, steps, ends, middle, ends), group["betas"][1])
    return rate


def share_of_rate(settings: Settings, step: int, steps: int) -> float:
    """The learning rate of a step as a share of the one that the settings name.

    Args:
        settings: "constant", "cosine" (to 0 at the end) or "one_cycle". The first ``warmup_steps`` rise in a line; of
            "one_cycle", which rises by itself, they are the length of its rise.
        step: counted from 0.
        steps: of the whole training.
    """
    warmup = settings.warmup_steps
    if settings.schedule == "one_cycle":
        return _cycle(settings, step, steps, ONE_CYCLE_START, 1.0, ONE_CYCLE_END)
    if step < warmup:
        return (step + 1) / warmup
    return _between(1.0, 0.0, (step - warmup) / max(1, steps - warmup)) if settings.schedule == "cosine" else 1.0


def _cycle(settings: Settings, step: int, steps: int, start: float, middle: float, end: float) -> float:
    """A value that goes from ``start`` to ``middle`` and on to ``end``, each time along half a cosine."""
    top = (settings.warmup_steps or ONE_CYCLE_RISE * steps) - 1
    if step <= top:
        return _between(start, middle, step / top if top > 0 else 1.0)
    return _between(middle, end, (step - top) / max(1e-9, steps - 1 - top))


def _between(start: float, end: float, share: float) -> float:
    """Half a cosine from ``start`` (share 0) to ``end`` (share 1 and more)."""
    return end + (start - end) * (1 + cos(pi * min(share, 1.0))) / 2
