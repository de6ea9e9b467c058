"""Does the map stay when the image hardly changes?"""

from typing import Annotated, Literal

import torch
from torch import Tensor

from seewhy.explainers import Explainer
from seewhy.maps import read
from seewhy.metrics.base import Measure
from seewhy.metrics.case import Case
from seewhy.metrics.options import ReadsOption
from seewhy.options import AtLeast, Doc
from seewhy.types import Images, Scores


class MaxSensitivity(
    Measure,
    name="max_sensitivity",
    family="robustness",
    better="lower",
    range=(0.0, float("inf")),
    needs=("explainer",),
    explains="label",
    paper="yeh2019infidelity",
):
    r"""The largest relative change of the map when a little noise is added to the image.

    $$\mathrm{MS} = \max_{j \le J} \frac{\lVert \phi(x + \delta_j) - \phi(x) \rVert_2}{\lVert \phi(x) \rVert_2},
    \qquad \delta_j \sim U[-r, r]$$

    with $\phi(x)$ the map of the class explained, which stays the same when the noise changes the prediction, and $J$
    draws of uniform noise.

    Rewards: maps that change slowly with the image, such as those of coarse layers, or averages over noise.

    Fooled by: maps that do not look at the image. `center` is never moved and scores a perfect 0. A map that adds the same
    large constant everywhere divides its change by the constant. And a network that itself reacts to the noise makes a
    faithful map move.

    Defined: where the map is zero everywhere, 0 if the noisy maps are zero too, else 1; likewise for a zero image with
    `relative_to="input"`. Noisy images are clamped to [0, 1], so that noise on black and white pixels is halved. Every
    image meets the same noise.

    Args:
        samples: noisy copies of the image, J. Opti-CAM uses 10, Quantus 200: more find a larger maximum.
        space: the unit of the radius. "normalized": that of the network's input, as libraries have it that are given
            normalized images; a pixel moves by up to radius * std of its channel. "pixel": that of images in [0, 1].
        relative_to: what the change is divided by. "map" as above; "input" for the norm of the image in that space,
            which Quantus used before 0.5 and probably the table of Opti-CAM: not to be compared with the other. Then a
            map twice as large changes twice as much: read maps as "min_max" where methods are compared.
        reads: how the map and those of the noisy images are read before they are compared. With "raw" a map that only
            becomes stronger has changed; with "min_max" it has not.

    Source: Yeh et al. (2019), max-sensitivity; divided by the norm of the map as in Quantus from 0.5 on.
    """

    samples: Annotated[int, AtLeast(1), Doc("Noisy copies of the image, J.")] = 10
    radius: Annotated[float, AtLeast(0), Doc("The radius of the noise, r.")] = 0.2
    space: Annotated[Literal["normalized", "pixel"], Doc("The unit of the radius.")] = "normalized"
    relative_to: Annotated[Literal["map", "input"], Doc("What the change is divided by.")] = "map"
    reads: ReadsOption = "raw"

    def score(self, case: Case) -> Tensor:
        explainer: Explainer = case.require("explainer")
        generator = torch.Generator().manual_seed(case.seed)
        before = read(case.attributions, self.reads).double()
        change = before.new_zeros(len(before))
        for _ in range(self.samples):
            noise = 2 * torch.rand(case.images.shape[1:], generator=generator, dtype=torch.float32) - 1
            noisy = (case.images + noise.to(case.images) * self._unit(case)).clamp(0, 1)
            maps = read(explainer.explain(noisy, case.explained), self.reads)
            change = torch.maximum(change, norms(maps.double() - before))
        size = norms(before if self.relative_to == "map" else self._input(case).double())
        ratio = torch.where(size > 0, change / torch.where(size > 0, size, 1), (change > 0).double())
        return ratio.clamp_max(torch.finfo(case.images.dtype).max).to(case.images.dtype)

    def _unit(self, case: Case) -> Tensor:
        """(c, 1, 1) by how much a pixel moves at most."""
        std = case.classifier.std if self.space == "normalized" else (1.0,) * case.images.shape[1]
        return self.radius * case.images.new_tensor(std)[:, None, None]

    def _input(self, case: Case) -> Images:
        return case.classifier.normalize(case.images) if self.space == "normalized" else case.images


def norms(x: Tensor) -> Scores:
    """(n,) Euclidean norm of each row's numbers."""
    return x.flatten(1).norm(dim=1)
