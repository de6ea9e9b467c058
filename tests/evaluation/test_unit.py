"""A failing image costs itself and no other."""

import torch
from support.evaluations import CNN, N, Picky, Pictures, Watched, measured
from torch import Tensor

from seewhy.explainers import explainer


def test_an_image_that_cannot_be_explained_costs_only_itself() -> None:
    bad = Pictures().batch([7]).images[0]

    def fails(images: Tensor) -> None:
        if any(torch.equal(image, bad) for image in images):
            raise RuntimeError("it does not converge")

    found = measured(None, methods={"mine": Watched(fails=fails), "random": explainer("random", CNN)})
    assert [(f.image_id, f.explainer, f.metric, f.error) for f in found.failures] == [
        ("image 7", "mine", "", "RuntimeError: it does not converge")
    ]
    assert found.image_ids("mine", "deletion") == [f"image {i}" for i in range(N) if i != 7]
    assert len(found.image_ids("random", "deletion")) == N


def test_a_metric_that_fails_on_some_images_is_known_for_the_others() -> None:
    light = torch.stack([Pictures().batch([i]).images.mean() for i in range(N)])
    limit = float(light.sort().values[3:5].mean())
    found = measured(None, metrics={"picky": Picky(limit=limit), "complexity": __import__("seewhy").metric("complexity")})
    dark = {f"image {i}" for i in (light < limit).nonzero()[:, 0].tolist()}
    assert {f.image_id for f in found.failures} == dark
    assert {f.error for f in found.failures} == {"ZeroDivisionError: too dark"}
    assert set(found.image_ids("watched", "picky")) == {f"image {i}" for i in range(N)} - dark
    assert len(found.image_ids("watched", "complexity")) == N
