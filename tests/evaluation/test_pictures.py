"""Pictures and small maps for the report."""

from pathlib import Path

import numpy as np
import torch
from support.evaluations import CNN, Pictures, Watched
from torch import Tensor

from seewhy.evaluation.evaluate import evaluate
from seewhy.evaluation.run import open_run


def test_pictures_and_small_maps_are_upright_and_signed(tmp_path: Path) -> None:
    class Corner(Watched):
        def explain(self, images: Tensor, targets: Tensor) -> Tensor:
            maps = torch.zeros(len(images), 16, 16)
            maps[:, :4, 8:] = 500.0
            maps[:, 12:, :2] = -250.0
            return maps

    evaluate(CNN, {"corner": Corner()}, ["complexity"], Pictures(), out=tmp_path / "run", batch_size=3, pictures=4)
    there = open_run(tmp_path / "run")
    kept = there.maps("corner")
    assert len(kept) == 4
    for (index, _), m in kept.items():
        assert there.has_picture(index)
        shown = torch.from_numpy(np.asarray(there.picture(index)) / 255).permute(2, 0, 1)
        seen = Pictures().batch([index]).images[0]
        assert (shown - seen).abs().mean() < 0.7 * (shown - seen.flip(1)).abs().mean()  # JPEG spoils noise
        assert (m[:4, 8:] == 1).all()
        assert (m[12:, :2] == -0.5).all()
        assert m[5:11].any() == np.False_
