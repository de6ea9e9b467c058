"""Methods that ask the network about many masked images: LIME beside Captum, RISE beside all masks in memory at once.

Both sides get the same masks, so that the answers can be compared. Captum is given a ridge and our kernel on the masks, in
place of its lasso and its kernel on the images, which take it longer.
"""

from collections.abc import Callable
from math import ceil
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from race import IDENTITY, Race, Run, images, network, predicted
from torch import Tensor, nn
from torch.nn.functional import interpolate

import seewhy
from seewhy.explainers import RISE, Lime
from seewhy.explainers.perturbation.random_masks import ROUND
from seewhy.masking.players import divide

MASKS, CELLS, SUPERPIXELS, SAMPLES = 1000, 7, 50, 200


def smooth() -> Tensor:
    """A picture with areas: white noise has no superpixels to speak of."""
    coarse = torch.rand(1, 3, 9, 9, generator=torch.Generator().manual_seed(1))
    return interpolate(coarse, (224, 224), mode="bilinear")


def ours_lime(module: nn.Module, x: Tensor) -> Run:
    """All classes; the map of the one that Captum explains is compared."""
    method, target = (
        Lime(seewhy.Classifier(module, **IDENTITY), size=SUPERPIXELS, samples=SAMPLES),
        int(predicted(module, x)),
    )
    return lambda: _relative(method.explain_classes(x, torch.arange(100))[0, target])


def captum_lime(batch: int) -> Callable[[nn.Module, Tensor], Run]:
    """One class; ``batch`` is its ``perturbations_per_eval``. Superpixels are made in each run, as ours are."""

    def set_up(module: nn.Module, x: Tensor) -> Run:
        from captum._utils.models.linear_model import SkLearnRidge
        from captum.attr import Lime as Rival

        target = int(predicted(module, x))

        def kernel(_: Any, __: Any, mask: Tensor, **___: Any) -> float:
            return float((-((1 - mask.double().mean().sqrt()) ** 2) / (2 * 0.25**2)).exp())

        def run() -> NDArray[np.float32]:
            ids = divide(x, "superpixels", SUPERPIXELS).ids
            kept = torch.rand(SAMPLES, int(ids.max()) + 1, generator=torch.Generator().manual_seed(0)) < 0.5
            kept[0] = True
            masks = iter(kept.long().split(1))
            rival = Rival(
                lambda some: module(some).softmax(1),
                interpretable_model=SkLearnRidge(alpha=1.0),
                similarity_func=kernel,
                perturb_func=lambda *_, **__: next(masks),
            )
            with torch.no_grad():
                found = rival.attribute(
                    x, target=target, feature_mask=ids[:, None], n_samples=SAMPLES, perturbations_per_eval=batch
                )
            return _relative(found[0, 0])

        return run

    return set_up


def ours_rise(module: nn.Module, x: Tensor) -> Run:
    method, targets = RISE(seewhy.Classifier(module, **IDENTITY), samples=MASKS, cells=CELLS), predicted(module, x)
    return lambda: _relative(method.explain(x, targets))


def plain_rise(batch: int) -> Callable[[nn.Module, Tensor], Run]:
    """The paper's algorithm with all masks, and all masked images, there at once; the network sees ``batch`` at a time."""

    def set_up(module: nn.Module, x: Tensor) -> Run:
        side, cell, target = x.shape[-1], ceil(x.shape[-1] / CELLS), int(predicted(module, x))

        def run() -> NDArray[np.float32]:
            generator, masks = torch.Generator().manual_seed(0), torch.empty(MASKS, 1, side, side)
            for first in range(0, MASKS, ROUND):
                grids = (torch.rand(ROUND, 1, CELLS, CELLS, generator=generator) < 0.5).float()
                down, right = (torch.randint(cell, (ROUND,), generator=generator).tolist() for _ in range(2))
                for mask, grid, dy, dx in zip(masks[first:], grids, down, right, strict=False):
                    large = interpolate(grid[None], (CELLS + 1) * cell, mode="bilinear")
                    mask[0] = large[0, 0, dy : dy + side, dx : dx + side]
            stacked = masks * x
            with torch.no_grad():
                scores = torch.cat([module(some).softmax(1)[:, target] for some in stacked.split(batch)])
            return _relative((scores @ masks.flatten(1) / MASKS / 0.5).view(1, side, side))

        return run

    return set_up


def _relative(maps: Tensor) -> NDArray[np.float32]:
    return (maps / maps.abs().amax()).numpy()


RACES: dict[str, Race] = {
    "lime_100_classes": Race(
        f"LIME with {SAMPLES} masks, ours for 100 classes and Captum's for one, ResNet-18, one image of 224 x 224",
        network("resnet18", 100),
        smooth,
        {
            "seewhy explain_classes": ours_lime,
            "captum, one class, batches of 1": captum_lime(1),
            "captum, one class, batches of 32": captum_lime(32),
        },
        floor=32,
        repeats=3,
    ),
    "rise_one_target": Race(
        f"RISE of one class with {MASKS} masks, ResNet-18, one image of 224 x 224",
        network("resnet18", 1000),
        images(1),
        {"seewhy explain": ours_rise, "all masks in memory, batches of 32": plain_rise(32)},
        floor=32,
        repeats=3,
    ),
}
