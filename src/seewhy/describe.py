"""Everything that a result depends on, as JSON that can be compared: options, tensors, modules, versions."""

import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from hashlib import sha256
from importlib.metadata import version
from inspect import getdoc
from typing import Any

import numpy as np
import torch


def weights_digest(module: torch.nn.Module) -> str:
    """A digest of the names and values of all weights and buffers."""
    return state_digest(module.state_dict())


def state_digest(state: Mapping[str, object]) -> str:
    """A digest of names and tensors."""
    digest = sha256()
    for name, tensor in sorted(state.items()):
        digest.update(name.encode())
        digest.update(_state_bytes(tensor))
    return digest.hexdigest()[:16]


def _state_bytes(entry: object) -> bytes:
    """The bytes of an entry of a state dict: a tensor, or what a quantized layer keeps beside its tensors."""
    if isinstance(entry, torch.Tensor):
        return tensor_bytes(entry.dequantize() if entry.is_quantized else entry)
    return b"".join(map(_state_bytes, entry)) if isinstance(entry, tuple | list) else repr(entry).encode()


def fields_as_json(item: object, without: Sequence[str]) -> dict[str, object]:
    """The fields of a dataclass but those named in ``without``; nothing for any other object."""
    if not is_dataclass(item):
        return {}
    values = {f.name: getattr(item, f.name) for f in fields(item) if f.name not in without}
    return {key: as_json(value) for key, value in values.items()}


def as_json(value: object) -> object:
    """``value`` as JSON: readable where it is short, a digest where it is long. Different values give different JSON."""
    if isinstance(value, tuple | list):
        return [as_json(part) for part in value]
    if isinstance(value, Mapping):
        return {str(key): as_json(part) for key, part in value.items()}
    if isinstance(value, np.ndarray):
        return f"array {value.shape} {value.dtype} {digest_of(value.tobytes())}"
    if isinstance(value, torch.Tensor):
        kind = str(value.dtype).removeprefix("torch.")
        return f"tensor {tuple(value.shape)} {kind} {digest_of(tensor_bytes(value))}"
    if isinstance(value, torch.nn.Module):
        return f"{type(value).__name__} {weights_digest(value)}"
    if is_dataclass(value) and not isinstance(value, type):
        return {"kind": type(value).__name__, **fields_as_json(value, ("classifier",))}
    if isinstance(value, int | float | str | bool | None):
        return value
    text = str(value)
    return type(value).__name__ if " at 0x" in text else text  # an address differs from run to run


def difference(name: str, before: Any, now: Any, where: tuple[str, str] = ("there", "now")) -> str:
    """What differs; of two mappings the first entry that does. ``where``: the words for the places of the two."""
    if isinstance(before, dict) and isinstance(now, dict):
        nothing = "nothing"  # an entry that is missing differs from one that is null
        part = next(key for key in {**before, **now} if before.get(key, nothing) != now.get(key, nothing))
        return difference(f"{name}'s {part}" if name else part, before.get(part, nothing), now.get(part, nothing), where)
    return f"{name} is " + (f"{before} {where[0]} and {now} {where[1]}" if len(f"{before}{now}") < 80 else "not the same")


def first_sentence(item: object) -> str:
    """The first sentence of a docstring, without its full stop. The point of "eq. 4" ends no sentence."""
    text = " ".join((getdoc(item) or "").partition("\n\n")[0].split())
    return re.split(r"(?<!\beq)(?<!\bal)\. ", text)[0].rstrip(".")


def tensor_bytes(tensor: torch.Tensor) -> bytes:
    """The bytes of a tensor of any type, also of one that numpy lacks."""
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def digest_of(content: bytes) -> str:
    """The first 16 hexadecimal digits of SHA-256."""
    return sha256(content).hexdigest()[:16]


def environment() -> dict[str, object]:
    """Versions and hardware, on which a result depends beside its arguments."""
    packages = ("seewhy", "torch", "torchvision", "timm")
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    return {
        "versions": {"python": platform.python_version(), **{p: version(p) for p in packages}},
        "hardware": device,
    }
