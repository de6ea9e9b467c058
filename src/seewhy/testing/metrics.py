"""The contract of a metric, as checks that anybody can run on their own metric.

    from seewhy.testing import check_metric
    check_metric(MyMetric(), case)

``case`` has at least two different images with different maps, and all that the metric needs.
"""

from collections.abc import Callable
from dataclasses import replace
from inspect import isclass, isfunction
from typing import Any, get_args

import torch
from torch import Tensor, nn

from seewhy.classifier.borrow import logits_in
from seewhy.describe import as_json
from seewhy.metrics import Case, Metric
from seewhy.metrics.base import NEEDS, Explained, Family
from seewhy.testing.explainers import disturbed, expect_same, snapshot
from seewhy.testing.wanted import expect, must_have

Check = Callable[[Metric, Case], None]
"""A check asks with ``replace(case)``: in such a copy nothing is computed yet."""


def check_values(metric: Metric, case: Case) -> None:
    """One number for each image or several, finite, without a graph, and in the range that is declared."""
    scores = metric.score(case)
    must_be_scores(scores, case)
    _bounded(metric, scores, "the maps")


def check_rows(metric: Metric, case: Case) -> None:
    """Row i depends on image i alone: the image scores the same alone, in the batch and in another order."""
    scores = metric.score(case)
    for i in range(len(case.images)):
        _same(metric.score(case.rows(torch.tensor([i]))), scores[i : i + 1], f"image {i} scores otherwise alone")
    order = list(reversed(range(len(case.images))))
    _same(metric.score(case.rows(torch.tensor(order))), scores[order], "images score otherwise in another order")


def check_chunks(metric: Metric, case: Case) -> None:
    """The number of forward passes at a time does not change a score."""
    _same(metric.score(replace(case, batch_size=1)), metric.score(replace(case, batch_size=5)), "batch_size changes scores")


def check_degenerate_maps(metric: Metric, case: Case) -> None:
    """For maps of zeros, of ones, of negative numbers and of one pixel every score is defined and in the range."""
    one = torch.zeros_like(case.attributions)
    one[:, 1, 2] = 1
    maps = {"zeros": one * 0, "ones": one * 0 + 1, "negative numbers": -1 - case.attributions.abs(), "one pixel": one}
    for name, values in maps.items():
        _bounded(metric, metric.score(replace(case, attributions=values)), f"maps of {name}")


def check_scale(metric: Metric, case: Case) -> None:
    """Four times the map scores the same; also when it is shifted, where the metric reads its order or min-max.

    Two kinds of metrics are not checked: those that read masks as they are, and those that compare raw maps with maps that
    the explainer makes anew.
    """
    if metric.reads in ("clipped", "none") or (metric.reads == "raw" and "explainer" in metric.needs):
        return
    scores = metric.score(case)
    _same(metric.score(replace(case, attributions=case.attributions * 4)), scores, "the scale of a map changes scores")
    if metric.reads in ("order", "min_max"):
        shifted = case.attributions * 4 + 8  # powers of two keep the order of floats that are not too close
        _same(metric.score(replace(case, attributions=shifted)), scores, "the offset of a map changes scores", 2e-3)


def check_certain_network(metric: Metric, case: Case) -> None:
    """For a network whose probabilities are exactly 0 and 1 every score is defined and in the range."""
    certain = replace(case.classifier, module=_Louder(case.classifier.module))
    explainer: Any = case.explainer
    if explainer is not None:
        explainer = replace(explainer, classifier=certain)
    scores = metric.score(replace(case, classifier=certain, explainer=explainer, image_logits=None))
    _bounded(metric, scores, "a network that is certain")


def check_inputs(metric: Metric, case: Case) -> None:
    """Images, maps and regions are the same as before."""
    given = [case.images, case.attributions, case.regions, case.class_maps]
    before = as_json(given)
    metric.score(replace(case))
    expect(as_json(given) == before, "images, maps or regions have changed")


def check_borrowed_network(metric: Metric, case: Case) -> None:
    """Weights, buffers, gradients, flags and hooks of the network are the same as before."""
    with disturbed(case.classifier.module):
        before = snapshot(case.classifier.module)
        metric.score(replace(case))
        expect_same(before, snapshot(case.classifier.module))


CHECKS: list[Check] = [
    check_values,
    check_rows,
    check_chunks,
    check_degenerate_maps,
    check_scale,
    check_certain_network,
    check_inputs,
    check_borrowed_network,
]


def check_metric(metric: Metric, case: Case) -> None:
    """Run every check; the first promise that is broken raises AssertionError and says which.

    What is no metric at all, and a case that lacks what the metric needs, is answered with what is missing and what to do.
    """
    must_be_metric(metric, case)
    for check in CHECKS:
        check(metric, case)


METRIC_MEMBERS = {
    "score": "score(self, case)",
    "family": f"family, one of {', '.join(get_args(Family))}",
    "higher_is_better": "higher_is_better, True, False or None",
    "range": "range, such as (0, 1)",
    "needs": 'needs, a tuple such as ("regions",) or ()',
    "target": f"target, one of {', '.join(get_args(Explained))}",
    "paper": 'paper, a key of the bibliography or ""',
    "reads": "reads, how it reads a map: raw, positive, absolute, min_max, clipped, order or none",
}
"""The members of a metric, as a class writes them."""


def must_be_metric(metric: Any, case: Any) -> None:
    """AssertionError where ``metric`` is no metric, or the case cannot be scored by it: what is missing, what to do."""
    name = getattr(metric, "__name__", type(metric).__name__)
    expect(not isinstance(metric, str), f"{metric!r} is a text: give seewhy.metric({metric!r}), or a metric of your own")
    expect(not isclass(metric), f"{name} is a class: give one of it, {name}()")
    expect(
        not isfunction(metric),
        f"{name} is a function, and no metric: write a class whose score(self, case) does what the function does with "
        f"case.images and case.attributions, and that has {'; '.join(list(METRIC_MEMBERS.values())[1:])}",
    )
    must_have(metric, METRIC_MEMBERS, "metric")
    expect(metric.family in get_args(Family), f"{name}.family is {metric.family!r}: give {METRIC_MEMBERS['family'][8:]}")
    low_high = metric.range
    ordered = isinstance(low_high, tuple) and len(low_high) == 2 and low_high[0] < low_high[1]
    expect(ordered, f"{name}.range is {low_high!r}: give the lowest and the highest score, such as (0, 1)")
    unknown = [need for need in metric.needs if need not in NEEDS]
    expect(not unknown, f"{name} needs {unknown}: give some of {', '.join(NEEDS)}")
    expect(isinstance(case, Case), f"{type(case).__name__} is no case: give seewhy.metrics.Case(classifier, images, ...)")
    expect(len(case.images) >= 2, "one image cannot show whether a score depends on its image alone: give two or more")


def must_be_scores(scores: Any, case: Case) -> None:
    """AssertionError where ``scores`` are not (n,) or (n, m), on a device, without a graph: what to do."""
    n, name = len(case.images), type(scores).__name__
    expect(isinstance(scores, Tensor), f"score returns a {name}: return a tensor (n,), a number for each image")
    shape = tuple(scores.shape)
    hint = ": give a number for each image, and no mean over the images" if shape in ((), (1,)) else ""
    expect(len(shape) in (1, 2) and shape[0] == n, f"scores have shape {shape}, for {n} images: return (n,) or (n, m){hint}")
    expect(scores.is_floating_point(), f"scores are {scores.dtype}: return floating-point numbers, scores.float()")
    expect(not scores.requires_grad, "scores carry a graph: return scores.detach()")


class _Louder(nn.Module):
    """The same network with logits a thousand times as large."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor) -> Tensor:
        return 1000 * logits_in(self.module(x))


def _bounded(metric: Metric, scores: Tensor, what: str) -> None:
    low, high = metric.range
    expect(bool(torch.isfinite(scores).all()), f"{what} give {scores.flatten().tolist()[:4]}")
    inside = bool(((scores >= low - 1e-5) & (scores <= high + 1e-5)).all())
    expect(inside, f"{what} score {scores.flatten().tolist()[:4]}, outside of [{low}, {high}]")


def _same(one: Tensor, other: Tensor, complaint: str, tolerance: float = 1e-4) -> None:
    difference = float((one.double() - other.double()).abs().max()) if one.numel() else 0.0
    expect(difference <= tolerance, f"{complaint}: by {difference:.2g}")
