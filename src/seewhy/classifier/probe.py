"""The end of a network: its heads, its maps of the classes, its last layers. One forward pass finds them."""

from collections.abc import Collection

import torch
from torch import Tensor, nn

from seewhy.classifier.borrow import Call, buffers_kept, frozen, logits_in, places_of_calls, run, trace_calls
from seewhy.errors import SeewhyError, cause


def is_class_map(rest: list[Call], k: int) -> bool:
    """Does the first call make one channel per class (SqueezeNet), with no parameters in any later call?"""
    if k not in (rest[0].output.shape[1], rest[0].output.shape[-1]):
        return False
    later = [c for c in rest[1:] if c.name and not rest[0].name.startswith(f"{c.name}.")]
    return all(next(c.module.parameters(recurse=False), None) is None for c in later)


def find_heads(module: nn.Module, image: Tensor) -> tuple[str, ...]:
    """Names of the linear layers whose output is the logits, or the mean of whose outputs is (distilled DeiT).

    A 1 x 1 convolution of pooled features, which have one cell, is such a layer.
    """
    calls, final = trace_calls(module, image)
    linear = [c for c in calls if linear_weights(c.module) is not None and c.output.shape[:2] == final.shape]
    linear = [c for c in linear if c.output.numel() == final.numel()]
    for heads in ([c for c in linear if c.output is final], linear):
        if heads and torch.allclose(torch.stack([c.output.flatten(1) for c in heads]).mean(0).to(final.dtype), final):
            return tuple(c.name for c in heads)
    return ()


def linear_weights(module: nn.Module) -> Tensor | None:
    """The weights (k, d) of a linear layer, or of a convolution that is one on a single cell; else None."""
    if isinstance(module, nn.Linear):
        return module.weight
    if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1:
        return module.weight.flatten(1)
    return None


def are_mixed(module: nn.Module, image: Tensor, layer: str, heads: Collection[str]) -> bool:
    """Does a linear layer or a convolution mix the channels of ``layer`` before the heads read them?"""
    calls, _ = trace_calls(module, image)
    names = [c.name for c in calls if isinstance(c.module, nn.Linear | nn.Conv2d) or c.name == layer]
    after = names[len(names) - names[::-1].index(layer) :]
    return any(name not in heads for name in after)


def find_class_maps(module: nn.Module, image: Tensor) -> str | None:
    """The convolution that makes one map per class, whose mean is the logit (SqueezeNet); None if there is none."""
    calls, final = trace_calls(module, image)
    maps = [c for i, c in enumerate(calls) if isinstance(c.module, nn.Conv2d) and is_class_map(calls[i:], final.shape[-1])]
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
