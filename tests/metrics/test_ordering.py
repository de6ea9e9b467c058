"""Masking and ordering metrics: the equations written again, games with known answers, peers, and what is shared."""

from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from support import metric_oracles as oracle
from support.command import as_users_run_it
from support.metric_cases import SIZE, case_of
from torch import Tensor, nn

from seewhy import Classifier, explainer, load
from seewhy.classifier.classifier import frozen
from seewhy.data import Shapes, batches
from seewhy.errors import SeewhyError
from seewhy.masking.baselines import baseline_images
from seewhy.masking.players import Players, divide
from seewhy.metrics import Case, metric
from seewhy.metrics.curves import Curves, curves, ranked, sizes
from seewhy.metrics.r_srg import draw
from seewhy.metrics.road import impute

NETWORKS = ("cnn", "vit_registers")


def doubled(network: str, **changes: Any) -> Case:
    """A case in float64: the oracles are too."""
    case = case_of(network, **changes)
    classifier = Classifier(
        case.classifier.module.double(), case.classifier.mean, case.classifier.std, case.classifier.input_size
    )
    method = explainer("grad_cam", classifier)
    return Case(
        classifier,
        case.images.double(),
        case.explained,
        case.scored,
        case.attributions.double(),
        regions=case.regions,
        explainer=method,
        batch_size=7,
    )


def network_of(case: Case) -> oracle.V:
    def f(x: oracle.Array) -> oracle.Array:
        with frozen(case.classifier.module), torch.no_grad():
            return case.classifier.logits(torch.from_numpy(x)[None])[0].numpy()

    return f


def parts(case: Case, i: int, baseline: str) -> tuple[oracle.V, oracle.Array, int, oracle.Array, oracle.Array]:
    """Network, image, class, map and baseline of image i."""
    removed = baseline_images(baseline, case.classifier, case.images)[i]  # type: ignore[arg-type]
    image, maps = case.images[i].numpy(), case.attributions[i].numpy()
    return network_of(case), image, int(case.scored[i]), maps, removed.numpy()


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("baseline", ["black", "mean_color", "blur"])
def test_drop_gain_and_increase(network: str, baseline: str) -> None:
    case = doubled(network)
    scores = [metric(f"average_{name}", baseline=baseline).score(case) for name in ("drop", "gain", "increase")]
    for i in range(len(case.images)):
        expected = oracle.drop_gain_increase(*parts(case, i, baseline))
        assert [float(s[i]) for s in scores] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("size", [4, 5])
def test_deletion_insertion_and_aopc(network: str, size: int) -> None:
    case = doubled(network)
    options = {"players": "patches", "size": size, "baseline": "black"}
    deletion = metric("deletion", steps=1000, **options).score(case)
    insertion = metric("insertion", steps=1000, **options).score(case)
    aopc = metric("aopc", regions=5, **options).score(case)
    for i in range(len(case.images)):
        division = oracle.patches(SIZE, SIZE, size)
        down = oracle.deletion_curve(*parts(case, i, "black"), division)
        up = oracle.insertion_curve(*parts(case, i, "black"), division)
        shares = [k / len(division) for k in range(len(division) + 1)]
        assert float(deletion[i]) == pytest.approx(oracle.trapezoid(down, shares), abs=1e-9)
        assert float(insertion[i]) == pytest.approx(oracle.trapezoid(up, shares), abs=1e-9)
        assert float(aopc[i]) == pytest.approx(oracle.aopc(down, 5), abs=1e-9)


def test_deletion_of_pixels_in_steps() -> None:
    """Steps that do not divide the number of pixels: exact counts, true shares."""
    case = doubled("cnn")
    got = metric("deletion", steps=7, baseline="white").score(case)
    ks = sizes(SIZE**2, 7)
    assert ks == [0, 37, 73, 110, 146, 183, 219, 256]
    for i in range(len(case.images)):
        f, x, c, a, b = parts(case, i, "white")
        division, order = oracle.pixels(SIZE, SIZE), oracle.order_of(list(a.flatten()))
        values = [oracle.probability(f, oracle.without(x, b, division, order[:k]), c) for k in ks]
        assert float(got[i]) == pytest.approx(oracle.trapezoid(values, [k / 256 for k in ks]), abs=1e-9)


@pytest.mark.parametrize("network", NETWORKS)
def test_lif_mif_and_srg(network: str) -> None:
    case = doubled(network)
    lif, mif, srg = (metric(n, size=4, baseline="black").score(case) for n in ("lif", "mif", "srg"))
    for i in range(len(case.images)):
        f, x, c, a, b = parts(case, i, "black")
        division = oracle.patches(SIZE, SIZE, 4)

        def v(kept: set[int]) -> float:
            gone = [p for p in range(len(division)) if p not in kept]  # noqa: B023
            return oracle.probability(f, oracle.without(x, b, division, gone), c)  # noqa: B023

        expected = oracle.lif_mif(v, oracle.player_means(a, division))
        assert (float(lif[i]), float(mif[i])) == pytest.approx(expected, abs=1e-9)
        assert float(srg[i]) == pytest.approx(expected[0] - expected[1], abs=1e-9)


class Additive:
    """A game whose value is the sum of the weights of who is there: v(S) = sum of w; class 1 has the value, class 0 none."""

    def __init__(self, weights: list[float]) -> None:
        self.weights = torch.tensor(weights)

    def __call__(self, images: Tensor, players: Players) -> Any:
        def logits(rows: Tensor, kept: Tensor) -> Tensor:
            value = (kept * self.weights).sum(1)
            return torch.stack([torch.zeros_like(value), value], 1)

        return logits


def additive_case(weights: list[float], maps: list[float], **changes: Any) -> Case:
    """Four players, the quarters of an image of 4 x 4; their attributions are ``maps``."""
    attribution = torch.tensor(maps).view(1, 2, 2).repeat_interleave(2, 1).repeat_interleave(2, 2)
    classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(48, 2)), (0.0,) * 3, (1.0,) * 3, (4, 4))
    one = torch.ones(1, dtype=torch.long)
    given = {"value": Additive(weights), **changes}
    return Case(
        classifier, torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)), one, one, attribution, **given
    )


def test_an_additive_game_by_hand() -> None:
    """Weights 8, 4, 2, 1 in their order: LIF = (8 + 12 + 14 + 15) / 4, MIF = (1 + 3 + 7 + 15) / 4."""
    case = additive_case([8.0, 4.0, 2.0, 1.0], [4.0, 3.0, 2.0, 1.0])
    options = {"size": 2, "value": "logit"}
    assert float(metric("lif", **options).score(case)) == pytest.approx(49 / 4)
    assert float(metric("mif", **options).score(case)) == pytest.approx(26 / 4)
    assert float(metric("srg", **options).score(case)) == pytest.approx(23 / 4)
    pixel_patches = {"players": "patches", **options}
    assert float(metric("deletion", **pixel_patches).score(case)) == pytest.approx((15 + 7 + 3 + 1 - 7.5) / 4)
    assert float(metric("insertion", **pixel_patches).score(case)) == pytest.approx((8 + 12 + 14 + 7.5) / 4)
    assert float(metric("aopc", regions=2, **pixel_patches).score(case)) == pytest.approx((0 + 8 + 12) / 3)
    flipping = metric("pixel_flipping", points=100, **pixel_patches).score(case)
    assert float(flipping) == pytest.approx((14 + 12 + 8 - 7 - 3 - 1) / 4)


def test_the_best_order_scores_best_and_its_reverse_worst() -> None:
    scores = {
        order: float(
            metric("srg", size=2, value="logit").score(additive_case([8.0, 4.0, 2.0, 1.0], list(map(float, order))))
        )
        for order in permutations((4, 3, 2, 1))
    }
    assert max(scores, key=lambda o: scores[o]) == (4, 3, 2, 1)
    assert min(scores, key=lambda o: scores[o]) == (1, 2, 3, 4)
    assert sum(scores.values()) == pytest.approx(0, abs=1e-4)


def odds_case(weight: float, bias: float, maps: Tensor) -> Case:
    """Two pixels of value 1; the log-odds of class 1 are weight * (first red pixel) + bias, so p = sigmoid of that."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(6, 2))
    with torch.no_grad():
        module[1].weight.zero_()[1, 0] = weight
        module[1].bias.copy_(torch.tensor([0.0, bias]))
    one = torch.ones(1, dtype=torch.long)
    return Case(Classifier(module, (0.0,) * 3, (1.0,) * 3, (1, 2)), torch.ones(1, 3, 1, 2), one, one, maps)


def test_drop_gain_and_increase_by_hand() -> None:
    """p = 3/4 on the image; a mask that hides the first pixel leaves 1/2, or 9/10 where the pixel speaks against."""
    hide = torch.tensor([[[0.0, 1.0]]])
    falls = odds_case(float(np.log(3)), 0.0, hide)  # log-odds log 3, without the pixel 0
    rises = odds_case(float(np.log(3) - np.log(9)), float(np.log(9)), hide)  # without the pixel log 9
    drop, gain, increase = (metric(f"average_{name}") for name in ("drop", "gain", "increase"))
    assert [float(m.score(falls)) for m in (drop, gain, increase)] == pytest.approx([1 / 3, 0, 0], abs=1e-6)
    assert [float(m.score(rises)) for m in (drop, gain, increase)] == pytest.approx([0, 0.6, 1], abs=1e-6)
    keep = torch.tensor([[[1.0, 0.0]]])
    kept = odds_case(float(np.log(3)), 0.0, keep)  # the second pixel says nothing
    assert [float(m.score(kept)) for m in (drop, gain, increase)] == pytest.approx([0, 0, 0], abs=1e-6)


def test_gain_where_the_probability_rounds_to_one() -> None:
    """1 - p is e^-30 and falls to e^-31: in float32 both probabilities are 1, and the gain is 1 - 1/e."""
    case = odds_case(-1.0, 31.0, torch.tensor([[[0.0, 1.0]]]))
    assert float(case.probability(case.logits)) == 1
    assert float(metric("average_gain").score(case)) == pytest.approx(1 - np.exp(-1), rel=1e-4)
    assert float(metric("average_increase").score(case)) == 1


# -- drawn sets ---------------------------------------------------------------------------------------------------------


def test_draws_have_the_probabilities_of_drawing_without_replacement() -> None:
    weights = [0.5, 1.0, 0.25, 0.75]
    for size in (1, 2, 3):
        kept = draw(torch.tensor(weights), size, 40_000, torch.Generator().manual_seed(0))
        assert (kept.sum(1) == size).all()
        for members, chance in oracle.drawn_exactly(weights, size).items():
            row = torch.tensor([i in members for i in range(4)])
            assert float((kept == row).all(1).double().mean()) == pytest.approx(chance, abs=0.012)


def test_weights_of_zero_are_drawn_last_and_evenly() -> None:
    kept = draw(torch.tensor([1.0, 0.0, 0.0, 0.0]), 2, 30_000, torch.Generator().manual_seed(0))
    assert kept[:, 0].all()
    assert kept[:, 1:].double().mean(0).tolist() == pytest.approx([1 / 3] * 3, abs=0.015)


def test_r_lif_is_the_expectation_over_drawn_sets() -> None:
    weights, phi = [8.0, 4.0, 2.0, 1.0], [4.0, 3.0, 2.0, 1.0]
    case = additive_case(weights, phi, batch_size=4096)
    norm = [(p - 1) / 3 for p in phi]
    for name, w in (("r_lif", norm), ("r_mif", [1 - p for p in norm])):
        got = float(metric(name, size=2, value="logit", n_draws=20_000).score(case))
        expected = 0.0
        for size in range(1, 5):
            # the player of weight 0 enters when all others are there
            sets = oracle.drawn_exactly(w, size) if size < 4 else {frozenset(range(4)): 1.0}
            expected += sum(chance * sum(weights[i] for i in members) for members, chance in sets.items()) / 4
        assert got == pytest.approx(expected, abs=0.03)
    gain = metric("r_srg", size=2, value="logit", n_draws=64).score(case)
    parts = [metric(n, size=2, value="logit", n_draws=64).score(case) for n in ("r_lif", "r_mif")]
    assert torch.equal(gain, parts[0] - parts[1])


def test_fewer_sizes_estimate_the_same() -> None:
    case = case_of("cnn")
    full = metric("r_lif", size=2, n_draws=40).score(case)
    fewer = metric("r_lif", size=2, n_draws=40, steps=16).score(case)
    torch.testing.assert_close(fewer, full, atol=0.03, rtol=0)


# -- color deletion ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "color"), [("black_deletion", 0.0), ("white_deletion", 1.0)])
def test_color_deletion(name: str, color: float) -> None:
    case = doubled("cnn", n=6)
    case.attributions[0, :9] = 0  # many zeros, never deleted
    case.attributions[1] = case.attributions[1].round()  # many ties
    fractions = [0, 0.03, 0.05, 0.07, *(i / 10 for i in range(1, 10))]
    got = metric(name).score(case)
    for i in range(len(case.images)):
        f, x, _, a, _ = parts(case, i, "black")
        kept = oracle.allegiance(f, x, a, color, fractions)
        assert float(got[i]) == pytest.approx(oracle.trapezoid(kept, fractions), abs=1e-9)


def test_color_deletion_by_hand() -> None:
    """Values .9 .9 .5 .1: a quarter deletes none (ties at the threshold stay), a half both; of 0.9 no more than 0.9."""
    module = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    with torch.no_grad():
        module[1].weight.zero_()[1, 0] = 1  # class 1 by the first red pixel
        module[1].bias.copy_(torch.tensor([0.5, 0.0]))
    classifier = Classifier(module, (0.0,) * 3, (1.0,) * 3, (2, 2))
    maps = torch.tensor([[[0.9, 0.9], [0.5, 0.1]]])
    one = torch.ones(1, dtype=torch.long)
    case = Case(classifier, torch.ones(1, 3, 2, 2), one, one, maps)
    assert float(metric("black_deletion", fractions=(0.0, 0.25)).score(case)) == 0.25
    assert float(metric("black_deletion", fractions=(0.0, 0.5)).score(case)) == 0.25  # a trapezoid from 1 to 0
    assert float(metric("white_deletion").score(case)) == pytest.approx(0.9)
    assert float(metric("black_deletion", fractions=(0.0, 0.5), amount=0.25).score(case)) == 0.5
    constant = Case(classifier, torch.ones(1, 3, 2, 2), one, one, torch.ones(1, 2, 2))
    assert float(metric("black_deletion").score(constant)) == pytest.approx(0.9)


def test_the_literal_inactive_map_fails_white_deletion() -> None:
    """Equation 6 as printed is nowhere positive: its largest values are where nothing is, and zero is never deleted."""
    classifier = load("shapes")
    batch = next(batches(Shapes(n=12), 12))
    targets = classifier.logits(batch.images).argmax(1)
    areas = {}
    for form in ("magnitude", "equation"):
        method = explainer("inactive_saliency", classifier, reading=form)
        case = Case(classifier, batch.images, targets, targets, method.explain(batch.images, targets))
        areas[form] = float(metric("white_deletion", reads="raw").score(case).mean())
    assert areas["magnitude"] < areas["equation"]


# -- faithfulness and ROAD -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", NETWORKS)
def test_faithfulness_estimate(network: str) -> None:
    case = doubled(network)
    got = metric("faithfulness_estimate", features=30).score(case)
    for i in range(len(case.images)):
        expected = oracle.faithfulness_estimate(*parts(case, i, "darkest"), 30)
        assert float(got[i]) == pytest.approx(expected, abs=1e-9)


def linear_case() -> Case:
    """logit 1 = sum of w x, logit 0 = 0, black baseline: removing a pixel costs exactly its w x."""
    generator = torch.Generator().manual_seed(1)
    module = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 2))
    weight = torch.randn(3, 8, 8, generator=generator)
    with torch.no_grad():
        module[1].weight.zero_()[1] = weight.flatten()
        module[1].bias.zero_()
    images = torch.rand(2, 3, 8, 8, generator=generator)
    one = torch.ones(2, dtype=torch.long)
    return Case(Classifier(module, (0.0,) * 3, (1.0,) * 3, (8, 8)), images, one, one, (weight * images).sum(1))


def test_faithfulness_is_one_for_the_exact_map_and_minus_one_for_its_opposite() -> None:
    case = linear_case()
    options = {"value": "logit", "baseline": "black"}
    names = {
        "faithfulness_correlation": {"subset_size": 9, "runs": 20},
        "faithfulness_estimate": {"features": 8, "reads": "raw"},
    }
    for name, own in names.items():
        measure = metric(name, **options, **own)
        assert measure.score(case).tolist() == pytest.approx([1, 1], abs=1e-5)
        opposite = Case(case.classifier, case.images, case.explained, case.scored, -case.attributions)
        assert measure.score(opposite).tolist() == pytest.approx([-1, -1], abs=1e-5)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
def test_imputation_solves_its_equations(share: float) -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(3, 9, 7, dtype=torch.float64, generator=generator)
    gone = torch.rand(9, 7, generator=generator) < share
    expected = oracle.imputed(image.numpy(), gone.numpy())
    np.testing.assert_allclose(impute(image, gone).numpy(), expected, atol=1e-9)
    assert torch.equal(impute(image, gone)[:, ~gone], image[:, ~gone])


def test_imputation_keeps_a_color_and_a_slope() -> None:
    gone = torch.zeros(9, 9, dtype=torch.bool)
    gone[3:6, 3:6] = True
    slope = torch.linspace(0, 1, 9).expand(3, 9, 9).contiguous()
    torch.testing.assert_close(impute(slope, gone), slope)


@pytest.mark.parametrize("channels", [1, 3])
def test_road_removes_exactly_its_share_of_ties_in_any_batch(channels: int) -> None:
    """A map of zeros: other code removes every tied pixel, or reads the first batch alone, or fails on three channels."""
    seen: list[Tensor] = []

    class Watch(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.clone())
            return torch.stack([x.mean((1, 2, 3)), 1 - x.mean((1, 2, 3))], 1)

    classifier = Classifier(Watch(), (0.0,) * channels, (1.0,) * channels, (8, 8))
    images = torch.rand(5, channels, 8, 8, generator=torch.Generator().manual_seed(0))
    targets = torch.zeros(5, dtype=torch.long)
    case = Case(classifier, images, targets, targets, torch.zeros(5, 8, 8), batch_size=2)
    scores = metric("road", shares=(0.5,), noise=0.1).score(case)
    changed = torch.cat(seen)[-5:] != images
    assert changed.any(1).flatten(1).sum(1).tolist() == [32] * 5
    alone = [metric("road", shares=(0.5,), noise=0.1).score(Case(classifier, images[i : i + 1], targets[:1], targets[:1],
             torch.zeros(1, 8, 8))) for i in range(5)]  # fmt: skip
    assert torch.cat(alone).tolist() == scores.tolist()


# -- ADCC ----------------------------------------------------------------------------------------------------------------


def test_adcc_of_its_parts() -> None:
    case = doubled("cnn")
    coherency, complexity = metric("adcc_coherency").score(case), metric("adcc_complexity").score(case)
    drop = metric("average_drop", baseline="mean_color").score(case)
    got = metric("adcc").score(case)
    for i in range(len(case.images)):
        f, x, c, a, b = parts(case, i, "mean_color")
        m = oracle.min_max(a)
        masked = torch.from_numpy(x * m + b * (1 - m))[None]
        assert case.explainer is not None
        again = case.explainer.explain(masked, torch.tensor([c]))[0].numpy()
        expected = (1 + oracle.pearson(list(m.flatten()), list(oracle.min_max(again).flatten()))) / 2
        assert float(coherency[i]) == pytest.approx(expected, abs=1e-9)
        assert float(complexity[i]) == pytest.approx(float(m.mean()), abs=1e-9)
        assert float(drop[i]) == pytest.approx(oracle.drop_gain_increase(f, x, c, a, b)[0], abs=1e-9)
        numbers = (float(t[i]) for t in (coherency, complexity, drop))
        assert float(got[i]) == pytest.approx(oracle.adcc(*numbers), abs=1e-9)


# -- what is shared, and how equal values are ordered ---------------------------------------------------------------------


def test_six_metrics_cost_what_srg_costs() -> None:
    """Deletion, insertion, LIF, MIF, SRG and AOPC over the same players and baseline: at most 1.05 times SRG alone."""
    counts = []
    for names in (["srg"], ["deletion", "insertion", "lif", "mif", "srg", "aopc"]):
        seen = [0]

        class Count(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                seen[0] += len(x)  # noqa: B023
                return x.mean((2, 3))

        generator = torch.Generator().manual_seed(0)
        images, targets = torch.rand(2, 3, 56, 56, generator=generator), torch.zeros(2, dtype=torch.long)
        maps = torch.rand(2, 56, 56, generator=generator)
        case = Case(Classifier(Count(), (0.0,) * 3, (1.0,) * 3, (56, 56)), images, targets, targets, maps)
        case.classifier.fast_layout(images)
        seen[0] = 0  # how many classes there are, and which layout is fastest, has been found out
        for name in names:
            metric(name, players="patches", size=4, baseline="mean_color").score(case)
        counts.append(seen[0] / 2)
    assert counts[0] == 2 * 196 - 1
    assert counts[1] <= 1.05 * counts[0]


def test_a_point_of_a_curve_is_computed_once() -> None:
    asked: list[int] = []

    def game(rows: Tensor, kept: Tensor) -> Tensor:
        asked.extend(kept.sum(1).tolist())
        return kept.sum(1, keepdim=True).float().expand(-1, 2)

    players = divide(torch.zeros(1, 3, 4, 4), "patches", 2)
    pair = Curves(players, torch.tensor([[2, 0, 1, 3]]), game, batch=3)
    assert pair.kept([0, 1, 4])[0, :, 0].tolist() == [0, 1, 4]
    assert pair.removed([0, 1, 4])[0, :, 0].tolist() == [4, 3, 0]
    assert sorted(asked) == [0, 1, 3, 4]


def test_ties_are_in_a_random_order_of_the_image_and_the_seed() -> None:
    worth = torch.zeros(3, 64)
    worth[:, 5] = 1
    order = ranked(worth, "random", [7, 8, 7])
    assert order[:, 0].tolist() == [5, 5, 5]
    assert torch.equal(order[0], order[2])
    assert not torch.equal(order[0], order[1])
    assert sorted(order[0].tolist()) == list(range(64))
    assert order[0, 1:].tolist() != sorted(order[0, 1:].tolist())
    assert ranked(worth, "position", [7, 8, 7])[0, 1:].tolist() == [i for i in range(64) if i != 5]
    case = case_of("cnn")
    assert len(set(case.seeds)) == 3
    assert case.rows(torch.tensor([2])).seeds == case.seeds[2:]
    assert set(case_of("cnn", seed=1).seeds).isdisjoint(case.seeds)


def test_maps_of_zeros_gain_nothing_from_their_order() -> None:
    """One permutation for every image would let chance look like a finding: the intervals of ten seeds must cover 0."""
    classifier = load("shapes")
    batch = next(batches(Shapes(n=40, size=96), 40))
    missed = 0
    for seed in range(10):
        case = Case(classifier, batch.images, batch.labels, batch.labels, torch.zeros(40, 96, 96), seed=seed)
        scores = metric("srg", size=24).score(case).double()
        missed += bool(abs(scores.mean()) > 2 * scores.std() / 40**0.5)
    assert missed <= 2


def test_players_of_an_image() -> None:
    image = torch.zeros(1, 3, 10, 7)
    players = divide(image, "patches", 4)
    assert players.p == 6
    assert players.sizes()[0].tolist() == [16, 12, 16, 12, 8, 6]
    assert players.means(torch.arange(70.0).view(1, 10, 7))[0, 5].item() == np.mean([60, 61, 62, 67, 68, 69])
    kept = torch.tensor([[True, False, False, False, False, True]])
    assert players.pixels(torch.tensor([0]), kept)[0].sum() == 22


def test_superpixels_follow_the_image() -> None:
    images = torch.linspace(0, 0.2, 24).expand(1, 3, 24, 24).clone()
    images[0, :, :, 12:] += 0.7
    players = divide(images, "superpixels", 6)
    left, right = set(players.ids[0, :, :11].flatten().tolist()), set(players.ids[0, :, 13:].flatten().tolist())
    assert len(left) > 1
    assert not left & right
    assert (players.sizes().sum(1) == 576).all()


def test_images_with_different_numbers_of_players(monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone, in a batch, with ties and at few sizes: no image's score depends on how many players another has."""

    def stripes(image: Tensor, size: int) -> Tensor:
        return (torch.arange(24) // (4 if image.mean() > 0.5 else 9)).expand(24, 24).contiguous()

    monkeypatch.setattr("seewhy.masking.players._superpixels", stripes)
    images = torch.stack([torch.full((3, 24, 24), 0.2), torch.full((3, 24, 24), 0.8)])
    images += 0.1 * torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(2))
    assert divide(images, "superpixels", 6).counts.tolist() == [3, 6]
    classifier = Classifier(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), (0.0,) * 3, (1.0,) * 3, (24, 24))
    targets = torch.tensor([0, 1])
    random = torch.rand(2, 24, 24, generator=torch.Generator().manual_seed(1))
    for name, own in UNEVEN.items():
        for maps in (random, torch.zeros_like(random)):
            both = Case(classifier, images, targets, targets, maps, batch_size=3)
            together = metric(name, players="superpixels", size=6, **own).score(both)
            assert torch.isfinite(together).all()
            for i in range(2):
                alone = metric(name, players="superpixels", size=6, **own).score(both.rows(torch.tensor([i])))
                torch.testing.assert_close(alone, together[i : i + 1])


UNEVEN: dict[str, dict[str, Any]] = {
    "srg": {"steps": 2},
    "pixel_flipping": {},
    "lif": {"steps": 2},
    "mif": {},
    "deletion": {"steps": 3},
    "insertion": {"steps": 3},
    "aopc": {"regions": 5},
    "r_lif": {"n_draws": 4, "steps": 2},
    "r_srg": {"n_draws": 4},
}


def test_the_seed_orders_ties_and_draws() -> None:
    for name, own in (("deletion", {"steps": 4}), ("r_lif", {"size": 4, "n_draws": 2})):
        flat = torch.zeros(3, SIZE, SIZE)
        scores = [metric(name, **own).score(case_of("cnn", attributions=flat, seed=s)) for s in (0, 0, 1)]
        assert torch.equal(scores[0], scores[1])
        assert not torch.equal(scores[0], scores[2])


def test_curves_are_shared_only_between_equal_questions() -> None:
    case = case_of("cnn")
    assert curves(case, "patches", 4, "black") is curves(case, "patches", 4, "black")
    assert curves(case, "patches", 4, "black") is not curves(case, "patches", 4, "white")


def test_no_metric_changes_the_images_that_the_next_one_reads() -> None:
    """In float64 on the CPU nothing is copied on its way to NumPy."""
    case = doubled("cnn")
    before = case.images.clone()
    metric("road", shares=(0.3, 0.6)).score(case)
    assert torch.equal(case.images, before)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("road", {"shares": (1.0,)}, "from 0 to below 1"),
        ("road_least", {"shares": (-0.1, 0.5)}, "from 0 to below 1"),
        ("black_deletion", {"fractions": (0.5, 0.1)}, "two or more from 0 to 1 that grow"),
        ("white_deletion", {"fractions": (0.0, 1.5)}, "two or more from 0 to 1 that grow"),
        ("white_deletion", {"amount": 3.0}, "above 0, up to 1"),
        ("pixel_flipping", {"points": 1}, "at least 2"),
    ],
)
def test_options_out_of_range(name: str, options: dict[str, Any], says: str) -> None:
    with pytest.raises(SeewhyError, match=says):
        metric(name, **options)


def test_groups_of_the_faithfulness_estimate_fit_the_image() -> None:
    """896 pixels are 56 groups at 224; at 16 x 16 they would be one, and at 32 x 32 two, whose correlation is 1 or -1."""
    assert metric("faithfulness_estimate") == metric("faithfulness_estimate", features=0)
    case = case_of("cnn")
    same = metric("faithfulness_estimate", features=round(SIZE**2 / 56)).score(case)
    assert torch.equal(metric("faithfulness_estimate").score(case), same)
    assert metric("faithfulness_estimate").score(case).abs().max() < 0.99


def test_a_class_of_a_multi_label_image_stays_while_it_is_predicted() -> None:
    """It need not be the likeliest."""
    case = case_of("cnn_multilabel")
    second = case.logits.topk(2, 1).indices[:, 1]
    case = replace(case, scored=second, explained=second)
    stays = (case.logits.gather(1, second[:, None])[:, 0] > 0).float()
    assert metric("road", shares=(0.0,)).score(case).tolist() == stays.tolist()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_maps_of_another_precision_than_the_images(dtype: torch.dtype) -> None:
    case = case_of("cnn")
    other = replace(case, attributions=case.attributions.to(dtype))
    exact = replace(case, attributions=case.attributions.to(dtype).float())
    for name in ("average_drop", "relevance_rank", "localization_error", "srg", "sparseness"):
        own = {"size": 4} if name == "srg" else {}
        torch.testing.assert_close(metric(name, **own).score(other).float(), metric(name, **own).score(exact))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"regions": torch.zeros(3, SIZE, SIZE, dtype=torch.uint8)}, "give masks > 0"),
        ({"labels": torch.zeros(2, dtype=torch.long)}, "2 labels do not belong to 3 images"),
        ({"boxes": ()}, "0 boxes do not belong to 3 images"),
        ({"attributions": torch.zeros(3, 4, 4)}, "do not belong to images"),
        ({"attributions": torch.full((3, SIZE, SIZE), torch.nan)}, "NaN"),
    ],
)
def test_what_does_not_belong_to_the_images(changes: dict[str, Any], says: str) -> None:
    with as_users_run_it(), pytest.raises(SeewhyError, match=says):
        case_of("cnn", **changes)
