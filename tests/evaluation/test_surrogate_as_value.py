"""A surrogate in the place of the network, for every metric that removes players; and what metrics get of the dataset."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.command import run
from support.tiny_models import TINY
from support.toys import CNN, Capture, N, Toys

from seewhy import evaluate, explainer, load
from seewhy.app.choose import choose_metrics
from seewhy.classifier.classifier import Classifier
from seewhy.data import Shapes
from seewhy.errors import SeewhyError
from seewhy.evaluation.question import offers, value_identity
from seewhy.evaluation.run import open_run
from seewhy.masking.surrogate import Surrogate, save_surrogate
from seewhy.masking.values import RemovePixels
from seewhy.metrics import METRICS, Case, metric

OWN_VALUE = ("srg", "lif", "mif", "r_srg", "aopc", "deletion", "insertion", "faithfulness_estimate", "saco", "f_fidelity",
             "single_deletion", "faithfulness_correlation")  # fmt: skip
OPTIONS: dict[str, dict[str, Any]] = {
    **{name: {"steps": 4} for name in ("lif", "mif", "srg", "deletion", "insertion")},
    "r_srg": {"n_draws": 2, "steps": 2},
    "f_fidelity": {"n_draws": 2, "shares": (0.5,)},
    "faithfulness_estimate": {"features": 2},
    "faithfulness_correlation": {"runs": 6},
}


def other(classifier: Classifier) -> Classifier:
    """The same network with other weights."""
    again = TINY["vit_registers"]()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in again.module.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator))
    return replace(classifier, module=again.module)


def test_every_metric_that_removes_players_asks_the_surrogate_and_no_other(tmp_path: Path) -> None:
    classifier = TINY["vit_registers"]()
    surrogate = Surrogate.of(other(classifier), "tokens")
    sized = {name: {"size": 4} if hasattr(METRICS[name], "size") and name != "single_deletion" else {} for name in OWN_VALUE}
    measures = {name: metric(name, **sized[name], **OPTIONS.get(name, {})) for name in OWN_VALUE}
    measures["average_drop"] = metric("average_drop")
    given = (classifier, {"grad_cam": explainer("grad_cam", classifier)}, measures, Toys())
    folder = save_surrogate(surrogate, classifier, tmp_path / "surrogate")
    found = evaluate(*given, surrogate=folder, target="label", batch_size=N, out=tmp_path / "run")
    batch = Toys().batch(range(N))
    assert batch.labels is not None
    maps = given[1]["grad_cam"].explain(batch.images, batch.labels)
    case = Case(classifier, batch.images, batch.labels, batch.labels, maps, batch_size=N)
    with_value, without = replace(case, value=surrogate), replace(case)
    for name, measure in measures.items():
        own = measure.score(with_value if name != "average_drop" else without)
        torch.testing.assert_close(found.scores("grad_cam", name), own.double(), atol=1e-6, rtol=0)
        if name != "average_drop":
            assert not torch.allclose(measure.score(without), own), name
    manifest = open_run(tmp_path / "run").manifest
    assert manifest.asked.surrogate == {
        **{"kind": "Surrogate", "removal": "tokens", "baseline": "mean_color", "size": 0},
        **{"weights": manifest.asked.surrogate["weights"]},
    }
    with pytest.raises(SeewhyError, match="another question"):
        evaluate(*given, target="label", batch_size=N, out=tmp_path / "run")


def test_any_value_function_will_do_and_anything_else_is_one_line() -> None:
    value = RemovePixels(CNN, "white")
    given = (CNN, {"grad_cam": explainer("grad_cam", CNN)}, {"srg": metric("srg", size=4)}, Toys())
    own = evaluate(*given, surrogate=value).scores("grad_cam", "srg")
    white = evaluate(*given[:2], {"srg": metric("srg", size=4, baseline="white")}, given[3]).scores("grad_cam", "srg")
    assert torch.equal(own, white)
    assert value_identity(value) != value_identity(RemovePixels(CNN, "black"))
    with pytest.raises(SeewhyError, match="there is no folder nowhere: seewhy fit surrogate"):
        evaluate(*given, surrogate="nowhere")


def test_all_leaves_out_the_players_that_the_surrogate_cannot_remove() -> None:
    classifier = TINY["vit_registers"]()
    chosen, left_out = choose_metrics(["all"], {}, set(), classifier, Surrogate.of(classifier, "tokens"))
    assert {"deletion", "saco", "srg"} <= set(chosen)
    assert "pixel_flipping" not in chosen
    assert any(line.startswith("pixel_flipping: the network removes whole patches") for line in left_out)


def test_the_command(capfd: Capture) -> None:
    command = ["evaluate", "--model", "shapes/vit", "--data", "shapes", "--limit", "4", "--metric", "srg:steps=4", "--quiet"]
    plain, own, same = (run(capfd, *command, *more) for more in ([], ["--surrogate", ""], ["--removal", "tokens"]))
    assert plain.out.split()[-1] != own.out.split()[-1] == same.out.split()[-1]
    wrong = run(capfd, *command, "--surrogate", "nowhere")
    assert (wrong.status, wrong.err.count("\n")) == (2, 1)


def test_parts_and_companions_of_a_dataset_of_drawn_pictures() -> None:
    data = Shapes(n=6, size=96)
    classifier = load("shapes")
    assert {"parts", "companions"} <= offers(data, classifier)
    assert not {"parts"} & offers(Toys(), CNN)
    names = ["scene_deletion", "grid_pointing_game"]
    found = evaluate(classifier, ["grad_cam", "fake_cam"], names, data, batch_size=3, target="label")
    again = evaluate(classifier, ["fake_cam", "grad_cam"], names, data, batch_size=8, target="label")
    for name in names:
        torch.testing.assert_close(found.scores("grad_cam", name), again.scores("grad_cam", name), atol=1e-4, rtol=0)
    assert not found.failures
