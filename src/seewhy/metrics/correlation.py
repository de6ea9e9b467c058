"""Small statistics over the last dimension, with their undefined cases said."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def correlation(a: Float[Tensor, "n m"], b: Float[Tensor, "n m"]) -> tuple[Float[Tensor, "n"], Bool[Tensor, "n"]]:
    """Pearson's correlation of each row, 0 where it is not defined; and where it is (neither row is constant)."""
    device = a.device
    a, b = a.cpu().double(), b.cpu().double()  # not every device has float64
    defined = (a.amax(1) > a.amin(1)) & (b.amax(1) > b.amin(1))
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    norm = (a.square().sum(1) * b.square().sum(1)).sqrt()
    defined = defined & (norm > 0)
    rho = torch.where(defined, (a * b).sum(1) / torch.where(defined, norm, 1), 0)
    return rho.clamp(-1, 1).float().to(device) if device.type == "mps" else rho.clamp(-1, 1).to(device), defined.to(device)
