"""A device that no machine lacks: tensors that say they are elsewhere, and compute here.

What a GPU refuses is refused: tensors of two devices in one operation, and a tensor that numpy is asked to read from
there. So code that forgets a device fails on any machine. The device is called "meta", the one that PyTorch itself
asks nothing of.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import fields, is_dataclass, replace
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = torch.device("meta")
MOVES = {"aten::_to_copy", "aten::copy_"}
INDEXES = {"aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_"}
"""A GPU takes the indices, though not the values, from the CPU."""
JOINS = {"aten::stack", "aten::cat"}
"""These take no number from the CPU, which all others do."""
Keywords = Mapping[str, Any] | None


class There(Tensor):
    """A tensor elsewhere, whose values are in ``here``."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> "There":
        made = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            here.shape,
            strides=here.stride(),
            storage_offset=here.storage_offset(),
            dtype=here.dtype,
            device=DEVICE,
            requires_grad=here.requires_grad,
        )
        made.here = here
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, _types: Any, args: Sequence[Any] = (), kwargs: Keywords = None) -> Any:
        return _run(func, args, kwargs or {})


class _Operations(TorchDispatchMode):
    """Also those that make a tensor of nothing."""

    def __torch_dispatch__(self, func: Any, _types: Any, args: Sequence[Any] = (), kwargs: Keywords = None) -> Any:
        return _run(func, args, kwargs or {})


class _FromNumbers(TorchFunctionMode):
    """What never becomes an operation where the device is "meta"."""

    def __torch_function__(
        self, func: Callable[..., Any], _types: Any, args: Sequence[Any] = (), kwargs: Keywords = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        first = args[0] if args else None
        if func in (torch.tensor, torch.as_tensor) and _is_there(kwargs.get("device")):
            return There(func(*args, **kwargs | {"device": "cpu"}))
        if isinstance(first, There) and func is Tensor.new_tensor:
            return There(torch.tensor(args[1], **{"dtype": first.dtype, **kwargs}))
        if isinstance(first, There) and func in (Tensor.__getitem__, Tensor.__setitem__):
            key = args[1] if isinstance(args[1], tuple) else (args[1],)
            args = (first, tuple(torch.tensor(k) if isinstance(k, list) else k for k in key), *args[2:])
        if isinstance(first, There) and func is Tensor.tolist:
            return first.here.tolist()
        if isinstance(first, There) and func is Tensor.numpy:
            raise TypeError("numpy cannot read a tensor that is elsewhere")
        return func(*args, **kwargs)


class _Autocast(torch.autocast):
    def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
        super().__init__("cpu" if _is_there(device_type) else device_type, *args, **kwargs)


@contextmanager
def elsewhere() -> Iterator[None]:
    """Where tensors of that device can be used."""
    with patch("torch.autocast", _Autocast), _FromNumbers(), _Operations():
        yield


def moved(thing: Any) -> Any:
    """A copy elsewhere: of a tensor, a module, or a dataclass or tuple with such."""
    if isinstance(thing, Tensor):
        return There(thing.detach().clone())
    if isinstance(thing, nn.Module):
        module = deepcopy(thing)
        for part in module.modules():
            for name, p in part.named_parameters(recurse=False):
                setattr(part, name, nn.Parameter(moved(p), requires_grad=p.requires_grad))
            for name, b in part.named_buffers(recurse=False):
                setattr(part, name, moved(b))
        return module
    if type(thing) is tuple:
        return tuple(moved(one) for one in thing)
    if is_dataclass(thing) and not isinstance(thing, type):
        return replace(thing, **{f.name: moved(getattr(thing, f.name)) for f in fields(thing) if f.init})
    return thing


def _is_there(device: Any) -> bool:
    return device is not None and torch.device(device).type == DEVICE.type


def _run(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    name, asked = func._schema.name, kwargs.get("device")
    tensors = [x for x in tree_flatten((args, dict(kwargs)))[0] if isinstance(x, Tensor)]
    there = [x for x in tensors if isinstance(x, There)]
    if there and name not in MOVES:
        for x in tensors:
            index = name in INDEXES and x is not args[0] and x.dtype in (torch.int64, torch.bool)
            if not isinstance(x, There) and not index and (x.ndim or name in JOINS):
                raise RuntimeError(f"{name} has tensors on two devices; {tuple(x.shape)} is on the CPU")
    elif there and name == "aten::copy_" and asked is None:
        asked = args[0].device
    if _is_there(asked) and "device" in kwargs:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    with _disable_current_modes():
        here = func(*tree_map(_here, tuple(args)), **tree_map(_here, dict(kwargs)))
    if not isinstance(here, Tensor | tuple | list) or not (_is_there(asked) if asked is not None else there):
        return here
    found = tree_map(lambda x: There(x) if isinstance(x, Tensor) else x, here)
    aliased = func._schema.is_mutable or any(r.alias_info for r in func._schema.returns)
    return return_and_correct_aliasing(func, args, dict(kwargs), found) if aliased else found


def _here(x: Any) -> Any:
    return x.here if isinstance(x, There) else x
