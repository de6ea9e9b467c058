"""Noisy, unbiased Shapley values of a few sets: labels of a plain regression (stochastic amortization, Covert et al., 2024)."""

from math import nan

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def noisy_shapley(
    kept: Bool[Tensor, "n m p"], values: Float[Tensor, "n m k"], empty: Float[Tensor, "n k"], full: Float[Tensor, "n k"]
) -> Float[Tensor, "n p k"]:
    r"""Estimates of Shapley values whose mean over the draws of the sets is exact, for any number m of sets.

    Kernel SHAP's normal equations have the matrix $A = E[z z^T]$, which is known, and the vector $b = E[z v(z)]$, which the
    sets estimate without bias (Covert and Lee, 2021, "unbiased KernelSHAP"). With $A_{ii} = 1/2$ and $A_{ij} = a$, the
    solution that sums to v(N) - v(0) is

    $$\hat\phi = \frac{\hat b - \operatorname{mean} \hat b}{1/2 - a} + \frac{v(N) - v(0)}{p}, \qquad
    a = \frac{\sum_{s=2}^{p-1} (s-1) / (p-s)}{p (p-1) \sum_{s=1}^{p-1} 1 / (s (p-s))}$$

    Here b holds what a value has beyond its share of the whole, $v(z) - v(0) - \frac{|z|}{p} (v(N) - v(0))$: that changes
    every entry of b by the same number in the mean, so the values stay unbiased, and their variance is smaller.

    Args:
        kept: the sets of each image, drawn by the exact Shapley kernel (``kernel_sets``).
        values: v of each set, for each class.
        empty: v of no player.
        full: v of all players.
    """
    p = kept.shape[2]
    sizes = torch.arange(1, p, dtype=torch.float64)
    kernel = 1 / (sizes * (p - sizes))
    a = float((kernel * sizes * (sizes - 1)).sum() / (kernel.sum() * p * (p - 1))) if p > 1 else nan
    players, whole = kept.to(values.dtype), (full - empty)[:, None]
    beyond = values - empty[:, None] - players.mean(2, keepdim=True) * whole
    b = torch.einsum("nmp,nmk->npk", players, beyond) / kept.shape[1]
    return (b - b.mean(1, keepdim=True)) / (0.5 - a) + whole / p
