"""The loop: images that cannot be read, methods that never work, progress, threads."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.command import run
from support.evaluations import CNN, N, Picky, Pictures, Watched, measured
from torch import Tensor

from seewhy.data import Folder, Shapes
from seewhy.errors import SeewhyError
from seewhy.evaluation.evaluate import evaluate
from seewhy.evaluation.run import open_run


def test_an_image_that_cannot_be_read_is_left_out_and_said(tmp_path: Path) -> None:
    found = measured(tmp_path / "run", Pictures(broken=(4, 9)))
    assert [(f.index, f.image_id, f.explainer, f.metric, f.error) for f in found.failures] == [
        (4, "image 4", "", "", "image 4 is broken"),
        (9, "image 9", "", "", "image 9 is broken"),
    ]
    assert found.images["index"].to_list() == [0, 1, 2, 3, 5, 6, 7, 8, 10]
    assert open_run(tmp_path / "run").manifest.failures[1].image_id == "image 9"
    whole = measured(None).frame.filter(~pl_index(4, 9))
    assert found.frame.drop("value").equals(whole.drop("value"))
    np.testing.assert_allclose(found.frame["value"], whole["value"], atol=1e-5)


def pl_index(*indices: int) -> Any:
    import polars as pl

    return pl.col("index").is_in(indices)


def test_a_method_that_never_works_stops_the_run() -> None:
    with pytest.raises(SeewhyError, match="picky of watched failed on 16 images and worked on none; image 15: Zero"):
        measured(None, Pictures(n=40), metrics={"picky": Picky(limit=2.0)})
    with pytest.raises(SeewhyError, match="reading failed on 16 images and worked on none; image 15: image 15 is broken"):
        measured(None, Pictures(n=40, broken=tuple(range(40))))


def test_broken_pictures_of_a_folder_are_reported(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = Shapes(n=5, size=64)
    for i, image in enumerate(data.batch(range(5)).images):
        from torchvision.utils import save_image

        save_image(image, tmp_path / f"{i}.png")
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:400])
    out = tmp_path / "run"
    done = run(capfd, *f"evaluate --model shapes --data {tmp_path} --metric complexity --out {out}".split())
    assert done.status == 0
    assert "reading failed on 1 image: 2.png: " in done.err
    assert len(open_run(out).scores) == 4
    assert len(Folder(tmp_path, CNN.view)) == 5


def test_progress_is_told_how_much_was_done_before(tmp_path: Path) -> None:
    told: list[tuple[float, int, int]] = []

    def stop(images: Tensor) -> None:
        if len(watched.asked) == 2:
            raise KeyboardInterrupt

    watched = Watched(fails=stop)
    with pytest.raises(KeyboardInterrupt):
        measured(tmp_path / "run", methods={"watched": watched})
    measured(tmp_path / "run", Pictures(broken=(7,)), methods={"watched": Watched()}, progress=lambda *a: told.append(a))
    assert told[0] == (3, N, 0)
    assert told[-1] == (N, N, 1)
    assert [t[0] for t in told] == sorted(t[0] for t in told)


def test_threads_are_as_before() -> None:
    torch.set_num_threads(2)
    try:
        measured(None, Pictures(n=3))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_images_without_finite_logits_are_failures() -> None:
    dark = Pictures().batch([2]).images[0]

    class Sick(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            logits = CNN.module(x)
            sick = torch.stack([torch.equal(image, (dark - mean) / std) * torch.ones(()) for image in x]) > 0
            return torch.where(sick[:, None], torch.nan, logits)

    mean, std = (torch.tensor(v)[:, None, None] for v in (CNN.mean, CNN.std))
    classifier = replace(CNN, module=Sick().eval(), feature_layer="", n_prefix_tokens=0)
    found = evaluate(classifier, {"watched": Watched()}, ["complexity"], Pictures(), batch_size=4)
    assert [(f.image_id, f.error[:40]) for f in found.failures] == [("image 2", "Sick returns NaN or infinite logits: che")]
    assert len(found.rows) == N - 1
