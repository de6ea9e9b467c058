"""Scene deletion: against pairs counted by hand, on pictures that are drawn without a part, and what it tells apart."""

import pytest
import torch
from support import metric_oracles as oracle
from support.metric_cases import case_of
from support.metric_games import doubled, network_of
from torch import Tensor

import seewhy
from seewhy.data import Shapes
from seewhy.metrics import Case, metric


def literal(case: Case, i: int, reading: str) -> float:
    f, c, parts = network_of(case), int(case.scored[i]), case.parts[i]  # type: ignore[index]
    whole = oracle.probability(f, case.images[i].numpy(), c)
    falls = [whole - oracle.probability(f, image.double().numpy(), c) for image in parts.images] + [0.0]
    regions = [*parts.regions, ~parts.regions.any(0)]
    claims = [float(case.attributions[i][r].mean() if reading == "mean" else case.attributions[i][r].sum()) for r in regions]
    right = total = 0.0
    for j in range(len(falls)):
        for k in range(j):
            difference = falls[j] - falls[k]
            total += abs(difference)
            sign = (claims[j] > claims[k]) - (claims[j] < claims[k])
            right += difference * sign
    return right / total


@pytest.mark.parametrize("network", ["cnn", "vit_registers"])
@pytest.mark.parametrize("reading", ["mean", "sum"])
def test_pair_by_pair(network: str, reading: str) -> None:
    case = doubled(network)
    object.__setattr__(case, "parts", case_of(network).parts)
    got = metric("scene_deletion", reads_part=reading).score(case)
    assert got.tolist() == pytest.approx([literal(case, i, reading) for i in range(len(case.images))], abs=1e-3)


def shapes_case(maps_of: str, n: int = 5, **options: object) -> Case:
    classifier, data = seewhy.load("shapes"), Shapes(n=n, **options)  # type: ignore[arg-type]
    batch, parts = data.batch(range(n)), tuple(data.parts(i) for i in range(n))
    maps: Tensor = seewhy.explainer("random", classifier).explain(batch.images, batch.labels)
    if maps_of == "object":
        maps = batch.regions.float()  # type: ignore[union-attr]
    if maps_of == "elsewhere":
        maps = 1 - batch.regions.float()  # type: ignore[union-attr]
    return Case(classifier, batch.images, batch.labels, batch.labels, maps, parts=parts)  # type: ignore[arg-type]


def test_the_object_scores_high_its_complement_low_and_a_constant_map_nothing() -> None:
    measure = metric("scene_deletion")
    assert measure.score(shapes_case("object")).median() > 0.95  # one network's error is no fault of the map
    assert measure.score(shapes_case("elsewhere")).median() < -0.95
    case = shapes_case("object", n=3)
    flat = Case(
        case.classifier, case.images, case.explained, case.scored, torch.full_like(case.attributions, 0.1), parts=case.parts
    )
    assert measure.score(flat).tolist() == [0, 0, 0]


def test_an_image_of_one_part_and_no_ground_has_no_pair() -> None:
    case = case_of("cnn", n=1)
    (parts,) = case.parts  # type: ignore[misc]
    everything = parts._replace(names=("all",), regions=torch.ones_like(parts.regions[:1]), images=parts.images[:1])
    assert metric("scene_deletion").score(case_of("cnn", n=1, parts=(everything,))).tolist() == [0]
