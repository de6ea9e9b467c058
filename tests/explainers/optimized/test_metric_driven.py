"""Metric-driven attribution: the greedy order written again, its magnitudes, and the ceiling that it is."""

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from support.slow_cams import double
from support.tiny_models import CHEAP, SIZE, TINY
from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.errors import SeewhyError, UnsuitedError
from seewhy.explainers import EXPLAINERS, explainer
from seewhy.masking.players import divide
from seewhy.metrics import Case, metric

IMAGES = torch.rand(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
TARGETS = torch.tensor([1, 4, 2])
Value = Callable[[frozenset[int]], float]


def value(classifier: Classifier, image: Tensor, removed: Tensor, c: int, size: int = 6) -> Value:
    """v(S), the probability of class c where the patches S are left."""
    ids = divide(image[None], "patches", size).ids[0]

    @cache
    def v(players: frozenset[int]) -> float:
        kept = torch.isin(ids, torch.tensor(sorted(players), dtype=torch.long))
        return float(classifier.probabilities(torch.where(kept, image, removed)[None])[0, c].detach())

    return v


def greedy(worth: Value, players: list[int], candidates: int, enough: float = float("inf")) -> list[int]:
    """Step by step, the player that makes most of the set, of those that gained most when they were last tried."""
    order: list[int] = []
    gains = dict.fromkeys(players, float("inf"))
    while gains and worth(frozenset(order)) < enough:
        tried = sorted(gains, key=lambda i: -gains[i])[: candidates if order else len(gains)]
        for i in tried:
            gains[i] = worth(frozenset([*order, i])) - worth(frozenset(order))
        best = max(tried, key=lambda i: gains[i])
        order.append(best)
        del gains[best]
    return order


def literal(objective: str, shown: Value, left: Value, p: int, candidates: int) -> list[int]:
    everything = list(range(p))
    if objective == "insertion":
        return greedy(shown, everything, candidates)
    if objective == "deletion":
        return greedy(lambda s: -left(s), everything, candidates)[::-1]
    if objective == "srg":
        return greedy(lambda s: left(s) - left(frozenset(everything) - s), everything, candidates)
    none, whole = shown(frozenset()), shown(frozenset(everything))
    first = greedy(shown, everything, candidates, none + 0.9 * abs(whole - none))
    return first + greedy(lambda s: -left(s), [i for i in everything if i not in first], candidates)[::-1]


def order_of(found: Tensor, size: int = 6) -> list[int]:
    worth = divide(found[None, None], "patches", size).means(found[None])[0]
    return worth.argsort(descending=True).tolist()


@pytest.mark.parametrize("objective", ["both", "insertion", "deletion", "srg"])
@pytest.mark.parametrize(("model", "candidates"), [("cnn", None), ("vit", 3)])
def test_the_order_is_the_greedy_one(model: str, candidates: int | None, objective: str) -> None:
    classifier = double(model)
    method = explainer(
        "metric_driven", classifier, size=6, objective=objective, candidates=candidates, baseline="black", baseline_shown=0.6
    )
    maps = method.explain(IMAGES[:2], TARGETS[:2])
    for image, found, c in zip(IMAGES[:2], maps, TARGETS.tolist(), strict=False):
        shown, left = (value(classifier, image, torch.full_like(image, gray), c) for gray in (0.6, 0.0))
        assert order_of(found) == literal(objective, shown, left, 9, candidates or 9)


def test_magnitudes_follow_the_least_concave_curve_above_the_measured_one() -> None:
    """The mean of the insertion curve and of one minus the deletion curve; its hull written as a maximum over chords."""
    classifier, (image, c) = double("vit"), (IMAGES[0], 1)
    found = explainer("metric_driven", classifier, size=6, baseline="black", baseline_shown=0.6).explain(
        IMAGES[:1], TARGETS[:1]
    )
    shown, left = (value(classifier, image, torch.full_like(image, gray), c) for gray in (0.6, 0.0))
    order, p = order_of(found[0]), 9
    tops = [frozenset(order[:k]) for k in range(p + 1)]
    rising = [shown(s) for s in tops]
    falling = [left(frozenset(range(p)) - s) for s in tops]
    mean, best, gone = [], 0.0, 0.0
    for r, f in zip(rising, falling, strict=True):
        best = max(best, min(max((r - rising[0]) / abs(rising[-1] - rising[0]), 0.0), 1.0))
        gone = max(gone, min(max((falling[0] - f) / abs(falling[0] - falling[-1]), 0.0), 1.0))
        mean.append((best + gone) / 2)
    hull = [
        max(mean[i] + (mean[j] - mean[i]) * (k - i) / max(j - i, 1) for i in range(k + 1) for j in range(k, p + 1))
        for k in range(p + 1)
    ]
    rises = [b - a for a, b in pairwise(hull)]
    expected = [0.999 * rise / max(rises) + 0.001 * (p - k) / p for k, rise in enumerate(rises)]
    worth = divide(IMAGES[:1], "patches", 6).means(found)[0]
    torch.testing.assert_close(worth[order], torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-9)
    assert all(a > b for a, b in pairwise(worth[order].tolist()))


@pytest.mark.parametrize("density", [0.3, 1.0])
def test_a_denser_map_has_the_same_order(density: float) -> None:
    classifier = double("functional")
    sparse, dense = (
        explainer("metric_driven", classifier, size=6, density=d).explain(IMAGES, TARGETS) for d in (0.0, density)
    )
    for one, other in zip(sparse, dense, strict=True):
        assert order_of(one) == order_of(other)
        assert one.median() < other.median()


@pytest.mark.parametrize("model", ["cnn", "vit"])
def test_no_other_method_has_a_better_score(model: str) -> None:
    """With the objective of a metric, the mean score is the ceiling, over the same patches and the same baseline."""
    classifier, images = TINY[model](), IMAGES.float()
    patches: dict[str, Any] = {"players": "patches", "size": 4}
    judges = {"insertion": 1, "deletion": -1, "srg": 1}  # and whether high is good

    def scores(name: str, **options: object) -> dict[str, float]:
        maps = explainer(name, classifier, **options).explain(images, TARGETS)
        case = Case(classifier=classifier, images=images, explained=TARGETS, scored=TARGETS, attributions=maps)
        game = {**patches, "baseline": "mean_color"}
        return {judge: sign * float(metric(judge, **game).score(case).mean()) for judge, sign in judges.items()}

    best: dict[str, Any] = {"size": 4, "candidates": None, "baseline_shown": "mean_color"}
    ceiling = {judge: scores("metric_driven", **best, objective=judge)[judge] for judge in judges}
    strong: dict[str, dict[str, object]] = {"kernel_shap": {**patches, "samples": 400, "selector": "probability"}}
    compared = 0
    for name in EXPLAINERS:
        with suppress(UnsuitedError):  # a method that is not defined for this network
            for judge, found in scores(name, **strong.get(name, CHEAP.get(name, {}))).items():
                assert name == "metric_driven" or found <= ceiling[judge], (name, judge)
            compared += 1
    assert compared > 25


def test_a_batch_of_8_is_8_images() -> None:
    classifier, images = TINY["vit"](), torch.rand(8, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(2))
    targets = torch.arange(8) % 5
    method = explainer("metric_driven", classifier, size=8, batch_size=3)
    alone = [method.explain(images[i : i + 1], targets[i : i + 1]) for i in range(8)]
    torch.testing.assert_close(method.explain(images, targets), torch.cat(alone), rtol=0, atol=1e-5)


def test_the_passes_are_bounded_by_the_candidates() -> None:
    """9 patches: all of them first, then 2 at each of the 8 steps less the last, and the two curves."""
    classifier, seen = TINY["cnn"](), []
    method = explainer("metric_driven", classifier, size=6, candidates=2, objective="insertion", batch_size=4)
    method.explain(IMAGES[:1].float(), TARGETS[:1])
    handle = classifier.module[0].register_forward_hook(lambda m, inputs, output: seen.append(len(inputs[0])))
    try:
        method.explain(IMAGES[:1].float(), TARGETS[:1])
    finally:
        handle.remove()
    assert max(seen) <= 4
    assert sum(seen) == 1 + 9 + 7 * 2 + 1 + 10


@pytest.mark.parametrize(
    ("option", "wrong"), [("objective", "aopc"), ("candidates", 0), ("sufficient", 1.5), ("density", -0.1), ("size", 0)]
)
def test_wrong_options_are_named(option: str, wrong: object) -> None:
    with pytest.raises(SeewhyError, match=f"metric_driven cannot take {option}="):
        explainer("metric_driven", TINY["cnn"](), **{option: wrong})
