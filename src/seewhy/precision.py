"""Running a borrowed network in bfloat16, and giving it back as it was."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import nn

from seewhy.errors import SeewhyError

Precision = Literal["fp32", "bf16"]
""""fp32" is the network's own precision (float64 stays float64); "bf16" computes convolutions and matrix products in
bfloat16, which some hardware runs several times faster, and all else as ``torch.autocast`` has it."""


@contextmanager
def computing(module: nn.Module, precision: Precision) -> Generator[None]:
    """Inside the block the network computes in ``precision``; its weights afterwards are the very same tensors.

    Autocast alone would convert the weights at every pass, since it keeps converted ones only where they are trained.
    """
    if precision == "fp32":
        yield
        return
    first = next(module.parameters(), None)
    if first is not None and first.dtype == torch.float64:
        raise SeewhyError("precision='bf16' is for networks in float32, and this one is in float64: use precision='fp32'")
    device = "cpu" if first is None else first.device.type
    layers = [m for m in module.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    weights = {id(p): (p, p.data) for m in layers for p in m.parameters(recurse=False)}
    try:
        for p, data in weights.values():
            layout = torch.channels_last if data.ndim == 4 else torch.contiguous_format
            p.data = data.to(torch.bfloat16, memory_format=layout)
        with torch.autocast(device, torch.bfloat16):
            yield
    finally:
        for p, data in weights.values():
            p.data = data
