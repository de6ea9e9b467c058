"""Does the classifier still know its classes through the masks? Precision, recall and F-score."""

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from seewhy.metrics.base import Measure
from seewhy.metrics.case import Case
from seewhy.metrics.options import BaselineOption, ScaleOption
from seewhy.metrics.segmentation import masks_of
from seewhy.options import Doc
from seewhy.types import Logits

Figure = Literal["f_score", "precision", "recall"]
Average = Literal["micro", "macro"]


class MaskedClassification(
    Measure,
    name="masked_classification",
    family="masking",
    better="higher",
    range=(0, 1),
    needs=("labels",),
    reads="min_max",
    explains="label",
    paper="stalder2022nnexplainer",
):
    r"""Precision, recall or F-score of the classifier on images masked by their maps.

    $$P = \frac{TP}{TP + FP}, \qquad R = \frac{TP}{TP + FN}, \qquad F = \frac{2\,TP}{2\,TP + FP + FN}$$

    True positives, false positives and false negatives are counted over all classes and images ("micro"), or for each
    class, whose figures are then averaged ("macro"). The score of an image is $3k$ counts for $k$ classes: its true
    positives, false positives and false negatives; ``reduce`` makes the figure of the dataset. Read it beside
    ``on="image"``, the same figure without masks: it says what there was to lose.

    Rewards: masks through which the classifier decides as the labels say.

    Fooled by: a map of 1 everywhere, which masks nothing; and by any map that shows the class asked for, since a map made
    with the label tells the classifier where to look. Precision alone is fooled by masks that hide nearly everything.

    Defined: a figure without a denominator is 0. Classes that are neither present nor predicted do not enter the macro
    average. Where a class must win and several are level, each is predicted by its share. A constant map becomes 0 by
    min-max: the image is the baseline.

    Args:
        average: "micro" or "macro"; the macro F-score is the mean of the classes' F-scores.
        threshold: above which a class is predicted. None: the class with the highest logit for a single-label network; for
            a multi-label one the paper's, a logit of 0 on whole images and of -1 on masked ones (which lower all logits).
        baseline: what the image fades to. The paper multiplies the normalized image, which fades to the mean color.

    Source: NN-Explainer (Stalder et al. 2022), supplement B and Table 4; the thresholds are those of the released code. The
    paper's masks are the maximum over the maps of all present classes: give such maps to compare with it.
    """

    figure: Annotated[Figure, Doc('The figure of the dataset: "f_score", "precision" or "recall".')] = "f_score"
    average: Annotated[Average, Doc('The counts are summed over all classes ("micro") or for each class ("macro").')] = (
        "micro"
    )
    on: Annotated[Literal["masked", "image"], Doc('The "masked" images or the whole "image".')] = "masked"
    threshold: Annotated[float | None, Doc("The value above which a class is predicted.")] = None
    threshold_on: Annotated[
        Literal["probability", "logit"],
        Doc('What ``threshold`` is compared with: "probability" (softmax, or sigmoid if multi-label) or "logit".'),
    ] = "probability"
    scale: ScaleOption = "min_max"
    baseline: BaselineOption = "mean_color"

    def score(self, case: Case) -> Float[Tensor, "n m"]:
        if self.on == "image":
            logits = case.logits
        else:
            logits = case.run(case.faded(masks_of(case, "map", self.scale), self.baseline))
        predicted, present = self._predicted(case, logits), case.present_classes().to(logits.dtype)
        counts = [predicted * present, predicted * (1 - present), (1 - predicted) * present]
        if self.average == "micro":  # the classes are summed anyway, and a thousand of them are many numbers to keep
            counts = [count.mean(1, keepdim=True) for count in counts]
        return torch.cat(counts, 1).to(case.attributions.dtype)

    def reduce(self, scores: Tensor) -> float:
        tp, fp, fn = scores.double().sum(0).chunk(3)
        return figure_of(tp, fp, fn, self.figure, self.average)

    def _predicted(self, case: Case, logits: Logits) -> Float[Tensor, "n k"]:
        if self.threshold is not None:
            values = logits if self.threshold_on == "logit" else case.classifier.to_probabilities(logits)
            return (values > self.threshold).to(logits.dtype)
        if case.classifier.multilabel:
            return (logits > (0.0 if self.on == "image" else -1.0)).to(logits.dtype)
        first = (logits == logits.amax(1, keepdim=True)).to(logits.dtype)
        return first / first.sum(1, keepdim=True)


def figure_of(
    tp: Float[Tensor, "k"], fp: Float[Tensor, "k"], fn: Float[Tensor, "k"], figure: Figure, average: Average
) -> float:
    """Precision, recall or F-score from the counts of each class."""
    counts = torch.stack([tp, fp, fn])
    counts = counts[:, counts.sum(0) > 0]
    if average == "micro":
        counts = counts.sum(1, keepdim=True)
    if not counts.shape[1]:
        return 0.0
    tp, fp, fn = counts
    above, below = {"f_score": (2 * tp, 2 * tp + fp + fn), "precision": (tp, tp + fp), "recall": (tp, tp + fn)}[figure]
    return float((above / torch.where(below > 0, below, 1)).mean())
