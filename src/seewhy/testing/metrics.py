"""The contract of a metric, as checks that anybody can run on their own metric.

    from seewhy.testing import check_metric
    check_metric(MyMetric(), case)

``case`` has at least two different images with different maps, and all that the metric needs.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from seewhy.classifier.borrow import logits_in
from seewhy.describe import as_json
from seewhy.metrics import Case, Metric
from seewhy.testing.explainers import disturbed, expect, expect_same, snapshot

Check = Callable[[Metric, Case], None]
"""A check asks with ``replace(case)``: in such a copy nothing is computed yet."""


def check_values(metric: Metric, case: Case) -> None:
    """One number for each image or several, finite, without a graph, and in the range that is declared."""
    scores = metric.score(case)
    expect(scores.shape[0] == len(case.images) and scores.ndim in (1, 2), f"scores have shape {tuple(scores.shape)}")
    expect(not scores.requires_grad, "scores carry a graph")
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
    """Run every check; the first promise that is broken raises AssertionError and says which."""
    for check in CHECKS:
        check(metric, case)


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
