"""Metrics that show masked images to the classifier: by hand, against literal re-writings, and at their bounds."""

from dataclasses import replace
from math import log

import numpy as np
import pytest
import torch
from support import metric_oracles_regions as oracle
from support.tiny_models import SIZE, TINY
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError
from seewhy.metrics.base import reduced
from seewhy.metrics.case import Case
from seewhy.metrics.class_masks import ClassMasks, class_mask_table
from seewhy.metrics.masked_classification import MaskedClassification, figure_of
from seewhy.metrics.segmentation import SaliencyScore

N = 6
METRICS = [
    SaliencyScore(),
    SaliencyScore(use="halves", baseline="black"),
    ClassMasks(thresholds=3),
    MaskedClassification(),
    MaskedClassification(on="image", threshold=0.4),
]


def random_case(kind: str = "cnn", dtype: torch.dtype = torch.float64) -> Case:
    g = torch.Generator().manual_seed(0)
    classifier = TINY[kind]()
    maps = torch.randn(N, SIZE, SIZE, generator=g, dtype=torch.float64)
    maps[::2] = maps[::2].round()
    labels = torch.rand(N, 5, generator=g) < 0.4
    labels[0] = False
    return Case(
        replace(classifier, module=classifier.module.to(dtype)),
        torch.rand(N, 3, SIZE, SIZE, generator=g, dtype=torch.float64).to(dtype),
        torch.arange(N) % 5,
        torch.arange(N) % 5,
        maps.to(dtype),
        labels=labels.long() if kind == "cnn_multilabel" else torch.arange(N) % 5,
        regions=maps > 0.5,
        class_maps=torch.randn(N, 3, SIZE, SIZE, generator=g, dtype=torch.float64).to(dtype),
        map_classes=torch.tensor([3, 0, 1]),
        batch_size=4,
    )


def same(actual: Tensor, expected: list[float]) -> None:
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=actual.dtype), rtol=1e-10, atol=1e-10)


def ask(case: Case, image: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return case.classifier.logits(torch.as_tensor(image)[None])[0].numpy()


class Halves(nn.Module):
    """The logits are ten times the mean brightness of the left and of the right half."""

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean((1, 2))
        half = x.shape[-1] // 2
        return 10 * torch.stack([means[:, :half].mean(1), means[:, half:].mean(1)], 1)


def halves(multilabel: bool = False) -> tuple[Classifier, Tensor, Tensor]:
    """The classifier on black as mean color, two white images, and the maps of the two classes."""
    network = Classifier(Halves().eval(), (0.0,) * 3, (1.0,) * 3, (4, 4), multilabel=multilabel)
    left = torch.zeros(4, 4, dtype=torch.float64)
    left[:, :2] = 1
    return network, torch.ones(2, 3, 4, 4, dtype=torch.float64), torch.stack([left, 1 - left])


# -- masks of several classes -----------------------------------------------------------------------------------------

SURE = 1 / (1 + np.exp(-10))  # the softmax of (10, 0)


@pytest.mark.parametrize("multilabel", [False, True])
def test_class_masks_by_hand(multilabel: bool) -> None:
    """A mask that shows one class alone makes it sure, the other's mask makes it impossible; softmax in either case."""
    network, images, maps = halves(multilabel)
    both = torch.stack([maps, maps])
    targets = torch.tensor([0, 1])
    case = Case(network, images, targets, targets, maps, class_maps=both, map_classes=targets)
    metric = ClassMasks()
    scores = metric.score(case)
    same(scores[0], [SURE, 1 - SURE, 0.5, 1, 0])
    same(scores[1], [1 - SURE, SURE, 0.5, 0, 1])
    assert reduced(metric, scores) == pytest.approx(2 * SURE - 1)
    same(class_mask_table(scores, targets, targets).flatten(), [SURE, 1 - SURE, 0.5, 1 - SURE, SURE, 0.5])
    swapped = replace(case, class_maps=both.flip(1))
    assert reduced(metric, metric.score(swapped)) == pytest.approx(1 - 2 * SURE)
    level = replace(case, class_maps=both[:, :1].expand(-1, 2, -1, -1))
    assert reduced(metric, metric.score(level)) == pytest.approx(0)


@pytest.mark.parametrize("kind", ["cnn", "cnn_multilabel"])
def test_class_masks_against_the_oracle(kind: str) -> None:
    case = random_case(kind)
    metric = ClassMasks(thresholds=4)
    scores = metric.score(case)
    table = []
    for image, maps, c in zip(case.images.numpy(), case.class_maps.numpy(), case.scored.tolist(), strict=True):
        row = []
        for a in maps:
            masks = [(oracle.min_max(a) > t).astype(float) for t in (0.2, 0.4, 0.6, 0.8)]
            seen = [oracle.softmax(ask(case, oracle.faded(image, m, case.classifier.mean)))[c] for m in masks]
            row.append(sum(seen) / 4)
        table.append([*row, oracle.softmax(ask(case, image))[c]])
    same(scores[:, :4].flatten(), list(np.ravel(table)))
    differences = []
    for row, c in zip(table, case.scored.tolist(), strict=True):
        if c in (3, 0, 1):
            own = [3, 0, 1].index(c)
            differences.append(row[own] - sum(v for i, v in enumerate(row[:3]) if i != own) / 2)
    assert reduced(metric, scores) == pytest.approx(sum(differences) / len(differences), abs=1e-10)
    means = class_mask_table(scores, case.scored, case.map_classes)
    same(means[1], list((np.array(table[0]) + np.array(table[5])) / 2))  # images 0 and 5 are scored for class 0
    assert class_mask_table(scores, case.scored + 5, case.map_classes).isnan().all()


def test_class_masks_that_say_nothing_of_the_difference() -> None:
    """One class alone has no other; a class without a map has no own; and what does not fit is refused."""
    case = random_case()
    one = replace(case, class_maps=case.class_maps[:, :1], map_classes=case.map_classes[:1])
    metric = ClassMasks(thresholds=2)
    assert reduced(metric, metric.score(one)) == 0
    none = replace(case, scored=torch.full((N,), 4))
    assert reduced(metric, metric.score(none)) == 0
    for classes in (torch.tensor([0, 0, 1]), torch.tensor([0, 1]), None):
        wrong = replace(case)
        object.__setattr__(wrong, "map_classes", classes)  # past the type checker of the tests
        with pytest.raises(SeewhyError, match=r"class_maps|twice"):
            metric.score(wrong)


# -- saliency score ---------------------------------------------------------------------------------------------------


def test_saliency_score_by_hand() -> None:
    network, images, maps = halves()
    labels = torch.tensor([0, 0])
    case = Case(network, images, labels, labels, maps, labels=labels)
    same(SaliencyScore().score(case), [log(0.5) - log(SURE), log(0.5) + log(1 + np.exp(10))])
    same(SaliencyScore(use="ones").score(case), [0 - log(0.5)] * 2)
    same(SaliencyScore(use="zeros").score(case), [log(0.05) - log(0.5)] * 2)
    # black everywhere at baseline white is white
    same(SaliencyScore(use="zeros", baseline="white").score(replace(case, images=images * 0)), [log(0.05) - log(0.5)] * 2)
    both = replace(case, labels=torch.tensor([[1, 1], [0, 1]]))
    same(SaliencyScore().score(both), [log(0.5), log(0.5) - log(SURE)])


@pytest.mark.parametrize("kind", ["cnn", "cnn_multilabel"])
def test_saliency_score_against_the_oracle(kind: str) -> None:
    """Image 0 of the multi-label case has no class at all: the class scored takes its place."""
    case = random_case(kind)
    for use in ("map", "region"):
        expected = []
        for i in range(N):
            m = oracle.min_max(case.attributions[i].numpy()) if use == "map" else case.regions[i].numpy().astype(float)
            p = oracle.softmax(ask(case, oracle.faded(case.images[i].numpy(), m, case.classifier.mean)))
            present = [int(case.labels[i])] if kind == "cnn" else [c for c in range(5) if case.labels[i, c]]
            expected.append(log(max(m.mean(), 0.05)) - log(sum(p[c] for c in present or [i % 5])))
        same(SaliencyScore(use=use).score(case), expected)


# -- classification ---------------------------------------------------------------------------------------------------


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


# -- every one of them ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["cnn", "cnn_multilabel"])
@pytest.mark.parametrize("metric", METRICS, ids=repr)
def test_rows_are_independent(metric: object, kind: str) -> None:
    case = random_case(kind)
    whole = metric.score(case)
    for i in (0, N - 1):
        names = ("images", "explained", "scored", "attributions", "labels", "regions", "class_maps")
        alone = replace(case, **{name: getattr(case, name)[i : i + 1] for name in names})
        same(metric.score(alone).flatten(), whole[i].flatten().tolist())
    scaled = replace(case, attributions=case.attributions * 64 - 8, class_maps=case.class_maps * 64, batch_size=1)
    torch.testing.assert_close(metric.score(scaled), whole)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("metric", METRICS, ids=repr)
def test_every_map_has_a_score_in_the_range(metric: object, dtype: torch.dtype) -> None:
    case = random_case(dtype=dtype)
    zero = torch.zeros_like(case.attributions)
    for a in (case.attributions, zero, zero + 3, zero - 2, -1 - case.attributions.abs()):
        changed = replace(case, attributions=a, class_maps=torch.stack([a, zero, a * 2], 1))
        scores = metric.score(changed)
        assert scores.dtype == dtype
        assert scores.isfinite().all()
        assert (scores >= metric.range[0] - 1e-6).all()
        assert (scores <= metric.range[1] + 1e-6).all()


def test_a_network_that_is_certain_gives_finite_scores() -> None:
    network, images, maps = halves()
    certain = replace(network, module=nn.Sequential(Halves(), nn.Linear(2, 2).double()).eval())
    with torch.no_grad():
        certain.module[1].weight.copy_(torch.eye(2) * 1000)
    labels = torch.tensor([1, 0])
    case = Case(certain, images, labels, labels, maps, labels=labels)
    assert (SaliencyScore().score(case) > 1000).all()
    assert SaliencyScore().score(case).isfinite().all()
