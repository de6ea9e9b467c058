"""Torchcam and Quantus as live oracles of the metrics, where they are right; where they are not, what is right here.

Both are given the same network, the same images, as the network takes them, the same maps and the same sets of pixels.
Complexity, sparseness, effective size, relevance mass and rank and the pointing game are compared with Quantus in
test_metrics_complexity.py and test_metrics_regions.py, max-sensitivity in test_metrics_robustness.py.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from math import log
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seewhy.classifier.classifier import Classifier
from seewhy.masking.baselines import baseline_images
from seewhy.masking.players import Players
from seewhy.masking.values import Game, RemovePixels
from seewhy.metrics import Case, metric
from seewhy.metrics.road import impute

H = 16
MEAN, STD = (0.45, 0.4, 0.5), (0.2, 0.25, 0.3)
PLAIN = {"normalise": False, "abs": False, "disable_warnings": True}


def peer(name: str) -> Any:
    return pytest.importorskip(name, reason=f"{name} is not installed: this test compares with it")


def a_case(channels: int = 3, n: int = 4, plain: bool = False, levels: int = 0, **changes: Any) -> Case:
    """A network whose probabilities move, n images and maps without ties; ``levels`` rounds maps to that many values."""
    generator = torch.Generator().manual_seed(channels)
    module = nn.Sequential(
        nn.Conv2d(channels, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 8, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(392, 4)
    )
    with torch.no_grad():
        for p in module.parameters():
            p.copy_(torch.randn(p.shape, generator=generator) * (0.3 if p.ndim == 1 else (3 / p[0].numel()) ** 0.5))
    mean, std = ((0.0,) * channels, (1.0,) * channels) if plain else (MEAN[:channels], STD[:channels])
    classifier = Classifier(module.eval(), mean, std, (H, H))
    images = torch.rand(n, channels, H, H, generator=generator)
    maps = torch.randn(n, H, H, generator=generator)
    if levels:
        maps = (maps.sigmoid() * levels).round()
    with torch.no_grad():
        targets = classifier.logits(images).argmax(1)
    return Case(classifier, images, targets, targets, maps, **{"batch_size": 7, **changes})


def part(case: Case, i: slice) -> Case:
    return replace(
        case,
        images=case.images[i],
        explained=case.explained[i],
        scored=case.scored[i],
        attributions=case.attributions[i],
    )


def same(ours: Tensor, theirs: Any, tolerance: float = 1e-5) -> None:
    """Equal, and not because nothing happens: the scores of the images differ by far more than the tolerance."""
    expected = torch.as_tensor(np.asarray(theirs)).double()
    assert ours.shape == expected.shape
    assert float(ours.max() - ours.min()) > 100 * tolerance
    torch.testing.assert_close(ours.double(), expected, rtol=0, atol=tolerance)


# -- torchcam -----------------------------------------------------------------------------------------------------------


class Given:
    """What torchcam's metrics ask an extractor for, with maps that are given."""

    def __init__(self, model: nn.Module, maps: Tensor) -> None:
        self.model, self.maps = model, maps

    def __call__(self, *_: object, **__: object) -> list[Tensor]:
        return [self.maps]

    def fuse_cams(self, cams: list[Tensor]) -> Tensor:
        return cams[0]

    def _hooks_off(self) -> Any:
        return nullcontext()


def torchcam_scores(case: Case, kind: str, **options: Any) -> dict[str, list[float]]:
    """What a metric of torchcam says of each image alone; it only reports means."""
    scores: dict[str, list[float]] = {}
    for i in range(len(case.images)):
        own = {k: v[i : i + 1] if isinstance(v, Tensor) else v for k, v in options.items()}
        extractor = Given(case.classifier.module, case.attributions[i : i + 1])
        measure = getattr(peer("torchcam.metrics"), kind)(extractor, lambda z: z.softmax(1), **own)
        measure.update(case.classifier.normalize(case.images[i : i + 1]), [int(case.scored[i])])
        for name, value in measure.summary().items():
            scores.setdefault(name, []).append(value)
    return scores


@pytest.mark.parametrize("levels", [0, 5], ids=["no ties", "many ties"])
@pytest.mark.parametrize("plain", [True, False], ids=["no normalization", "normalization"])
@pytest.mark.parametrize("baseline", ["mean_color", "rise_blur", "white"])
def test_deletion_and_insertion_are_torchcams(baseline: str, plain: bool, levels: int) -> None:
    """Its zeros, in the space of the network's input, are "mean_color"; other baselines are handed to it."""
    case = a_case(plain=plain, levels=levels)
    removed = case.classifier.normalize(baseline_images(baseline, case.classifier, case.images))  # type: ignore[arg-type]
    given = None if baseline == "mean_color" else removed
    theirs = torchcam_scores(case, "DeletionInsertionMetric", steps=16, baseline=given)
    for name in ("deletion", "insertion"):
        ours = metric(name, steps=16, baseline=baseline, ties="position").score(case)
        same(ours, theirs[f"{name}_auc"])


def test_average_drop_and_increase_are_torchcams() -> None:
    """It multiplies the normalized image by the map, so the mask fades to "mean_color"."""
    case = a_case(n=16)
    flat = case.attributions.flatten(1)
    low, high = flat.amin(1)[:, None, None], flat.amax(1)[:, None, None]
    case = replace(case, attributions=((case.attributions - low) / (high - low)) ** 0.25)
    theirs = torchcam_scores(case, "ClassificationMetric")
    same(metric("average_drop", baseline="mean_color").score(case), theirs["avg_drop"])
    same(metric("average_increase", baseline="mean_color").score(case), theirs["conf_increase"])


# -- Quantus --------------------------------------------------------------------------------------------------------------


def quantus_scores(case: Case, kind: str, softmax: bool, **options: Any) -> Any:
    measure = getattr(peer("quantus"), kind)(**{**PLAIN, **options})
    return measure(
        model=case.classifier.module,
        x_batch=case.classifier.normalize(case.images).numpy(),
        y_batch=case.scored.numpy(),
        a_batch=case.attributions[:, None].numpy(),
        channel_first=True,
        softmax=softmax,
    )


@pytest.mark.parametrize("value", ["probability", "logit"])
@pytest.mark.parametrize("channels", [1, 3])
def test_faithfulness_correlation_is_that_of_quantus(channels: int, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It draws entries of the array, we pixels; it is given ours, each with all its channels."""
    case = a_case(channels)
    removed: list[Tensor] = []
    remove = RemovePixels(case.classifier, "darkest")

    def watched(images: Tensor, players: Players) -> Game:
        game = remove(images, players)

        def logits(rows: Tensor, kept: Tensor) -> Tensor:
            removed.append(~players.pixels(rows, kept).flatten(1))
            return game(rows, kept)

        return logits

    case = replace(case, value=watched)
    ours = metric("faithfulness_correlation", subset_size=40, runs=20, value=value).score(case)
    sets = torch.cat(removed).unflatten(0, (4, 20))
    assert (sets.sum(2) == 40).all()
    assert not (sets == sets[:1]).all()
    drawn = iter(
        np.concatenate([s.nonzero()[:, 0].numpy() + c * H * H for c in range(channels)])
        for run in range(20)
        for s in sets[:, run]
    )
    monkeypatch.setattr(np.random, "choice", lambda *_, **__: next(drawn))
    same(ours, quantus_scores(
        case, "FaithfulnessCorrelation", value == "probability", subset_size=40, nr_runs=20, return_aggregate=False
    ))  # fmt: skip


@pytest.mark.parametrize("value", ["probability", "logit"])
def test_faithfulness_estimate_is_that_of_quantus_on_gray_images(value: str) -> None:
    case = a_case(1)
    ours = metric("faithfulness_estimate", features=16, value=value).score(case)
    pearson = peer("quantus.functions.similarity_func").correlation_pearson
    same(ours, quantus_scores(
        case, "FaithfulnessEstimate", value == "probability", features_in_step=16, similarity_func=pearson
    ))  # fmt: skip


@pytest.mark.parametrize("channels", [1, 3])
def test_aopc_is_region_perturbation_of_quantus_but_for_step_0(channels: int) -> None:
    """Quantus lists the falls after 1 to L regions; Samek's mean is over L + 1 steps, the first of which falls by 0."""
    case = a_case(channels)
    ours = metric("aopc", size=4, regions=6).score(case)
    theirs = np.asarray(quantus_scores(case, "RegionPerturbation", True, patch_size=4, regions_evaluation=6))
    assert theirs.shape == (4, 6)
    same(ours, theirs.sum(1) / 7)


def test_deletion_is_pixel_flipping_of_quantus_on_gray_images() -> None:
    """Its curve begins after the first step and has no x axis: p(x) is put before it, and the share under it."""
    case = a_case(1)
    ours = metric("deletion", steps=16, baseline="darkest").score(case)
    curve = np.asarray(quantus_scores(case, "PixelFlipping", True, features_in_step=16))
    whole = case.probability(case.logits).numpy()[:, None]
    same(ours, np.trapezoid(np.concatenate([whole, curve], 1), np.linspace(0, 1, 17), axis=1))


def test_road_is_that_of_quantus_for_one_gray_image_at_a_time() -> None:
    case = a_case(1, n=24)
    shares = (0.125, 0.25, 0.5, 0.75)  # whole numbers of pixels: Quantus rounds down, we to the nearest
    ours = metric("road", shares=shares, noise=0).score(case)
    theirs = []
    for i in range(24):
        stays = quantus_scores(part(case, slice(i, i + 1)), "ROAD", True, percentages=[100 * s for s in shares], noise=0.0)
        theirs.append(np.mean(list(stays.values())))
    same(ours, theirs)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_imputation_is_that_of_quantus_also_at_the_border(share: float) -> None:
    """In color too: only the order of the pixels goes wrong there. Both scale up the weights that stay at the border."""
    their = peer("quantus.functions.perturb_func").noisy_linear_imputation
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(3, 9, 7, dtype=torch.float64, generator=generator)
    gone = torch.rand(9, 7, generator=generator) < share
    gone[0, 0] = gone[8, 3] = gone[4, 6] = True
    expected = their(image.numpy(), gone.flatten().nonzero()[:, 0].numpy(), noise=0.0)
    torch.testing.assert_close(impute(image, gone), torch.from_numpy(expected), rtol=0, atol=1e-9)


# -- where they go wrong --------------------------------------------------------------------------------------------------


@contextmanager
def inputs_of(module: nn.Module) -> Iterator[list[Tensor]]:
    seen: list[Tensor] = []
    handle = module.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach().clone()))
    try:
        yield seen
    finally:
        handle.remove()


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_as_many_pixels_as_were_asked_for_go_although_most_are_tied(share: float) -> None:
    """Other code takes a threshold for the share, and with it all tied pixels: half of a map of zeros becomes all of it."""
    case = a_case(plain=True)
    case = replace(case, attributions=case.attributions.clamp_min(1))  # five of six pixels are tied
    with inputs_of(case.classifier.module) as seen:
        metric("road", shares=(share,)).score(case)
    changed = (torch.cat(seen)[-4:] != case.images).any(1).flatten(1).sum(1)
    assert changed.tolist() == [round(share * H * H)] * 4


def test_road_reads_every_batch() -> None:
    """Quantus 0.6 reports its first batch alone."""
    case = a_case(n=4, batch_size=2)
    together = metric("road", noise=0.1).score(case)
    apart = torch.cat([metric("road", noise=0.1).score(half) for half in (part(case, slice(0, 2)), part(case, slice(2, 4)))])
    assert together.tolist() == apart.tolist()
    assert len(set(together.tolist())) > 1


def test_pixels_are_removed_with_all_their_channels() -> None:
    """Quantus 0.6 ranks the entries of three equal channels: three times the steps, each of single colors."""
    case = a_case(plain=True)
    case.classifier.fast_layout(case.images)  # asks the network once which layout it can take
    with inputs_of(case.classifier.module) as seen:
        metric("deletion", steps=8, baseline="white").score(case)
    shown = torch.cat(seen)
    assert len(shown) == 4 * 9
    gone = torch.cat([x != case.images[i % 4] for i, x in enumerate(shown.split(1))])
    assert (gone.any(1) == gone.all(1)).all()
    assert sorted(gone.any(1).flatten(1).sum(1).unique().tolist()) == [32 * k for k in range(9)]


def test_the_scale_of_one_map_does_not_move_the_score_of_another() -> None:
    """Quantus divides by the maximum of the batch by default, so that one large map hides the others."""
    case = a_case()
    maps = case.attributions.clone()
    maps[3] *= 1e9
    loud = replace(case, attributions=maps)
    for name in ("effective_size", "complexity", "sparseness", "faithfulness_estimate", "faithfulness_correlation"):
        options = {"features": 16} if name == "faithfulness_estimate" else {"subset_size": 40} if "corr" in name else {}
        quiet, loudly = metric(name, **options).score(case), metric(name, **options).score(loud)
        torch.testing.assert_close(loudly, quiet, rtol=1e-5, atol=1e-5)
    assert metric("effective_size").score(loud).tolist() == [1.0] * 4


def test_the_area_does_not_grow_with_the_number_of_steps() -> None:
    """Quantus integrates over the number of the step: twice the steps, twice the area. Here x is a share of the pixels."""
    case = a_case()
    for name in ("deletion", "insertion"):
        few, many = (metric(name, steps=s, baseline="white").score(case) for s in (32, 256))
        torch.testing.assert_close(few, many, rtol=0, atol=0.02)
    constant = replace(case, value=lambda images, players: lambda rows, kept: F.one_hot(rows * 0, 4) * 3.0)
    constant = replace(constant, scored=torch.zeros(4, dtype=torch.long))
    for steps in (1, 7, 100):
        expected = torch.tensor([3.0, 0, 0, 0]).softmax(0)[0].item()
        assert metric("deletion", steps=steps).score(constant).tolist() == pytest.approx([expected] * 4)


MAPS: dict[str, Callable[[Tensor], Tensor]] = {
    "zero": torch.zeros_like,
    "constant": torch.ones_like,
    "negative": lambda a: -a.abs() - 1,
}


@pytest.mark.parametrize("kind", MAPS)
def test_zero_constant_and_negative_maps_have_defined_scores(kind: str) -> None:
    """Quantus: NaN or an error for maps of zeros and constants, a mass of -0.7 or above 1 where signs are mixed."""
    regions = torch.zeros(4, H, H, dtype=torch.bool)
    regions[:, :8, :8] = True
    case = a_case(regions=regions)
    maps = case.attributions.clone()
    maps[1] = MAPS[kind](maps[1])
    mixed = replace(case, attributions=maps)
    whole = replace(case, attributions=MAPS[kind](maps))
    for name, options in (
        ("complexity", {}),
        ("sparseness", {}),
        ("relevance_mass", {}),
        ("relevance_rank", {}),
        ("pointing_game", {}),
        ("deletion", {"steps": 4}),
        ("faithfulness_estimate", {"features": 16}),
        ("faithfulness_correlation", {"subset_size": 40, "runs": 5}),
        ("road", {"shares": (0.5,)}),
    ):
        measure = metric(name, **options)
        low, high = measure.range
        for given in (mixed, whole):
            scores = measure.score(given)
            assert torch.isfinite(scores).all(), name
            assert ((scores >= low) & (scores <= high)).all(), name
        torch.testing.assert_close(measure.score(mixed)[[0, 2, 3]], measure.score(case)[[0, 2, 3]])
    if kind != "negative":
        assert float(metric("complexity").score(mixed)[1]) == pytest.approx(log(H * H))
        assert float(metric("sparseness").score(mixed)[1]) == 0
        assert float(metric("relevance_rank").score(mixed)[1]) == pytest.approx(0.25)
    assert float(metric("relevance_mass").score(mixed)[1]) == (0.25 if kind == "constant" else 0)
