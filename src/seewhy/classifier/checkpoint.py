"""Weights from a file into a network; one clear line when they do not fit."""

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from seewhy.errors import SeewhyError, cause

WEIGHTS_KEYS = ("state_dict", "model", "model_state_dict", "state_dict_ema", "network")
"""Keys under which training code keeps the weights."""
WRAPPER_PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.")
"""Prefixes that wrappers of a network put before the names of its weights."""


def load_weights(module: nn.Module, path: str | Path) -> None:
    """Load the weights in ``path`` into ``module``: safetensors, or a pickle that holds tensors alone.

    A state dict may lie below ``state_dict`` or ``model``, and its keys may have prefixes such as ``module.``. Nothing in
    the file is executed. SeewhyError with the keys if they are not those of the network.
    """
    own = module.state_dict()
    weights = _without_prefix(_state_dict(Path(path)), set(own))
    other = [k for k in weights if k in own and weights[k].shape != own[k].shape]
    wrong = {
        # num_batches_tracked counts training steps: old checkpoints lack it, and no layer reads it in eval mode
        "missing": [k for k in own if k not in weights and not k.endswith("num_batches_tracked")],
        "not in the network": [k for k in weights if k not in own],
        "of another shape": [f"{k} is {tuple(weights[k].shape)}, the network has {tuple(own[k].shape)}" for k in other],
    }
    if any(wrong.values()):
        said = "; ".join(f"{len(keys)} {what}: {_listed(keys)}" for what, keys in wrong.items() if keys)
        raise SeewhyError(f"the weights in {path} do not fit {type(module).__name__}: {said}")
    module.load_state_dict(weights, strict=False)


def _state_dict(path: Path) -> dict[str, Tensor]:
    """The weights in a file, by name."""
    if not path.is_file():
        what = "is a folder; name the file in it" if path.is_dir() else "does not exist"
        raise SeewhyError(f"weights file {path} {what}")
    try:
        if path.suffix == ".safetensors":
            content: object = load_file(path)
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # old pickles cause warnings that the user can do nothing about
                content = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise SeewhyError(f"{path} is no safetensors file, or is cut off ({error})") from None
    except pickle.UnpicklingError:
        with path.open("rb") as file:
            is_pickle = file.read(1) == pickle.PROTO or zipfile.is_zipfile(path)
        if not is_pickle:
            raise SeewhyError(f"{path} is no weights file: give safetensors, or a state_dict that torch saved") from None
        raise SeewhyError(
            f"{path} holds more than tensors and was not opened, since a pickle can run code: save the state_dict alone, "
            "best as safetensors"
        ) from None
    except Exception as error:  # broken bytes can cause any exception
        raise SeewhyError(f"{path} is no weights file, or is cut off ({cause(error)})") from None
    while isinstance(content, Mapping) and (keys := [k for k in WEIGHTS_KEYS if isinstance(content.get(k), Mapping)]):
        content = content[keys[0]]
    if not isinstance(content, Mapping) or not content:
        raise SeewhyError(f"{path} holds a {type(content).__name__}, not the weights of a network by name")
    not_tensors = [str(k) for k, v in content.items() if not isinstance(v, Tensor)]
    if not_tensors:
        raise SeewhyError(f"{path} holds entries that are no tensors: {_listed(not_tensors)}")
    return {str(k): v for k, v in content.items()}


def _without_prefix(weights: dict[str, Tensor], own: set[str]) -> dict[str, Tensor]:
    """The weights without the prefixes of wrappers: ``module.`` of DataParallel, ``_orig_mod.`` of compile, and others.

    Prefixes are removed until a key is one of the network's ``own``.
    """
    shared = [p for p in WRAPPER_PREFIXES if all(k.startswith(p) for k in weights)]
    if not shared or own & set(weights):
        return weights
    return _without_prefix({k.removeprefix(shared[0]): v for k, v in weights.items()}, own)


def _listed(names: list[str], most: int = 4) -> str:
    """The first names, with commas."""
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
