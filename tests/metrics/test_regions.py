"""Metrics of place: by hand, against literal re-writings, at their bounds, and against Quantus where it is right."""

from dataclasses import replace

import pytest
import torch
from support import metric_oracles_regions as oracle
from support.metric_places import (
    BOX_METRICS,
    CASE,
    LEFT,
    REGION_METRICS,
    SMALL,
    H,
    N,
    W,
    arrays,
    blob,
    case_of,
    name,
    random_case,
    same,
)

from seewhy.maps import min_max
from seewhy.metrics.boxes import (
    PixelF1,
)
from seewhy.metrics.case import Case
from seewhy.metrics.regions import (
    EnergyPointingGame,
    PointingGame,
    RelevanceIoU,
    RelevanceMass,
    RelevanceRank,
    dilate,
    relevance_mass,
    relevance_rank,
)
from seewhy.metrics.segmentation import MaskAccuracy, MaskIoU, MaskMAE


def test_mass_by_hand() -> None:
    same(relevance_mass(SMALL, LEFT), [6 / 10])
    # shifted by 4 the map is 8 6 6 6 4 0
    same(relevance_mass(min_max(SMALL), LEFT), [18 / 30])
    same(relevance_mass(min_max(SMALL), ~LEFT), [12 / 30])


def test_rank_by_hand() -> None:
    """k = 3: the 4 is in, and two of three 2s are drawn, one of which is in the region."""
    same(relevance_rank(SMALL, LEFT), [(1 + 2 / 3) / 3])
    same(RelevanceIoU().score(case_of(SMALL, LEFT)), [(5 / 3) / (6 - 5 / 3)])


def test_pointing_by_hand() -> None:
    tied = torch.tensor([[[1.0, 0, 0, 0], [0, 0, 1, 1]]])
    region = torch.tensor([[[True, False, False, False], [False] * 4]])
    same(PointingGame().score(case_of(tied, region)), [1 / 3])
    assert dilate(region, 1).equal(region)  # a neighbor is at distance 1, which is not less than 1
    assert dilate(region, 2).int().tolist() == [[[1, 1, 0, 0], [1, 1, 0, 0]]]
    same(PointingGame(3).score(case_of(tied, region)), [2 / 3])  # (1, 2) is sqrt 5 away, (1, 3) is sqrt 10


def test_region_metrics_against_the_oracle() -> None:
    pairs = arrays(CASE.attributions, CASE.regions)
    scaled = arrays(min_max(CASE.attributions), CASE.regions)
    for metric, expected in {
        RelevanceMass(): [oracle.relevance_mass(*p) for p in pairs],
        RelevanceRank(): [oracle.relevance_rank(*p) for p in pairs],
        EnergyPointingGame(): [oracle.relevance_mass(*p) for p in scaled],
        PixelF1(): [oracle.pixel_f1(*p) for p in scaled],
        MaskAccuracy(): [oracle.mask_accuracy(*p) for p in scaled],
        MaskMAE(): [oracle.mask_mae(*p) for p in scaled],
        MaskIoU(): [oracle.mask_iou(*p) for p in scaled],
        **{PointingGame(t): [oracle.pointing_game(*p, t) for p in pairs] for t in (0, 1, 2, 3)},
    }.items():
        same(metric.score(CASE), expected)


def test_ties_are_the_mean_over_all_orders() -> None:
    g = torch.Generator().manual_seed(3)
    for _ in range(4):
        a = torch.randint(0, 3, (1, 2, 3), generator=g).double()
        r = torch.rand(1, 2, 3, generator=g) < 0.5
        r[0, 0, 0] = True
        k = int(r.sum())
        array, region = a[0].numpy(), r[0].numpy()
        share = oracle.over_all_orders(array, region, lambda o: sum(region[p] for p in o[:k]) / k)  # noqa: B023
        first = oracle.over_all_orders(array, region, lambda o: float(region[o[0]]))  # noqa: B023
        same(relevance_rank(a, r), [share])
        same(PointingGame().score(case_of(a, r)), [first])


@pytest.mark.parametrize("metric", REGION_METRICS, ids=name)
def test_the_region_is_the_best_map_and_its_complement_the_worst(metric: object) -> None:
    region, _ = blob()
    worst, best = metric.range if metric.higher_is_better else metric.range[::-1]
    case = replace(random_case(2), regions=region, attributions=region.double() * 3)
    assert metric.score(case).tolist() == [best, best]
    if metric != PointingGame(tolerance=2):
        other = replace(case, attributions=(~region).double())
        assert metric.score(other).tolist() == [worst, worst]


def test_an_even_map_scores_the_share_of_the_region() -> None:
    case = replace(CASE, attributions=torch.full_like(CASE.attributions, 0.3))
    share = CASE.regions.double().mean((1, 2)).tolist()
    for metric in (RelevanceMass(), RelevanceRank(), PointingGame()):
        same(metric.score(case), share)
    same(PointingGame(tolerance=2).score(case), dilate(CASE.regions, 2).double().mean((1, 2)).tolist())


@pytest.mark.parametrize("metric", [RelevanceMass(), EnergyPointingGame(), PixelF1(), MaskIoU()], ids=name)
def test_a_map_of_zeros_claims_nothing(metric: object) -> None:
    case = replace(CASE, attributions=torch.zeros_like(CASE.attributions))
    assert metric.score(case).eq(0).all()


def test_mass_and_energy_differ_by_the_zero_of_the_map_alone() -> None:
    positive = replace(CASE, attributions=CASE.attributions - CASE.attributions.amin((1, 2), keepdim=True))
    same(RelevanceMass().score(positive), EnergyPointingGame().score(CASE).tolist())
    assert (RelevanceMass().score(CASE) - EnergyPointingGame().score(CASE)).abs().max() > 0.05
    assert RelevanceMass().score(replace(CASE, attributions=-1 - CASE.attributions.abs())).eq(0).all()


@pytest.mark.parametrize("metric", REGION_METRICS + BOX_METRICS, ids=name)
def test_rows_are_independent(metric: object) -> None:
    case = random_case()
    whole = metric.score(case)
    for i in (0, 5, N - 1):
        alone = Case(
            case.classifier,
            *(
                t[i : i + 1]
                for t in (case.images, case.explained, case.scored, case.attributions, case.labels, case.regions)
            ),
            boxes=case.boxes[i : i + 1],
        )
        same(metric.score(alone).flatten(), whole[i].flatten().tolist())
        larger = replace(alone, attributions=alone.attributions * 64)
        same(metric.score(larger).flatten(), whole[i].flatten().tolist())


@pytest.mark.parametrize("metric", REGION_METRICS + BOX_METRICS[:4], ids=name)
def test_flipped_images_score_the_same(metric: object) -> None:
    """Nothing depends on where a scan of the image starts."""
    turned = [
        b @ torch.diag(torch.tensor([-1.0, -1, -1, -1], dtype=b.dtype)) + b.new_tensor([W, H, W, H]) for b in CASE.boxes
    ]
    flipped = replace(
        CASE,
        attributions=CASE.attributions.flip(1, 2),
        regions=CASE.regions.flip(1, 2),
        boxes=tuple(b[:, [2, 3, 0, 1]] for b in turned),
    )
    torch.testing.assert_close(metric.score(flipped), metric.score(CASE))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("metric", REGION_METRICS + BOX_METRICS, ids=name)
def test_every_map_has_a_score_in_the_range(metric: object, dtype: torch.dtype) -> None:
    case = random_case(dtype=dtype)
    zero = torch.zeros_like(case.attributions)
    maps = [case.attributions, zero, zero + 3, zero - 2, -1 - case.attributions.abs(), case.attributions * 1e-30]
    maps += [case.attributions * 1e30]
    for a in maps:
        scores = metric.score(replace(case, attributions=a))
        assert scores.dtype == dtype
        assert scores.isfinite().all()
        assert (scores >= metric.range[0] - 1e-6).all()
        assert (scores <= metric.range[1] + 1e-6).all()


def test_single_precision_agrees_with_double() -> None:
    """The maps are those of single precision in both."""
    single = random_case(dtype=torch.float32)
    double = replace(random_case(), attributions=single.attributions.double(), images=single.images.double())
    for metric in REGION_METRICS + BOX_METRICS:
        torch.testing.assert_close(metric.score(single).double(), metric.score(double), rtol=1e-4, atol=1e-5)


def test_quantus_agrees_on_positive_maps_without_ties() -> None:
    quantus = pytest.importorskip("quantus", reason="Quantus is not installed: this test compares with it")
    g = torch.Generator().manual_seed(5)
    maps, regions = torch.rand(8, H, W, generator=g, dtype=torch.float64) + 0.01, torch.rand(8, H, W, generator=g) < 0.4
    settings = {"normalise": False, "abs": False, "disable_warnings": True}
    for ours, theirs in (
        (RelevanceMass(), quantus.RelevanceMassAccuracy),
        (RelevanceRank(), quantus.RelevanceRankAccuracy),
        (PointingGame(), quantus.PointingGame),
    ):
        answer = theirs(**settings).evaluate_batch(a_batch=maps[:, None].numpy(), s_batch=regions[:, None].numpy())
        same(ours.score(case_of(maps, regions)), [float(v) for v in answer])


def test_with_a_tolerance_the_mass_beside_the_region_counts() -> None:
    wider = replace(CASE, regions=dilate(CASE.regions, 3))
    assert not torch.equal(wider.regions, CASE.regions)
    same(RelevanceMass(tolerance=3).score(CASE), RelevanceMass().score(wider).tolist())
    same(MaskIoU(tolerance=3).score(CASE), MaskIoU().score(wider).tolist())
