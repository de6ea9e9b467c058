"""Which layer to look at: found by running the network once, so that no architecture needs an argument."""

import re
from itertools import product
from math import log
from typing import cast

import torch
from torch import Tensor, nn

from seewhy.errors import SeewhyError
from seewhy.network import Call, calls_of, frozen

MAX_PREFIX_TOKENS = 16
NOT_A_STAGE = re.compile("pool|drop|identity|flatten|softmax", re.IGNORECASE)


def prefix_tokens(module: nn.Module) -> int | None:
    """Class, distillation and register tokens before the patches, if the network says how many; else None."""
    declared = [m.num_prefix_tokens for m in module.modules() if isinstance(getattr(m, "num_prefix_tokens", None), int)]
    return cast(int, declared[0]) if declared else None


def to_grid(features: Tensor, size: tuple[int, int], n_prefix_tokens: int | None = None) -> Tensor:
    """(n, d, gh, gw) from a CNN's (n, d, gh, gw), a Swin's (n, gh, gw, d) or a ViT's (n, prefix + gh*gw, d).

    ``size`` is the image's height and width: the grid has its aspect ratio. Raises SeewhyError when nothing fits.
    """
    aspect = log(size[0] / size[1])
    if features.ndim == 4:
        misfit = {last: abs(log(features.shape[a] / features.shape[b]) - aspect) for last, a, b in _ORDERS}
        return features.permute(0, 3, 1, 2) if misfit[True] + 1e-6 < misfit[False] else features
    if features.ndim == 3:
        prefixes = range(MAX_PREFIX_TOKENS + 1) if n_prefix_tokens is None else [n_prefix_tokens]
        # patches that cut the image without a rest first: many numbers are some grid of rounded patches
        for whole, prefix in product((True, False), prefixes):
            if grid := _grid(features.shape[1] - prefix, size, whole):
                return features[:, prefix:].transpose(1, 2).unflatten(2, grid)
        wanted = "" if n_prefix_tokens is None else f" after {n_prefix_tokens} prefix tokens"
        raise SeewhyError(
            f"{features.shape[1]} tokens{wanted} form no grid for an image of {size[0]} x {size[1]}; set n_prefix_tokens"
        )
    raise SeewhyError(f"a layer of shape {tuple(features.shape)} has no grid; choose one with (n, c, h, w) or tokens")


_ORDERS = ((False, 2, 3), (True, 1, 2))  # is the channel last?, and where height and width then stand


def _grid(tokens: int, size: tuple[int, int], whole: bool) -> tuple[int, int] | None:
    """(gh, gw) with gh*gw = tokens that square patches cut an image of ``size`` into, without a rest if ``whole``."""
    for side in range(1, max(size) + 1):
        for gh, gw in ((size[0] // side, size[1] // side), (-(-size[0] // side), -(-size[1] // side))):
            if gh * gw == tokens > 0 and (not whole or (gh * side, gw * side) == size):
                return gh, gw
    return None


def spatial_layers(module: nn.Module, image: Tensor, n_prefix_tokens: int | None) -> list[tuple[str, int, bool]]:
    """Feature stages in the order of the pass: (name, channels, has a gradient on its grid that is not zero everywhere).

    A stage has a grid of at least 2 x 2 and is no pooling, dropout or identity, no projection inside an attention, and
    no map of class scores. Of modules that return the very same tensor the outermost stands for all. The gradient is
    asked for because a rule such as "the last block" fails: after its last attention a class-token transformer reads
    the class token alone, and a map made there is black.
    """
    with frozen(module), torch.enable_grad():
        calls, final = calls_of(module, image.detach().requires_grad_())
        size = (image.shape[-2], image.shape[-1])
        stages: dict[int, Call] = {}
        skipped: set[int] = set()
        for position, call in enumerate(calls):
            if call.name == "" or not _is_stage(call, size, n_prefix_tokens):
                skipped |= {id(call.output)} if _is_pool(call.module) else set()
                continue
            if id(call.output) in skipped or _is_class_map(calls[position:], final.shape[-1]):
                continue
            known = stages.get(id(call.output))
            if known is None or call.name.count(".") <= known.name.count("."):
                stages.pop(id(call.output), None)
                stages[id(call.output)] = call
        found = list(stages.values())
        if not found:
            return []
        weights = torch.linspace(-1, 1, final.numel(), dtype=final.dtype, device=final.device).view_as(final)
        gradients = torch.autograd.grad((final * weights).sum(), [c.output for c in found], allow_unused=True)
    return [
        (c.name, grid.shape[1], g is not None and bool((to_grid(g, size, n_prefix_tokens) != 0).any()))
        for c, g in zip(found, gradients, strict=True)
        for grid in [to_grid(c.output, size, n_prefix_tokens)]
    ]


def _is_pool(module: nn.Module) -> bool:
    return "pool" in type(module).__name__.lower()


def _is_stage(call: Call, size: tuple[int, int], n_prefix_tokens: int | None) -> bool:
    # a Linear on tokens is a projection (query, key, value) that mixes roles, never a stage of its own
    if NOT_A_STAGE.search(type(call.module).__name__) or isinstance(call.module, nn.Linear):
        return False
    if call.output.ndim not in (3, 4) or call.output.grad_fn is None:
        return False
    try:
        grid = to_grid(call.output, size, n_prefix_tokens)
    except SeewhyError:
        return False
    fits = abs(log(grid.shape[2] / grid.shape[3]) - log(size[0] / size[1])) < 0.75 / min(grid.shape[-2:])
    return bool(min(grid.shape[-2:]) >= 2 and fits)


def _is_class_map(rest: list[Call], k: int) -> bool:
    """A convolution to one channel a class (SqueezeNet), with nothing to learn after it."""
    if k not in (rest[0].output.shape[1], rest[0].output.shape[-1]):
        return False
    later = [c for c in rest[1:] if c.name and not rest[0].name.startswith(f"{c.name}.")]
    return all(next(c.module.parameters(recurse=False), None) is None for c in later)


def find_heads(module: nn.Module, image: Tensor) -> tuple[str, ...]:
    """The linear layers whose output, or the mean of whose outputs (distilled DeiT), is the network's; by name."""
    with frozen(module), torch.no_grad():
        calls, final = calls_of(module, image)
    linear = [c for c in calls if isinstance(c.module, nn.Linear) and c.output.shape == final.shape and final.ndim == 2]
    for heads in ([c for c in linear if c.output is final], linear):
        if heads and torch.allclose(torch.stack([c.output for c in heads]).mean(0), final):
            return tuple(c.name for c in heads)
    return ()


def find_class_maps(module: nn.Module, image: Tensor) -> str | None:
    """The convolution that makes one map a class, of which the network's output is a mean (SqueezeNet); None if none."""
    with frozen(module), torch.no_grad():
        calls, final = calls_of(module, image)
    maps = [c for i, c in enumerate(calls) if isinstance(c.module, nn.Conv2d) and _is_class_map(calls[i:], final.shape[-1])]
    return maps[-1].name if maps else None
