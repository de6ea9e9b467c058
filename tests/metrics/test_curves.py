"""The engine of ordering metrics: what is shared, equal values, and images with different numbers of players."""

from typing import Any

import pytest
import torch
from support.metric_cases import SIZE, case_of
from torch import Tensor, nn

from seewhy import Classifier
from seewhy.masking.players import divide
from seewhy.metrics import Case, metric
from seewhy.metrics.curves import Curves, curves, ranked


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
        case.classifier.logits(images)
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
