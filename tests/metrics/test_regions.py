"""Metrics of place: by hand, against literal re-writings, at their bounds, and against Quantus where it is right."""

from dataclasses import replace
from math import exp, log

import numpy as np
import pytest
import torch
from support import metric_oracles_regions as oracle
from support.tiny_models import TINY
from torch import Tensor

from seewhy.errors import SeewhyError
from seewhy.maps import min_max
from seewhy.metrics.base import reduced
from seewhy.metrics.boxes import (
    BoxAccuracy,
    LocalizationError,
    OfficialMetric,
    PixelF1,
    SaliencyMetric,
    localization_error,
    pixel_f1,
    predicted_boxes,
)
from seewhy.metrics.case import Case
from seewhy.metrics.regions import (
    EnergyPointingGame,
    PointingGame,
    RelevanceIoU,
    RelevanceMass,
    RelevanceRank,
    dilate,
    pointing_game,
    relevance_iou,
    relevance_mass,
    relevance_rank,
)
from seewhy.metrics.segmentation import MaskAccuracy, MaskIoU, MaskMAE, SaliencyScore, mask_accuracy, mask_iou, mask_mae

H, W, N = 6, 7, 12
REGION_METRICS = [
    RelevanceMass(),
    RelevanceRank(),
    RelevanceIoU(),
    PointingGame(),
    PointingGame(tolerance=2),
    EnergyPointingGame(),
    PixelF1(),
    MaskAccuracy(),
    MaskIoU(),
    MaskMAE(),
]
BOX_METRICS = [LocalizationError(), OfficialMetric(), BoxAccuracy(), SaliencyMetric(), SaliencyMetric(classified="crop")]


def name(metric: object) -> str:
    return repr(metric)


def random_case(n: int = N, dtype: torch.dtype = torch.float64, kind: str = "cnn") -> Case:
    """Maps with many ties and both signs, sparse ones, and regions from empty to full, each with its boxes."""
    g = torch.Generator().manual_seed(0)
    maps = torch.randn(n, H, W, generator=g, dtype=torch.float64)
    maps[::3] = (maps[::3] * 2).round() / 2
    maps[1::3] = maps[1::3].relu()
    boxes = []
    for i in range(n):
        corners = torch.rand(1 + i % 2, 2, 2, generator=g, dtype=torch.float64).sort(1).values
        boxes.append((corners * torch.tensor([W, H])).reshape(-1, 4) + torch.tensor([0, 0, 0.5, 0.5]))
    boxes[-1] = torch.zeros(0, 4, dtype=torch.float64)
    regions = torch.rand(n, H, W, generator=g) < torch.linspace(0, 1.01, n)[:, None, None]
    classifier = TINY[kind]()
    return Case(
        replace(classifier, module=classifier.module.to(dtype)),
        torch.rand(n, 3, H, W, generator=g, dtype=torch.float64).to(dtype),
        torch.arange(n) % 5,
        torch.arange(n) % 5,
        maps.to(dtype),
        labels=torch.arange(n) % 5,
        regions=regions,
        boxes=tuple(boxes),
    )


CASE = random_case()


def arrays(*tensors: Tensor) -> list[tuple[np.ndarray, ...]]:
    return list(zip(*(t.numpy() for t in tensors), strict=True))


def same(actual: Tensor, expected: list[float]) -> None:
    tolerance = 1e-12 if actual.dtype == torch.float64 else 1e-6
    torch.testing.assert_close(actual, torch.tensor(expected, dtype=actual.dtype), rtol=tolerance, atol=tolerance)


# -- by hand ----------------------------------------------------------------------------------------------------------

SMALL = torch.tensor([[[4.0, 2.0, 2.0], [2.0, 0.0, -4.0]]])
LEFT = torch.tensor([[[True, True, False], [False, True, False]]])


def test_mass_by_hand() -> None:
    same(relevance_mass(SMALL, LEFT), [6 / 10])
    # shifted by 4 the map is 8 6 6 6 4 0
    same(relevance_mass(min_max(SMALL), LEFT), [18 / 30])
    same(relevance_mass(min_max(SMALL), ~LEFT), [12 / 30])


def test_rank_by_hand() -> None:
    """k = 3: the 4 is in, and two of three 2s are drawn, one of which is in the region."""
    same(relevance_rank(SMALL, LEFT), [(1 + 2 / 3) / 3])
    same(relevance_iou(SMALL, LEFT), [(5 / 3) / (6 - 5 / 3)])


def test_pointing_by_hand() -> None:
    tied = torch.tensor([[[1.0, 0, 0, 0], [0, 0, 1, 1]]])
    region = torch.tensor([[[True, False, False, False], [False] * 4]])
    same(pointing_game(tied, region), [1 / 3])
    assert dilate(region, 1).equal(region)  # a neighbor is at distance 1, which is not less than 1
    assert dilate(region, 2).int().tolist() == [[[1, 1, 0, 0], [1, 1, 0, 0]]]
    same(pointing_game(tied, region, 3), [2 / 3])  # (1, 2) is sqrt 5 away, (1, 3) is sqrt 10


def test_masks_by_hand() -> None:
    mask, region = torch.tensor([[[1.0, 0.5, 0.25, 0.0]]]), torch.tensor([[[True, True, False, False]]])
    same(mask_accuracy(mask, region), [(1 + 0.5 + 0.75 + 1) / 4])
    same(mask_mae(mask, region), [0.75 / 4])
    same(mask_iou(mask, region), [1.5 / 2.25])
    same(pixel_f1(mask, region), [2 * (1.5 / 1.75) * (1.5 / 2) / (1.5 / 1.75 + 1.5 / 2)])


def test_boxes_by_hand() -> None:
    """Corners touch; of two blobs of one size each gives a box."""
    diagonal = np.array([[1, 0, 0, 0, 1], [0, 1, 0, 0, 1], [0, 0, 0, 0, 0]], dtype=bool)
    assert predicted_boxes(diagonal).tolist() == [[0, 0, 2, 2], [4, 0, 5, 2]]
    assert predicted_boxes(np.zeros((3, 5), dtype=bool)).tolist() == [[0, 0, 5, 3]]
    maps = torch.as_tensor(diagonal)[None].double()
    same(localization_error(maps, (torch.tensor([[0.0, 0, 2, 2]]),)), [0.5])
    same(localization_error(maps, (torch.tensor([[0.0, 0, 2, 2], [4.0, 0, 5, 4]]),)), [1 - (1 + 0.5) / 2])
    assert localization_error(maps, (torch.zeros(0, 4),)).tolist() == [1]


def test_saliency_metric_by_hand() -> None:
    """One pixel of 42 counts as a twentieth; 6 of 42 count as they are; the whole image costs nothing but the doubt."""
    case = random_case(3)
    maps = torch.zeros_like(case.attributions)
    maps[0, 3, 3] = maps[1, 2:4, 1:4] = 1
    p = case.logits.softmax(1).gather(1, case.scored[:, None])[:, 0]
    expected = torch.tensor([0.05, 6 / 42, 1], dtype=p.dtype) / p
    same(SaliencyMetric().score(replace(case, attributions=maps)), expected.log().tolist())


def test_box_accuracy_by_hand() -> None:
    """Two images: the level set above 1/2 is right for both at IoU 0.5, for one at 0.7."""
    maps = torch.zeros(2, H, W)
    maps[:, 0:2, 0:4] = 0.5
    maps[:, 0:2, 0:2] = 1
    boxes = (torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[0.0, 0, 2, 1]]))
    case = replace(random_case(2, torch.float32), attributions=maps, boxes=boxes)
    metric = BoxAccuracy(thresholds=4)
    scores = metric.score(case)
    # thresholds 0, 1/4: the larger box, IoU 4/8 and 2/8; thresholds 1/2, 3/4: IoU 1 and 2/4
    assert scores.tolist() == [[1, 1, 0] * 2 + [1, 1, 1] * 2, [0, 0, 0] * 2 + [1, 1, 0] * 2]
    assert reduced(metric, scores) == pytest.approx((1 + 1 + 0.5) / 3)


# -- literal re-writings ----------------------------------------------------------------------------------------------


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


def test_box_metrics_against_the_oracle() -> None:
    maps, truth = CASE.attributions.numpy(), [[tuple(b) for b in boxes.tolist()] for boxes in CASE.boxes]
    errors = [oracle.localization_error(a, t) for a, t in zip(maps, truth, strict=True)]
    same(LocalizationError().score(CASE), errors)
    right = [int(z.argmax()) == c for z, c in zip(CASE.logits, CASE.labels.tolist(), strict=True)]
    assert 0 < sum(right) < N
    same(OfficialMetric().score(CASE), [e if r else 1.0 for e, r in zip(errors, right, strict=True)])
    hits = BoxAccuracy(thresholds=5, overlaps=(0.1, 0.3)).score(CASE)
    levels = [(i / 5, d) for i in range(5) for d in (0.1, 0.3)]
    for row, a, t in zip(hits, maps, truth, strict=True):
        same(row, [oracle.box_hits(a, t, eta, delta) for eta, delta in levels])


def test_saliency_metric_against_the_oracle() -> None:
    maps, images = CASE.attributions.numpy(), CASE.images.numpy()
    logits = CASE.logits.numpy()
    plain = [oracle.saliency_metric(a, oracle.softmax(z)[c]) for a, z, c in zip(maps, logits, CASE.scored, strict=True)]
    same(SaliencyMetric().score(CASE), plain)
    crops = []
    for a, x, c in zip(maps, images, CASE.scored, strict=True):
        boxes = oracle.boxes_of(a > a.mean())
        logs = []
        for b in boxes:
            z = CASE.classifier.logits(torch.as_tensor(oracle.enlarged(x, b))[None])[0].detach().numpy()
            logs.append(log(oracle.softmax(z)[c]))
        crops.append(oracle.saliency_metric(a, exp(sum(logs) / len(logs))))
    same(SaliencyMetric(classified="crop").score(CASE), crops)


def test_saliency_metric_of_a_multilabel_network_reads_the_sigmoid() -> None:
    case = random_case(4, kind="cnn_multilabel")
    p = case.logits.sigmoid().gather(1, case.scored[:, None])[:, 0]
    same(
        SaliencyMetric().score(case),
        [oracle.saliency_metric(a, q) for a, q in zip(case.attributions.numpy(), p, strict=True)],
    )


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
        same(pointing_game(a, r), [first])


# -- bounds -----------------------------------------------------------------------------------------------------------


def blob() -> tuple[Tensor, tuple[Tensor, ...]]:
    region = torch.zeros(2, H, W, dtype=torch.bool)
    region[0, 1:4, 2:6] = True
    region[1, 0:2, 0:3] = True
    return region, (torch.tensor([[2.0, 1, 6, 4]]), torch.tensor([[0.0, 0, 3, 2]]))


@pytest.mark.parametrize("metric", REGION_METRICS, ids=name)
def test_the_region_is_the_best_map_and_its_complement_the_worst(metric: object) -> None:
    region, _ = blob()
    worst, best = metric.range if metric.higher_is_better else metric.range[::-1]
    case = replace(random_case(2), regions=region, attributions=region.double() * 3)
    assert metric.score(case).tolist() == [best, best]
    if metric != PointingGame(tolerance=2):
        other = replace(case, attributions=(~region).double())
        assert metric.score(other).tolist() == [worst, worst]


def test_the_region_gives_the_best_box() -> None:
    region, boxes = blob()
    case = replace(random_case(2), regions=region, boxes=boxes, attributions=region.double())
    case = replace(case, labels=case.logits.argmax(1))
    assert LocalizationError().score(case).tolist() == OfficialMetric().score(case).tolist() == [0, 0]
    assert BoxAccuracy().score(case).eq(1).all()
    wrong = replace(case, labels=(case.labels + 1) % 5)
    assert OfficialMetric().score(wrong).tolist() == [1, 1]
    many = torch.nn.functional.one_hot(case.labels, 5)
    assert OfficialMetric().score(replace(case, labels=many)).tolist() == [0, 0]
    far = replace(case, boxes=(torch.tensor([[0.0, 5, 2, 6]]), torch.tensor([[5.0, 4, 7, 6]])))
    assert LocalizationError().score(far).tolist() == [1, 1]
    assert BoxAccuracy().score(far).eq(0).all()


def test_classes_that_share_the_highest_logit_count_by_their_share() -> None:
    region, boxes = blob()
    level = torch.tensor([[1.0, 1, 0, 0, 0], [1.0, 1, 1, 1, 0]])
    case = replace(random_case(2), boxes=boxes, attributions=region.double(), labels=torch.tensor([0, 3]))
    case.__dict__["logits"] = level
    same(OfficialMetric().score(case), [0.5, 0.75])


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


@pytest.mark.parametrize("metric", [MaskAccuracy, MaskIoU, MaskMAE])
def test_reference_masks(metric: type) -> None:
    share = CASE.regions.double().mean((1, 2))
    expected = {
        MaskAccuracy: {"zeros": 1 - share, "halves": 0 * share + 0.5, "ones": share, "region": 0 * share + 1},
        MaskMAE: {"zeros": share, "halves": 0 * share + 0.5, "ones": 1 - share, "region": 0 * share},
        MaskIoU: {"zeros": 0 * share, "halves": share / (1 + share), "ones": share, "region": (share > 0).double()},
    }[metric]
    for use, values in expected.items():
        same(metric(use=use).score(CASE), values.tolist())


def test_accuracy_is_one_minus_the_error_and_clipped_maps_are_not_rescaled() -> None:
    same(MaskAccuracy().score(CASE), (1 - MaskMAE().score(CASE)).tolist())
    clipped = mask_mae(CASE.attributions.clamp(0, 1), CASE.regions)
    same(MaskMAE(scale="clipped").score(CASE), clipped.tolist())


def test_a_reference_mask_that_is_not_known_is_asked_for() -> None:
    with pytest.raises(SeewhyError, match="needs the region"):
        SaliencyScore(use="region").score(replace(CASE, regions=None))


# -- every one of them ------------------------------------------------------------------------------------------------


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


# -- Quantus ----------------------------------------------------------------------------------------------------------


def test_quantus_agrees_on_positive_maps_without_ties() -> None:
    quantus = pytest.importorskip("quantus", reason="Quantus is not installed: this test compares with it")
    g = torch.Generator().manual_seed(5)
    maps, regions = torch.rand(8, H, W, generator=g, dtype=torch.float64) + 0.01, torch.rand(8, H, W, generator=g) < 0.4
    settings = {"normalise": False, "abs": False, "disable_warnings": True}
    for ours, theirs in (
        (relevance_mass, quantus.RelevanceMassAccuracy),
        (relevance_rank, quantus.RelevanceRankAccuracy),
        (pointing_game, quantus.PointingGame),
    ):
        answer = theirs(**settings).evaluate_batch(a_batch=maps[:, None].numpy(), s_batch=regions[:, None].numpy())
        same(ours(maps, regions), [float(v) for v in answer])
