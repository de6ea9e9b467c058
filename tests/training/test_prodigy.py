"""The steps of Prodigy with the published settings of NEMt, against a literal rewriting in float64."""

from collections.abc import Callable

import pytest
import torch
from prodigyopt import Prodigy
from torch import Tensor


def literal(
    x: list[float], gradient_of: Callable[[list[float]], list[float]], decay: float, steps: int
) -> list[list[float]]:
    """Algorithm 4 of Mishchenko and Defazio (2024), Prodigy with Adam, number by number.

    As the released code of NEMt runs it: learning rate 1, decoupled decay, no bias correction, d from 1e-6, and no bound of
    its growth. With the safeguard of the warm-up, the sum of gradients is not weighted by the learning rate.
    """
    start, d0, (beta1, beta2), eps = list(x), 1e-6, (0.9, 0.999), 1e-8
    m, v, s = ([0.0] * len(x) for _ in range(3))
    d, r, beta3, path = d0, 0.0, 0.999**0.5, []
    for _ in range(steps):
        r, gradient = r * beta3, gradient_of(x)
        for i, g in enumerate(gradient):
            r += d / d0 * d * g * (start[i] - x[i])
            m[i] = beta1 * m[i] + d * (1 - beta1) * g
            v[i] = beta2 * v[i] + d * d * (1 - beta2) * g * g
            s[i] = beta3 * s[i] + d / d0 * d * g
        grown = max(d, r / sum(abs(one) for one in s))
        x = [one - decay * d * one for one in x]
        x = [one - d * m[i] / (v[i] ** 0.5 + grown * eps) for i, one in enumerate(x)]
        d = grown
        path.append(x)
    return path


def slope(x: list[float]) -> list[float]:
    """Of the sum of (x_i - i)^2 * (i + 1) / 2 and of a product."""
    own = [(value - i) * (i + 1) for i, value in enumerate(x)]
    own[0] += 0.3 * x[1]
    own[1] += 0.3 * x[0]
    return own


@pytest.mark.parametrize("decay", [0.0, 0.01])
def test_200_steps_are_those_of_the_literal_rewriting(decay: float) -> None:
    start = [3.0, -2.0, 0.5]
    weights = torch.tensor(start, dtype=torch.float64, requires_grad=True)
    optimizer = Prodigy([weights], lr=1.0, weight_decay=decay, decouple=True, safeguard_warmup=True)
    path: list[Tensor] = []
    for _ in range(200):
        weights.grad = torch.tensor(slope(weights.tolist()), dtype=torch.float64)
        optimizer.step()
        path.append(weights.detach().clone())
    expected = torch.tensor(literal(start, slope, decay, 200), dtype=torch.float64)
    torch.testing.assert_close(torch.stack(path), expected)
    assert float((path[-1] - path[0]).abs().max()) > 0.5  # it has moved
