"""What metrics can have of a question."""

from pathlib import Path

import pytest
import torch
from support.command import run
from support.toys import CNN, MANY_LABELS, SEVERAL, Capture, N, Spy, Toys, measured
from torch import Tensor

from seewhy.errors import SeewhyError
from seewhy.evaluation.question import offers
from seewhy.explainers import explainer


@pytest.mark.parametrize("name", ["seconds", "forward_equivalents", "peak_memory"])
@pytest.mark.parametrize("labels", [MANY_LABELS, torch.arange(N) % 5], ids=["several", "one"])
def test_the_cost_of_merged_maps_is_refused_in_one_line(name: str, labels: Tensor, tmp_path: Path) -> None:
    """What one class costs is not what the merged map of all cost, and ``measure`` would hand over the map of one."""
    classifier = SEVERAL if labels.ndim == 2 else CNN
    methods = {"grad_cam": explainer("grad_cam", classifier)}
    says = f"^{name} needs the cost of the maps, which the dataset toys, with maps of all present classes merged, does not"
    with pytest.raises(SeewhyError, match=says):
        measured(tmp_path / "run", methods, ["complexity", name], Toys(labels=labels), classifier=classifier,
                 target="present")  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_the_command_refuses_costs_of_merged_maps_and_all_leaves_them_out(tmp_path: Path, capfd: Capture) -> None:
    command = ["evaluate", "--model", "shapes/cnn_multilabel", "--data", "shapes", "--limit", "2", "--target", "present"]
    refused = run(capfd, *command, "--metric", "seconds", "--out", tmp_path / "run")
    assert refused.status == 2
    assert refused.err.startswith("seewhy: seconds needs the cost of the maps")
    assert refused.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    assert {"cost", "forward_passes"} <= offers(Toys(), CNN)
    assert not {"cost", "forward_passes"} & offers(Toys(), CNN, target="present")


def test_operations_are_counted_where_they_are_asked_for(tmp_path: Path) -> None:
    """Counting explains the first image of every batch once more, which doubled the time of slow methods."""
    explained: list[int] = []

    class Counted(Spy):
        classifier = CNN

        def explain(self, images: Tensor, targets: Tensor) -> Tensor:
            explained.append(len(images))
            return super().explain(images, targets)

    runs = {}
    for names in (["complexity"], ["seconds", "peak_memory"], ["seconds", "forward_equivalents"]):
        explained[:] = []
        measured(tmp_path / names[-1], {"a": Counted()}, names)
        runs[names[-1]] = list(explained)
    batches = runs["complexity"]
    assert len(batches) > 1
    assert runs["peak_memory"] == [1, *batches], "the first time is not timed"
    assert runs["forward_equivalents"] == [n for batch in batches for n in (1, batch)]
