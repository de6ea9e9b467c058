"""The layers of a network: feature layer, heads, class maps. One forward pass finds them, in any architecture."""

import re
from collections.abc import Collection
from itertools import product
from math import log

import torch
from torch import Tensor, nn

from seewhy.classifier.borrow import (
    Call,
    buffers_kept,
    frozen,
    logits_in,
    perturbable,
    places_of_calls,
    run,
    trace_calls,
)
from seewhy.errors import SeewhyError, cause

MAX_PREFIX_TOKENS = 16
"""Up to this many tokens before the patches are tried."""
NOT_A_STAGE = re.compile("pool|drop|identity|flatten|softmax", re.IGNORECASE)
"""Kinds of modules that are no feature stage."""


def prefix_tokens(module: nn.Module) -> int | None:
    """Number of class, distillation and register tokens before the patches, if the network declares it; else None."""
    declared = (getattr(m, "num_prefix_tokens", None) for m in module.modules())
    return next((n for n in declared if isinstance(n, int)), None)


def to_grid(features: Tensor, size: tuple[int, int], n_prefix_tokens: int | None = None) -> Tensor:
    """(n, d, gh, gw) from a CNN's (n, d, gh, gw), a Swin's (n, gh, gw, d) or a ViT's (n, prefix + gh*gw, d).

    ``size`` is the image's height and width: the grid has its aspect ratio. SeewhyError if no grid fits.
    """
    aspect = log(size[0] / size[1])
    if features.ndim == 4:
        first, last = (abs(log(features.shape[a] / features.shape[b]) - aspect) for a, b in ((2, 3), (1, 2)))
        rounded = 1 / min(features.shape[2:])  # a grid has whole cells: channels may fit better by chance
        return features.permute(0, 3, 1, 2) if first > rounded and last + 1e-6 < first else features
    if features.ndim == 3:
        prefixes = range(MAX_PREFIX_TOKENS + 1) if n_prefix_tokens is None else [n_prefix_tokens]
        # patches that divide the image come first: nearly every number is a grid of patches that do not
        for whole, prefix in product((True, False), prefixes):
            if grid := _grid(features.shape[1] - prefix, size, whole):
                return features[:, prefix:].transpose(1, 2).unflatten(2, grid)
        wanted = "" if n_prefix_tokens is None else f" after {n_prefix_tokens} prefix tokens"
        raise SeewhyError(
            f"{features.shape[1]} tokens{wanted} form no grid for an image of {size[0]} x {size[1]}; set n_prefix_tokens"
        )
    raise SeewhyError(f"a layer of shape {tuple(features.shape)} has no grid; choose one with (n, c, h, w) or tokens")


def _grid(tokens: int, size: tuple[int, int], whole: bool) -> tuple[int, int] | None:
    """(gh, gw) with gh*gw = tokens, into which square patches cut an image of ``size``; without a rest if ``whole``."""
    for side in range(1, max(size) + 1):
        for gh, gw in ((size[0] // side, size[1] // side), (-(-size[0] // side), -(-size[1] // side))):
            if gh * gw == tokens > 0 and (not whole or (gh * side, gw * side) == size):
                return gh, gw
    return None


def spatial_layers(module: nn.Module, image: Tensor, n_prefix_tokens: int | None) -> list[tuple[str, int, bool]]:
    """Feature stages in the order of the pass: name, channels, and whether the gradient on the grid is nonzero anywhere.

    A stage has a grid of at least 2 x 2. It is no pooling, dropout or identity, no projection inside an attention, and no
    map of class scores. Of modules that return the same tensor, one stands for all: the outermost whose tensor the network
    goes on with. A backbone that returns its features beside their pooled values is not such a module: the network goes on
    with the pooled values. The gradient decides, because a rule such as "the last block" fails: after its last attention
    a class-token transformer reads the class token alone, and a map made there is black.
    """
    with frozen(module), torch.enable_grad():
        image = image.detach().requires_grad_()
        calls, final = trace_calls(module, image)
        size = (image.shape[-2], image.shape[-1])
        stages: dict[int, list[tuple[int, Call]]] = {}
        skipped: set[int] = set()
        for position, call in enumerate(calls):
            if call.name == "" or not _is_stage(call, size, n_prefix_tokens):
                skipped |= {id(call.output)} if "pool" in type(call.module).__name__.lower() else set()
            elif id(call.output) not in skipped and not _is_class_map(calls[position:], final.shape[-1]):
                stages.setdefault(id(call.output), []).append((position, call))
        if not stages:
            return []
        names = list({call.name for same in stages.values() for _, call in same})
        zeros, final = perturbable(module, names, image)
        weights = torch.linspace(-1, 1, final.numel(), dtype=final.dtype, device=final.device).view_as(final)
        slopes = torch.autograd.grad((final * weights).sum(), [zeros[name] for name in names], allow_unused=True)
    alive = {
        name
        for name, slope in zip(names, slopes, strict=True)
        if slope is not None and (to_grid(slope, size, n_prefix_tokens) != 0).any()
    }
    # of modules that return the same tensor: a live one before others, then the outermost, then the latest
    order = [max(same, key=lambda s: (s[1].name in alive, -s[1].name.count("."), s[0])) for same in stages.values()]
    found = [call for _, call in sorted(order, key=lambda s: s[0])]
    return [(c.name, to_grid(c.output, size, n_prefix_tokens).shape[1], c.name in alive) for c in found]


def _is_stage(call: Call, size: tuple[int, int], n_prefix_tokens: int | None) -> bool:
    # a Linear on tokens is a projection (query, key, value), never a stage of its own
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
    """Does the first call make one channel per class (SqueezeNet), with no parameters in any later call?"""
    if k not in (rest[0].output.shape[1], rest[0].output.shape[-1]):
        return False
    later = [c for c in rest[1:] if c.name and not rest[0].name.startswith(f"{c.name}.")]
    return all(next(c.module.parameters(recurse=False), None) is None for c in later)


def find_heads(module: nn.Module, image: Tensor) -> tuple[str, ...]:
    """Names of the linear layers whose output is the logits, or the mean of whose outputs is (distilled DeiT)."""
    calls, final = trace_calls(module, image)
    linear = [c for c in calls if isinstance(c.module, nn.Linear) and c.output.shape == final.shape and final.ndim == 2]
    for heads in ([c for c in linear if c.output is final], linear):
        if heads and torch.allclose(torch.stack([c.output for c in heads]).mean(0).to(final.dtype), final):
            return tuple(c.name for c in heads)
    return ()


def are_mixed(module: nn.Module, image: Tensor, layer: str, heads: Collection[str]) -> bool:
    """Does a linear layer or a convolution mix the channels of ``layer`` before the heads read them?"""
    calls, _ = trace_calls(module, image)
    names = [c.name for c in calls if isinstance(c.module, nn.Linear | nn.Conv2d) or c.name == layer]
    after = names[len(names) - names[::-1].index(layer) :]
    return any(name not in heads for name in after)


def find_class_maps(module: nn.Module, image: Tensor) -> str | None:
    """The convolution that makes one map per class, whose mean is the logit (SqueezeNet); None if there is none."""
    calls, final = trace_calls(module, image)
    maps = [c for i, c in enumerate(calls) if isinstance(c.module, nn.Conv2d) and _is_class_map(calls[i:], final.shape[-1])]
    # a convolution after pooling is a linear layer: its maps have one cell
    return maps[-1].name if maps and min(maps[-1].output.shape[-2:]) >= 2 else None


def find_last_layers(module: nn.Module, image: Tensor) -> tuple[str, ...]:
    """Names of the linear layers or convolutions that ran last and have equally many outputs: one head, or several."""
    calls, _ = trace_calls(module, image)
    names: list[str] = []
    widths: set[int] = set()
    for name, m in ((call.name, call.module) for call in reversed(calls)):
        if isinstance(m, nn.Linear | nn.Conv2d):
            widths.add(m.out_features if isinstance(m, nn.Linear) else m.out_channels)
            if len(widths) > 1:
                break
            names.append(name)
        elif not any(m.children()) and any(True for _ in m.parameters()):
            break
    return tuple(names)


def mixes_rows(module: nn.Module, image: Tensor) -> bool | None:
    """Do the logits of ``image`` (1, c, h, w) depend on another image beside it? Call it in eval mode, without gradients.

    A dependence of any size shows as NaN beside an image of NaN, whatever the rounding. But a network may refuse NaN, or
    be NaN for another reason: then the logits beside other pixels are compared with those alone. None where the network
    takes no batch of two, or gives no finite logits. SeewhyError where it takes such a batch, and not the image alone.
    """
    with buffers_kept(module):  # no NaN may stay in the running statistics of a network
        try:
            if logits_in(run(module, torch.cat([image, torch.full_like(image, torch.nan)])))[0].isfinite().all():
                return False
        except Exception:
            pass
        generator = torch.Generator().manual_seed(0)
        other = torch.rand(image.shape, generator=generator, dtype=torch.float32).to(image)
        try:
            beside = logits_in(run(module, torch.cat([image, other])))[0]
        except Exception:  # the same: its own failure follows, where the user's images are run
            return None
        try:
            alone, again = (logits_in(run(module, image))[0] for _ in range(2))
        except ValueError as error:  # that of batch normalization
            raise SeewhyError(
                f"{type(module).__name__} uses statistics of the batch and refuses an image alone, so that no image has "
                f"logits of its own ({cause(error)}): give its normalization running statistics"
            ) from error
    if not alone.isfinite().all():
        return None
    apart, chance = ((row - alone).abs().max() for row in (beside, again))
    # half precision, also of an accelerator that rounds what it multiplies, has three digits
    return bool(apart > 1e-2 * alone.abs().max() and apart > 2 * chance)


def layers_top_down(module: nn.Module, image: Tensor) -> list[str]:
    """Names of the modules that own parameters, the last that the network begins to run first.

    A module that is never called itself has the place of the module that is registered before it.
    """
    with frozen(module), torch.no_grad():
        places = places_of_calls(module, image)
    order, last = {}, -1
    for place, (name, m) in enumerate(module.named_modules()):
        last = places.get(m, last)
        if next(m.parameters(recurse=False), None) is not None:
            order[name] = (last, place)
    return sorted(order, key=lambda name: order[name], reverse=True)
