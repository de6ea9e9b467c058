"""Precision, recall and F-score through the masks: by hand, against counting, and at the thresholds of the paper."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support import metric_oracles_regions as oracle
from support.metric_masks import N, ask, halves, random_case
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.metrics.base import reduced
from seewhy.metrics.case import Case
from seewhy.metrics.masked_classification import MaskedClassification, figure_of


@pytest.mark.parametrize(("average", "expected"), [("micro", (4 / 9, 4 / 8, 8 / 17)), ("macro", (0.5, 0.5, 4 / 9))])
def test_figures_by_hand(average: str, expected: tuple[float, ...]) -> None:
    """Class 0: 3 of 3 predicted are right, 3 of 6 found; class 1: 1 of 2, all found; class 2 never right; 3 absent."""
    tp, fp, fn = torch.tensor([3.0, 1, 0, 0]), torch.tensor([0.0, 1, 4, 0]), torch.tensor([3.0, 0, 1, 0])
    figures = [figure_of(tp, fp, fn, figure, average) for figure in ("precision", "recall", "f_score")]
    assert figures == pytest.approx(expected)


def test_a_figure_without_counts_is_zero() -> None:
    zero = torch.zeros(3)
    assert figure_of(zero, zero, zero, "f_score", "macro") == figure_of(zero, zero, zero, "recall", "micro") == 0


def test_masks_that_show_or_hide_the_class() -> None:
    network, images, maps = halves()
    labels = torch.tensor([0, 1])
    case = Case(network, images, labels, labels, maps, labels=labels)
    metric = MaskedClassification()
    assert metric.score(case).tolist() == [[0.5, 0, 0], [0.5, 0, 0]]  # micro: the mean over two classes
    hidden = metric.score(replace(case, attributions=maps.flip(0)))
    assert hidden.tolist() == [[0, 0.5, 0.5], [0, 0.5, 0.5]]
    by_class = MaskedClassification(average="macro").score(replace(case, attributions=maps.flip(0)))
    assert by_class.tolist() == [[0, 0, 0, 1, 1, 0], [0, 0, 1, 0, 0, 1]]
    assert (reduced(metric, metric.score(case)), reduced(metric, hidden)) == (1, 0)
    # the whole images are white: both classes are level, and each is predicted by half
    level = MaskedClassification(on="image").score(case)
    assert level[0].tolist() == [0.25, 0.25, 0.25]
    assert reduced(MaskedClassification(on="image"), level) == 0.5


def test_thresholds_of_the_paper() -> None:
    """A logit of 0 on whole images, of -1 on masked ones; a threshold of one's own holds for either."""

    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.new_tensor([[0.5, -0.5, -2.0]]).expand(len(x), -1)

    network = Classifier(Fixed().eval(), input_size=(4, 4), multilabel=True)
    images, zero = torch.rand(1, 3, 4, 4, dtype=torch.float64), torch.tensor([0])
    case = Case(network, images, zero, zero, images[:, 0], labels=torch.tensor([[1, 1, 0]]))

    def predicted(**options: object) -> list[float]:
        counts = MaskedClassification(average="macro", **options).score(case)[0].view(3, 3)
        return (counts[0] + counts[1]).tolist()

    assert predicted(on="image") == [1, 0, 0]
    assert predicted(on="masked") == [1, 1, 0]
    assert predicted(threshold=0.5) == predicted(threshold=0.0, threshold_on="logit") == [1, 0, 0]
    assert predicted(threshold=0.1) == predicted(threshold=-2.1, threshold_on="logit") == [1, 1, 1]
    assert predicted(threshold=0.5, threshold_on="logit") == [0, 0, 0]


@pytest.mark.parametrize("kind", ["cnn", "cnn_multilabel"])
@pytest.mark.parametrize("figure", ["precision", "recall", "f_score"])
@pytest.mark.parametrize("average", ["micro", "macro"])
def test_classification_against_counting(kind: str, figure: str, average: str) -> None:
    case = random_case(kind)
    tp, fp, fn = np.zeros(5), np.zeros(5), np.zeros(5)
    for i in range(N):
        m = oracle.min_max(case.attributions[i].numpy())
        z = ask(case, oracle.faded(case.images[i].numpy(), m, case.classifier.mean))
        for c in range(5):
            said = z[c] > -1 if kind == "cnn_multilabel" else c == z.argmax()
            true = bool(case.labels[i, c]) if kind == "cnn_multilabel" else c == int(case.labels[i])
            tp[c] += said and true
            fp[c] += said and not true
            fn[c] += true and not said

    def of(tp: float, fp: float, fn: float) -> float:
        precision, recall = (tp / (tp + wrong) if tp + wrong else 0.0 for wrong in (fp, fn))
        f_score = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        return {"precision": precision, "recall": recall, "f_score": f_score}[figure]

    used = [c for c in range(5) if tp[c] + fp[c] + fn[c]]
    expected = of(tp.sum(), fp.sum(), fn.sum()) if average == "micro" else np.mean([of(tp[c], fp[c], fn[c]) for c in used])
    metric = MaskedClassification(figure=figure, average=average)
    assert reduced(metric, metric.score(case)) == pytest.approx(expected, abs=1e-12)
