"""How a borrowed network computes: its precision, and the memory layout of its weights."""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from seewhy.classifier.borrow import forward_replaced
from seewhy.classifier.turns import turn
from seewhy.errors import SeewhyError

Precision = Literal["fp32", "bf16"]
""""fp32" is the network's own precision (float64 stays float64). "bf16" computes convolutions and matrix products in
bfloat16, which some hardware runs several times faster, and all else as ``torch.autocast`` does."""


@contextmanager
def computing(
    module: nn.Module, precision: Precision, heads: Sequence[nn.Module] = (), channels_last: bool = False
) -> Generator[None]:
    """Inside the block the network computes in ``precision``; afterwards its weights are the very same tensors.

    Blocks that share a network must be closed in the reverse order of opening. The weights are converted once for the block.
    Autocast alone would convert them at every pass, since it keeps only those that are trained. And for images in channels
    last, every convolution would rearrange its weights at every pass: a third of the time of Opti-CAM on a VGG-16. The
    ``heads`` stay exact: logits in bfloat16 have three digits, too few to tell a slightly better mask. The state dict of the
    network, and with it the digest of its weights, has the very same tensors inside the block too.
    """
    with turn(module):
        first = next(module.parameters(), None)
        bf16 = precision == "bf16"
        if bf16 and first is not None and first.dtype != torch.float32:
            kind = str(first.dtype).removeprefix("torch.")
            raise SeewhyError(
                f"precision='bf16' is for networks in float32, and this one is in {kind}: use precision='fp32'"
            )
        device = "cpu" if first is None else first.device.type
        kinds = nn.Conv2d | nn.Linear if bf16 else nn.Conv2d
        layers = [m for m in module.modules() if isinstance(m, kinds) and m not in heads]
        named = [pair for m in layers for pair in m.named_parameters(recurse=False)]
        shared = {id(p) for head in heads for p in head.parameters()}
        weights = {id(p): (p, p.data) for name, p in named if name in ("weight", "bias") and id(p) not in shared}
        try:
            for p, data in weights.values():
                layout = torch.channels_last if channels_last and data.ndim == 4 else torch.preserve_format
                p.data = data.to(torch.bfloat16 if bf16 else data.dtype, memory_format=layout)
            with ExitStack() as stack:
                if bf16:
                    stack.enter_context(torch.autocast(device, torch.bfloat16))
                    for layer in layers:
                        stack.callback(layer.register_state_dict_post_hook(_own_weights(weights)).remove)
                    for head in heads:
                        stack.enter_context(forward_replaced(head, _exact(head.forward, device)))
                yield
        finally:
            for p, data in weights.values():
                p.data = data


def _own_weights(weights: dict[int, tuple[nn.Parameter, Tensor]]) -> Callable[..., None]:
    """A hook that puts the network's own weights into a state dict, in place of those that are lent to a block."""

    def put(layer: nn.Module, state: dict[str, Tensor], prefix: str, _: object) -> None:
        for name, p in layer.named_parameters(recurse=False):
            if id(p) in weights and prefix + name in state:
                state[prefix + name] = weights[id(p)][1]

    return put


def _exact(forward: Callable[..., object], device: str) -> Callable[..., object]:
    """``forward`` without autocast, on its inputs in single precision."""

    def run(*inputs: object) -> object:
        with torch.autocast(device, enabled=False):
            return forward(*(x.float() if isinstance(x, Tensor) else x for x in inputs))

    return run


def is_out_of_memory(error: BaseException) -> bool:
    """Did the device, or the machine, have too little memory? PyTorch says the second in words alone."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)
