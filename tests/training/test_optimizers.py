"""Optimizers, and learning rates beside PyTorch's own schedules."""

from math import cos, pi

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from seewhy.explainers.learned.settings import Settings
from seewhy.training.optimizers import make_optimizer, set_rate, share_of_rate


def parameters() -> list[nn.Parameter]:
    return [nn.Parameter(torch.tensor([1.0, -2.0, 0.5]))]


@pytest.mark.parametrize("steps", [10, 37, 200])
@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_one_cycle_is_pytorchs(steps: int, optimizer: str) -> None:
    settings = Settings(optimizer=optimizer, schedule="one_cycle", learning_rate=0.3)
    made, theirs = make_optimizer(settings, parameters()), torch.optim.AdamW(parameters(), lr=0.3)
    schedule = lr_scheduler.OneCycleLR(theirs, 0.3, total_steps=steps)
    for step in range(steps):
        rate = set_rate(made, settings, step, steps)
        assert rate == pytest.approx(theirs.param_groups[0]["lr"], rel=1e-9)
        assert made.param_groups[0]["lr"] == rate
        assert made.param_groups[0]["betas"] == pytest.approx(theirs.param_groups[0]["betas"], rel=1e-9)
        theirs.step()
        if step < steps - 1:
            schedule.step()


def test_cosine_falls_to_zero_after_its_warm_up() -> None:
    settings = Settings(schedule="cosine", warmup_steps=4)
    shares = [share_of_rate(settings, step, 24) for step in range(25)]
    assert shares[:4] == [0.25, 0.5, 0.75, 1.0]
    assert shares[4:] == pytest.approx([(1 + cos(pi * i / 20)) / 2 for i in range(21)])
    assert shares[-1] == pytest.approx(0)


def test_a_constant_rate_rises_and_stays() -> None:
    settings = Settings(warmup_steps=2)
    assert [share_of_rate(settings, step, 10) for step in range(5)] == [0.5, 1, 1, 1, 1]
    assert share_of_rate(Settings(), 0, 10) == 1
    cycle = Settings(schedule="one_cycle", warmup_steps=5)
    assert max(range(40), key=lambda step: share_of_rate(cycle, step, 40)) == 4


def test_weight_decay_is_that_of_the_settings() -> None:
    """Without a gradient a decoupled decay shrinks a weight by rate x decay; adam's own decay is a gradient instead."""
    for name, expected in (("adamw", 1 - 0.1 * 0.5), ("adam", 1 - 0.1)):
        (p,) = parameters()
        p.grad = torch.zeros_like(p)
        make_optimizer(Settings(optimizer=name, learning_rate=0.1, weight_decay=0.5), [p]).step()
        assert float(p.detach()[0]) == pytest.approx(expected, rel=1e-4)


def test_prodigy_is_that_of_the_released_code() -> None:
    """Decoupled decay, safeguarded warm-up, no bias correction: section 4.5 of the notes on the released code."""
    made = make_optimizer(Settings(optimizer="prodigy", learning_rate=1.0, weight_decay=0.01), parameters())
    group = made.param_groups[0]
    assert (group["lr"], group["weight_decay"], group["betas"], group["eps"]) == (1.0, 0.01, (0.9, 0.999), 1e-8)
    assert (group["d0"], group["d_coef"], group["growth_rate"]) == (1e-6, 1.0, float("inf"))
    assert (group["decouple"], group["safeguard_warmup"], group["use_bias_correction"]) == (True, True, False)
