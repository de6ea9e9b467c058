"""Noisy, unbiased Shapley values of a few sets: labels of a plain regression (stochastic amortization)."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def noisy_shapley(
    kept: Bool[Tensor, "n m p"],
    values: Float[Tensor, "n m k"],
    empty: Float[Tensor, "n k"],
    full: Float[Tensor, "n k"],
    there: Bool[Tensor, "n m"] | None = None,
) -> Float[Tensor, "n p k"]:
    r"""Estimates of Shapley values whose mean over the draws of the sets is exact, for any number m of sets.

    $$\hat\phi_i = \frac{v(N) - v(0)}{p} + \frac{2 H}{m} \sum_S \left(z_i - \frac{|S|}{p}\right) r(S), \qquad
    r(S) = v(S) - v(0) - \frac{|S|}{p} (v(N) - v(0))$$

    Here $z_i$ says whether player i is in S, and $H = 1 + 1/2 + \dots + 1/(p-1)$. The estimates of an image sum to
    v(N) - v(0). What r subtracts from v(S) is the same for all sets of a size, so it changes no mean. It takes noise away.

    Args:
        kept: the sets of each image, drawn by the exact Shapley kernel (``kernel_sets``).
        values: v of each set, for each class.
        empty: v of no player.
        full: v of all players.
        there: which rows are sets of the image; all by default.

    Source: unbiased KernelSHAP (Covert and Lee, 2021, section 3.2), whose matrix has this inverse. As labels: Covert et al.
    (2024).
    """
    p, counts = kept.shape[2], torch.ones_like(values[..., 0]) if there is None else there.to(values.dtype)
    harmonic = sum(1 / s for s in range(1, p))
    players, whole = kept.to(values.dtype), (full - empty)[:, None]
    shares = players.mean(2, keepdim=True)
    beyond = values - empty[:, None] - shares * whole
    weights = 2 * harmonic * counts / counts.sum(1, keepdim=True)
    return whole / p + torch.einsum("nm,nmp,nmk->npk", weights, players - shares, beyond)
