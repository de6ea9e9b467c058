"""Correlations as metrics need them: where they are not defined is said, and rounding makes no differences."""

import torch
from jaxtyping import Bool, Float
from scipy.stats import rankdata
from torch import Tensor

from seewhy.maps import pearson


def correlation(a: Float[Tensor, "n m"], b: Float[Tensor, "n m"]) -> tuple[Float[Tensor, "n"], Bool[Tensor, "n"]]:
    """Pearson's correlation of each row, 0 where it is not defined; and where it is (neither row is constant)."""
    device = a.device
    a, b = a.cpu().double(), b.cpu().double()  # not every device has float64
    defined = (a.amax(1) > a.amin(1)) & (b.amax(1) > b.amin(1))
    rho = (pearson(a, b) * defined).clamp(-1, 1)
    return rho.float().to(device) if device.type == "mps" else rho.to(device), defined.to(device)


def rank_correlation_of_rows(a: Float[Tensor, "n m"], b: Float[Tensor, "n m"]) -> Float[Tensor, "n"]:
    """Spearman's correlation of each row, 0 where a row is constant; equal values share the mean of their ranks."""
    ranks = [torch.from_numpy(rankdata(leveled(x).cpu().numpy(), axis=1)).to(x.device) for x in (a, b)]
    return correlation(*ranks)[0]


def leveled(values: Float[Tensor, "n m"]) -> Float[Tensor, "n m"]:
    """Each row in steps of a hundred-thousandth of its largest magnitude: differences by rounding are none."""
    scale = values.abs().amax(1, keepdim=True)
    return (values / torch.where(scale > 0, scale, 1) * 1e5).round()
