"""The monitor of learned Shapley explainers: its truth, its SRG, its lines in the log, and maps that are upside down."""

import csv
import warnings
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from support.evaluations import Pictures
from support.tiny_models import TINY
from support.trainables import small_classifier
from torch import Tensor

from seewhy.errors import SeewhyWarning
from seewhy.explainers.learned.learned_explainer import Seen
from seewhy.explainers.learned.salvage import Salvage
from seewhy.masking.shapley import exact_values, set_function
from seewhy.training import monitor
from seewhy.training.fit import fit
from seewhy.training.monitor import MEASURES, Monitor, both_scales, monitor_of, must_not_be_upside_down, sampled


class Told(Salvage):
    """Salvage whose scores (n, p) are told."""

    told: ClassVar[list[Tensor]] = []

    def scores(self, seen: Seen) -> Tensor:
        return self.told[-1][:, :, None].expand(-1, -1, self.classifier.n_classes)


def told(batch: tuple[Tensor, Tensor]) -> tuple[Told, Seen]:
    """With the exact values of the four players of each image as its scores."""
    made = Told(TINY["cnn"](), size=8, monitor=3).untrained()
    seen = made.see(batch[0])
    players, classes = made.players(batch[0]), seen.logits.argmax(1)
    game = made.value(batch[0], players)
    found = []
    for i in range(3):
        read = lambda logits, of=int(classes[i]): logits.double().softmax(1)[:, of : of + 1]  # noqa: E731
        found.append(exact_values(set_function(game, i, read, 64, torch.device("cpu")), 4).values[:, 0])
    made.told.append(torch.stack(found).float())
    return made, seen


def test_the_sampled_values_are_shapley_values(batch: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    made, seen = told(batch)
    monkeypatch.setattr(monitor, "PAIRS", 400)
    classes, values = sampled(made, seen, 0)
    assert torch.equal(classes, seen.logits.argmax(1))
    exact = made.told[-1]
    torch.testing.assert_close(values[0].float(), exact, atol=0.02 * float(exact.abs().max()) + 1e-3, rtol=0)


def test_true_maps_correlate_and_upside_down_maps_are_told_of(batch: tuple[Tensor, Tensor]) -> None:
    made, seen = told(batch)
    right = Monitor(made, 0).measured(seen)
    assert set(right.numbers) == set(MEASURES)
    assert right.numbers["correlation"] > 0.8
    assert right.numbers["srg"] > 0
    assert right.maps.shape == (3, 2, 16, 16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        must_not_be_upside_down(right.numbers, 10)
    made.told.append(-made.told[-1])
    wrong = Monitor(made, 0).measured(seen)
    assert wrong.numbers["correlation"] == pytest.approx(-right.numbers["correlation"], abs=1e-6)
    assert wrong.numbers["srg"] == pytest.approx(-right.numbers["srg"], abs=1e-5)
    with pytest.warns(SeewhyWarning, match="the maps are upside down at step 10"):
        must_not_be_upside_down(wrong.numbers, 10)
    must_not_be_upside_down(wrong.numbers, 0)  # before the first step nothing was learned


def test_srg_is_the_mean_over_the_sizes_of_best_less_worst(batch: tuple[Tensor, Tensor]) -> None:
    """Image by image, set by set, at every size of four players."""
    made, seen = told(batch)
    players, classes, total = made.players(batch[0]), seen.logits.argmax(1), 0.0
    game = made.value(batch[0], players)
    for i in range(3):
        order = sorted(range(4), key=lambda j: -float(made.told[-1][i, j]))
        for size in range(1, 5):
            for shown, sign in ((order[:size], 1), (order[4 - size :], -1)):
                kept = torch.tensor([[j in shown for j in range(4)]])
                total += sign * float(game(torch.tensor([i]), kept).softmax(1)[0, classes[i]]) / 4 / 3
    assert Monitor(made, 0).measured(seen).numbers["srg"] == pytest.approx(total, abs=1e-5)


def test_both_scales_of_a_class() -> None:
    logits = torch.randn(4, 5, dtype=torch.float64)
    probability, odds = both_scales(TINY["cnn"](), logits, 2)
    p = logits.softmax(1)[:, 2]
    torch.testing.assert_close(probability, p)
    torch.testing.assert_close(odds, (p / (1 - p)).log())
    probability, odds = both_scales(TINY["cnn_multilabel"](), logits, 2)
    torch.testing.assert_close(probability, logits[:, 2].sigmoid())
    torch.testing.assert_close(odds, logits[:, 2])


def test_the_log_and_the_card_have_the_measures(tmp_path: Path) -> None:
    method = Salvage(small_classifier(), sets=2, size=8, monitor=2)
    fit(
        method, method.classifier, Pictures(n=10), tmp_path, held_out=0.2, batch_size=4, epochs=2, tensorboard=False
    )  # fmt: skip
    lines = list(csv.DictReader((tmp_path / "log.csv").read_text().splitlines()))
    for line in lines:
        held = line["images"] == "held_out"
        assert all((line[name] != "") == held for name in MEASURES), line
    assert "srg" in (tmp_path / "README.md").read_text()
    assert monitor_of(Salvage(small_classifier(), monitor=0), 0) is None
