"""What the manifest says of tensors among the options."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.toys import (
    CNN,
    Corner,
    measured,
)
from torch import Tensor, nn

from seewhy.describe import as_json
from seewhy.errors import SeewhyError
from seewhy.evaluation.evaluate import Evaluation
from seewhy.evaluation.run import open_run
from seewhy.explainers import explainer

PIXELS = torch.linspace(0, 1, 24).view(2, 3, 4)


@pytest.mark.parametrize(
    ("one", "other", "says"),
    [
        (PIXELS, PIXELS + 1e-6, "tensor (2, 3, 4) float32 "),
        (PIXELS.bfloat16(), PIXELS.bfloat16() * 2, "tensor (2, 3, 4) bfloat16 "),
        (PIXELS.half(), PIXELS.half() * 2, "tensor (2, 3, 4) float16 "),
        (PIXELS > 0.5, PIXELS > 0.6, "tensor (2, 3, 4) bool "),
        (PIXELS.clone().requires_grad_(), PIXELS + 1e-6, "tensor (2, 3, 4) float32 "),
        (PIXELS.transpose(0, 2), PIXELS.view(4, 3, 2), "tensor (4, 3, 2) float32 "),
        (torch.zeros(2), torch.zeros(2, dtype=torch.int32), "tensor (2,) float32 "),
        (torch.tensor(1.0), torch.tensor(2.0), "tensor () float32 "),
        (np.zeros(5000), np.eye(1, 5000, 2500)[0], "array (5000,) float64 "),
        (nn.Linear(2, 2), nn.Linear(2, 2), "Linear "),
    ],
)
def test_tensors_are_recorded_by_kind_shape_and_digest(one: Any, other: Any, says: str) -> None:
    copy = one.detach().clone() if isinstance(one, Tensor) else one
    first, same, another = as_json(one), as_json(copy), as_json(other)
    assert isinstance(first, str)
    assert first.startswith(says)
    assert len(first) == len(says) + 16
    assert first == same
    assert first != another
    for wrap in (lambda v: ("black", v), lambda v: {"start": v}, lambda v: Corner(scale=v)):
        assert json.dumps(as_json(wrap(one))) == json.dumps(as_json(wrap(copy))) != json.dumps(as_json(wrap(other)))
        assert first in json.dumps(as_json(wrap(one)))


def test_other_tensors_are_other_options(tmp_path: Path) -> None:
    base = torch.full((3, 16, 16), 0.5)

    def ask(baseline: Tensor, scale: Tensor) -> Evaluation:
        methods = {"ig": explainer("integrated_gradients", CNN, baseline=baseline, steps=2)}
        return measured(tmp_path / "run", methods, {"corner": Corner(scale)})

    ask(base, torch.ones(3))
    manifest = open_run(tmp_path / "run").manifest
    assert manifest.explainers["ig"].options["baseline"].startswith("tensor (3, 16, 16) float32 ")
    assert manifest.metrics["corner"].options["scale"].startswith("tensor (3,) float32 ")
    ask(base.clone(), torch.ones(3))
    with pytest.raises(SeewhyError, match="has ig with other options"):
        ask(base + 0.001, torch.ones(3))
    with pytest.raises(SeewhyError, match="has corner with other options"):
        ask(base, torch.ones(3) * 2)
