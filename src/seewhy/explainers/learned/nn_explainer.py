"""NN-Explainer (Stalder et al. 2022)."""

from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from seewhy.explainers.learned.learned_explainer import Seen, Step
from seewhy.explainers.learned.mask_per_class import OnMaskNetwork
from seewhy.explainers.learned.mask_terms import Weight, classification, merged, negative_entropy, out_of_bounds, variation
from seewhy.explainers.learned.settings import Settings
from seewhy.explainers.options import BaselineOption
from seewhy.masking.baselines import baseline_images, blend
from seewhy.options import Above, AtLeast, Below, Doc
from seewhy.types import ClassAttribution, Scores


class NNExplainer(OnMaskNetwork, name="nn_explainer", family="learned", paper="stalder2022nnexplainer"):
    """A mask for each class: the classes of the image are seen through their masks, and nothing through the rest. In [0, 1].

    The target mask m is the maximum over the masks of the classes that are present, the non-target mask n that over all
    others. A network with sigmoids learns by binary cross entropy over all classes, one with a softmax by cross entropy. An
    image without any class has m = 0, one with every class has n = 0. The explained network stays in eval mode: the released
    code trained through active dropout and drifting batch statistics, which explains another network.

    Args:
        entropy: weight of the negative entropy of the prediction under the complement of m (eq. 3). The entropy is that of a
            softmax, also for sigmoids: no class is to stand out.
        bounds: weight of the bounds of the masks of the present classes (eq. 5).
        area: weight of the mean of m.
        other_area: weight of the mean of n. Eq. 6 has one weight for ``bounds``, ``area`` and ``other_area``; the released
            code has three, about 1 : 0.1 : 0.3.
        smoothness: weight of the total variation of m and n (eq. 8).
        warmup: the share of the training over which ``area`` and ``other_area`` rise from a tenth to their full weight. With
            full weights from the start (0, the paper's) the mask of a class can die before the class is found.
        least: a, the share of the image that the mask of a present class should have at least.
        most: b, the share that it should have at most.
        bounds_over: "mean" over the present classes (eq. 6), or their "sum", as the released code has it.
        border: "open" is eq. 7; "mirrored" counts the last differences twice, as the released code does.

    Source: equations 1 to 8. The defaults of the weights are for small data; the published ones are presets.
    """

    settings: ClassVar[Settings] = Settings(epochs=10, batch_size=16, learning_rate=3e-3, schedule="one_cycle")

    entropy: Annotated[Weight, Doc("Weight of the entropy term.")] = 3.0
    bounds: Annotated[Weight, Doc("Weight of the bounds.")] = 1.0
    area: Annotated[Weight, Doc("Weight of the area of the target mask.")] = 1.0
    other_area: Annotated[Weight, Doc("Weight of the area of the non-target mask.")] = 1.0
    smoothness: Annotated[Weight, Doc("Weight of the total variation.")] = 1.0
    warmup: Annotated[float, AtLeast(0), Below(1), Doc("Share of the training over which the areas gain weight.")] = 0.5
    least: Annotated[float, AtLeast(0), Below(1), Doc("Least share of the image.")] = 0.05
    most: Annotated[float, Above(0), Below(1), Doc("Largest share of the image.")] = 0.3
    bounds_over: Annotated[Literal["mean", "sum"], Doc("How the bounds of several classes are put together.")] = "mean"
    border: Annotated[Literal["open", "mirrored"], Doc("The total variation at the border.")] = "open"
    baseline: BaselineOption = "mean_color"

    def loss(self, seen: Seen, generator: torch.Generator) -> Step:
        classifier, present = self.classifier, self.present(seen)
        masks = self.mask_logits(seen).sigmoid()
        m, n = merged(masks, present), merged(masks, ~present)
        removed = baseline_images(self.baseline, classifier, seen.images)
        shown, hidden = blend(seen.images, m, removed), blend(seen.images, 1 - m, removed)
        with classifier.running(gradients=True):
            through, around = classifier.logits(torch.cat([shown, hidden])).chunk(2)
        mirrored, rise = self.border == "mirrored", self._rise(seen.progress)
        terms = {
            "classification": classification(through, present, classifier.multilabel),  # eq. 2
            "entropy": self.entropy * negative_entropy(around),  # eq. 3
            "bounds": self.bounds * self._bounds(masks, present),  # eqs. 4 to 6
            "area": rise * self.area * m.mean((1, 2)),
            "other_area": rise * self.other_area * n.mean((1, 2)),
            "smoothness": self.smoothness * (variation(m, mirrored=mirrored) + variation(n, mirrored=mirrored)),  # eqs. 7, 8
        }
        return Step({name: term.mean() for name, term in terms.items()}, masks)

    def _bounds(self, masks: ClassAttribution, present: Tensor) -> Scores:
        """(n,) the bounds of the masks of the present classes; 0 for an image without any."""
        rows = present.nonzero()[:, 0]
        each = out_of_bounds(masks[present], self.least, self.most)
        total = masks.new_zeros(len(masks)).index_add(0, rows, each)
        return total / present.sum(1).clamp_min(1) if self.bounds_over == "mean" else total

    def _rise(self, progress: float) -> float:
        return 1.0 if progress >= self.warmup else 0.1 + 0.9 * progress / self.warmup
