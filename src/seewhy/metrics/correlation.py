"""Pearson's correlation as metrics need it: where it is not defined is said."""

from jaxtyping import Bool, Float
from torch import Tensor

from seewhy.maps import pearson


def correlation(a: Float[Tensor, "n m"], b: Float[Tensor, "n m"]) -> tuple[Float[Tensor, "n"], Bool[Tensor, "n"]]:
    """Pearson's correlation of each row, 0 where it is not defined; and where it is (neither row is constant)."""
    device = a.device
    a, b = a.cpu().double(), b.cpu().double()  # not every device has float64
    defined = (a.amax(1) > a.amin(1)) & (b.amax(1) > b.amin(1))
    rho = (pearson(a, b) * defined).clamp(-1, 1)
    return rho.float().to(device) if device.type == "mps" else rho.to(device), defined.to(device)
