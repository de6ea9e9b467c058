"""ROAD: its equations, its shares, and the images that it leaves alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support import metric_oracles as oracle
from support.metric_cases import case_of
from support.metric_games import doubled
from torch import Tensor, nn

from seewhy import Classifier
from seewhy.metrics import Case, metric
from seewhy.metrics.road import impute


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


def test_no_metric_changes_the_images_that_the_next_one_reads() -> None:
    """In float64 on the CPU nothing is copied on its way to NumPy."""
    case = doubled("cnn")
    before = case.images.clone()
    metric("road", shares=(0.3, 0.6)).score(case)
    assert torch.equal(case.images, before)


def test_a_class_of_a_multi_label_image_stays_while_it_is_predicted() -> None:
    """It need not be the likeliest."""
    case = case_of("cnn_multilabel")
    second = case.logits.topk(2, 1).indices[:, 1]
    case = replace(case, scored=second, explained=second)
    stays = (case.logits.gather(1, second[:, None])[:, 0] > 0).float()
    assert metric("road", shares=(0.0,)).score(case).tolist() == stays.tolist()
