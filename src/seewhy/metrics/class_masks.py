"""Is the map of a class a map of that class? The classifier seen through the masks of several classes."""

from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

from seewhy.errors import SeewhyError
from seewhy.maps import read
from seewhy.metrics.base import Measure
from seewhy.metrics.case import Case
from seewhy.metrics.options import BaselineOption, ScaleOption
from seewhy.options import AtLeast, Doc
from seewhy.types import Classes, Logits, Scores, Targets


class ClassMasks(
    Measure,
    name="class_masks",
    family="specificity",
    better="higher",
    range=(-1, 1),
    needs=("class_maps",),
    reads="min_max",
    explains="label",
    paper="stalder2022nnexplainer",
):
    r"""Probability of a class when the image is masked with the map of that class, and with those of other classes.

    $$v_{jc} = \frac{1}{|\Theta|} \sum_{\theta \in \Theta} p_c\left(x \odot \mathbb{1}[m^j > \theta]\right), \qquad
    D = \operatorname{mean}_x \left( v_{cc} - \operatorname{mean}_{j \ne c} v_{jc} \right)$$

    Here $m^j$ is the min-max map of class $j$, $c$ the class scored, $x \odot M$ the image with the baseline outside $M$,
    and $p$ a softmax even where the network is multi-label, since one class is to win against all others. The score of an
    image is its row of the paper's table: $v_{jc}$ for each of $J$ mask classes, then $p_c$ of the unmasked image; and $J$
    more columns, 1 for the mask class that is the class scored and 0 for all others. ``reduce`` makes $D$, and
    ``class_mask_table`` the table.

    Rewards: maps that keep their own class recognizable and remove it when another class is asked for.

    Fooled by: images with one object only, on which the map of an absent class may be anything; maps that are complements
    by construction. A map that is the same for all classes scores 0, however good it is.

    Defined: a constant map becomes 0 by min-max and removes the whole image at every threshold. Images whose class has no
    map, or is the only one that has, do not enter $D$; it is 0 if there are no others.

    Args:
        thresholds: number of thresholds, evenly between 0 and 1: nine are 0.1, 0.2, ... 0.9. A pixel stays if it is above.
        baseline: what takes the place of removed pixels. The paper masks the normalized image: the mean color.
        scale: "clipped" takes masks in $[0, 1]$ as they are, as the paper takes its own. Min-max, for maps of another scale,
            makes a mask of an absent class out of what little there is in an empty one.

    Source: NN-Explainer (Stalder et al. 2022), section 4.2 and Table 1; the difference $D$ is this library's.
    """

    thresholds: Annotated[int, AtLeast(1), Doc("Number of thresholds, evenly between 0 and 1.")] = 9
    baseline: BaselineOption = "mean_color"
    scale: ScaleOption = "min_max"

    def score(self, case: Case) -> Float[Tensor, "n m"]:
        maps, classes = class_maps_of(case, "class_masks")
        columns, levels = [], [(i + 1) / (self.thresholds + 1) for i in range(self.thresholds)]
        for of_class in maps.unbind(1):
            masks = read(of_class, self.scale)
            kept = (case.faded((masks > level).to(masks.dtype), self.baseline) for level in levels)
            columns.append(torch.stack([softmax(case, case.run(images)) for images in kept]).mean(0))
        unmasked = softmax(case, case.logits)
        own = (classes == case.scored[:, None]).to(maps.dtype)
        return torch.cat([torch.stack([*columns, unmasked], 1).to(maps.dtype), own], 1)

    def reduce(self, scores: Tensor) -> float:
        j = scores.shape[1] // 2
        known = scores[:, j + 1 :].any(1)
        if j < 2 or not known.any():
            return 0.0
        seen, own = scores[known, :j].double(), scores[known, j + 1 :].double()
        return float(((seen * own).sum(1) - (seen * (1 - own)).sum(1) / (j - 1)).mean())


def class_mask_table(scores: Float[Tensor, "n m"], scored: Targets, map_classes: Classes) -> Float[Tensor, "j c"]:
    """Table 1 of the paper: a row for each of ``map_classes``, the mean over the images scored for that class.

    Columns are the mask classes and the unmasked image. NaN where no image is scored for a class. An image in which
    several of the classes are present has one row of ``scores`` for each.
    """
    seen = scores[:, : len(map_classes) + 1]
    return torch.stack([seen[scored == c].mean(0) for c in map_classes])


def softmax(case: Case, logits: Logits) -> Scores:
    """Probability of the class scored among all classes, also of a multi-label network."""
    case.classifier.must_have_probabilities()
    return logits.softmax(1).gather(1, case.scored[:, None]).squeeze(1)


def class_maps_of(case: Case, who: str) -> tuple[Tensor, Tensor]:
    """(n, j, h, w) maps of several classes, and these classes (j,); SeewhyError says what ``who`` lacks."""
    maps, classes = case.require("class_maps", who), case.map_classes
    if classes is None:
        raise SeewhyError(f"{who} needs the maps of several classes: give class_maps and map_classes to the case")
    n, h, w = case.attributions.shape
    if maps.shape != (n, len(classes), h, w):
        raise SeewhyError(
            f"class_maps are ({n}, {len(classes)}, {h}, {w}) for these images and classes, not {tuple(maps.shape)}"
        )
    if len(classes.unique()) < len(classes):
        raise SeewhyError(f"map_classes name a class twice: {classes.tolist()}")
    return maps, classes
