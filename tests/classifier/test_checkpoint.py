"""Weights from a file into a network."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support.tiny_models import TINY, cnn
from torch import Tensor, nn

import seewhy
from seewhy.classifier.checkpoint import load_weights
from seewhy.errors import SeewhyError


def contiguous(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in module.state_dict().items()}


LAYOUTS: dict[str, Callable[[dict[str, Tensor]], object]] = {
    "alone": lambda weights: weights,
    "below state_dict": lambda weights: {"state_dict": weights, "epoch": 3, "optimizer": {"lr": 0.1}},
    "below model": lambda weights: {"model": weights, "args": None},
    "below model and state_dict": lambda weights: {"model": {"state_dict": weights}},
    "of DataParallel": lambda weights: {f"module.{k}": v for k, v in weights.items()},
    "of compile": lambda weights: {f"_orig_mod.{k}": v for k, v in weights.items()},
    "of compile within DataParallel": lambda weights: {f"module._orig_mod.{k}": v for k, v in weights.items()},
    "of DataParallel within compile": lambda weights: {f"_orig_mod.module.{k}": v for k, v in weights.items()},
    "of a trainer": lambda weights: {"state_dict": {f"model.{k}": v for k, v in weights.items()}, "epoch": 3},
    "without counts": lambda weights: {k: v for k, v in weights.items() if "num_batches" not in k},
    "in half precision": lambda weights: {k: v.half() if v.is_floating_point() else v for k, v in weights.items()},
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_where_in_a_pickle_the_weights_are(layout: str, tmp_path: Path) -> None:
    module = TINY["cnn"]().module
    torch.save(LAYOUTS[layout](contiguous(module)), tmp_path / "weights.pth")
    loaded = seewhy.load("factories:bare", weights=tmp_path / "weights.pth").module
    tolerance = 2e-3 if layout == "in half precision" else 0
    for name, tensor in module.state_dict().items():
        if "num_batches" not in name:
            torch.testing.assert_close(loaded.state_dict()[name], tensor, rtol=0, atol=tolerance)


def test_a_legacy_pickle_of_weights(tmp_path: Path) -> None:
    module = TINY["cnn"]().module
    torch.save(contiguous(module), tmp_path / "weights.th", _use_new_zipfile_serialization=False)
    loaded = seewhy.load("factories:bare", weights=tmp_path / "weights.th").module
    assert all(torch.equal(a, b) for a, b in zip(loaded.state_dict().values(), module.state_dict().values(), strict=True))


def test_a_network_keeps_its_own_prefix(tmp_path: Path) -> None:
    """A network whose layers are called ``model.`` gets its weights with that prefix."""
    module = nn.ModuleDict({"model": nn.Linear(3, 2)})
    save_file(contiguous(module), tmp_path / "weights.safetensors")
    fresh = nn.ModuleDict({"model": nn.Linear(3, 2)})
    load_weights(fresh, tmp_path / "weights.safetensors")
    assert torch.equal(fresh["model"].weight, module["model"].weight)


def test_wrong_weights_change_nothing(tmp_path: Path) -> None:
    module = cnn()
    before = {k: v.clone() for k, v in module.state_dict().items()}
    save_file(contiguous(cnn(k=7)), tmp_path / "seven.safetensors")
    with pytest.raises(SeewhyError, match=r"2 of another shape: .*10.weight is \(7, 8\), the network has \(5, 8\)"):
        load_weights(module, tmp_path / "seven.safetensors")
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
