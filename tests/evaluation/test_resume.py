"""Evaluations that were stopped, damaged, mended or added to: what is asked again, what is not, and what is said."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from support.command import run
from support.tiny_models import TINY
from torch import Tensor, nn
from torchvision.utils import save_image

from seewhy import explainers
from seewhy.classifier.classifier import Classifier
from seewhy.data import Batch, Shapes
from seewhy.describe import as_json
from seewhy.errors import SeewhyError
from seewhy.evaluation import devices, job
from seewhy.evaluation import evaluate as evaluation
from seewhy.evaluation.evaluate import Evaluation, evaluate
from seewhy.evaluation.job import ShareError
from seewhy.evaluation.manifest import Manifest
from seewhy.evaluation.plan import batch_key, spread_order
from seewhy.evaluation.question import offers
from seewhy.evaluation.run import open_run
from seewhy.explainers import explainer
from seewhy.metrics import Case, metric

N = 11
CNN: Classifier = TINY["cnn"]()
SEVERAL: Classifier = TINY["cnn_multilabel"]()
MANY_LABELS = torch.tensor([[i % 2, 1, i % 3 == 0, 0, i % 5 == 0] for i in range(N)]).float()
Capture = pytest.CaptureFixture[str]


class Toys:
    """Eleven random pictures; those that are broken cannot be read."""

    classes: ClassVar[tuple[str, ...]] = CNN.classes

    def __init__(self, broken: tuple[int, ...] = (), labels: Tensor | None = None, sizes: Sequence[int] = ()) -> None:
        self.sizes = sizes
        self.broken, self.labels = broken, torch.arange(N) % 5 if labels is None else labels

    def __len__(self) -> int:
        return N

    @property
    def ids(self) -> list[str]:
        return [f"toy {i}" for i in range(N)]

    def digest(self, indices: Sequence[int]) -> str:
        return " ".join(f"{self.ids[i]} {self.sizes[i] if self.sizes else 0} {self.labels[i].tolist()}" for i in indices)

    def batch(self, indices: Sequence[int]) -> Batch:
        for i in indices:
            if i in self.broken:
                raise SeewhyError(f"toy {i} is broken")
        images = torch.stack([torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(i)) for i in indices])
        return Batch([self.ids[i] for i in indices], images, self.labels[list(indices)])


class Spy:
    """An explainer that remembers the images it explained; its map is the class, and in the corner half a pixel more."""

    family: ClassVar[Any] = "reference"
    class_specific: ClassVar[bool] = True
    paper: ClassVar[str] = ""

    def __init__(self, meanwhile: Callable[[int], object] = lambda calls: None) -> None:
        self.meanwhile = meanwhile
        self.seen: list[Tensor] = []
        self.calls = 0

    def explain(self, images: Tensor, targets: Tensor) -> Tensor:
        self.calls += 1
        self.meanwhile(self.calls)
        self.seen += [*images]
        return targets[:, None, None] + images[:, 0] / 2

    @property
    def indices(self) -> list[int]:
        """Places of the images in the dataset."""
        all_of_them = Toys().batch(range(N)).images
        return [next(i for i in range(N) if torch.equal(all_of_them[i], image)) for image in self.seen]


@dataclass(frozen=True)
class Corner:
    """A metric that is the first pixel of the map."""

    scale: Any = 1.0
    family: ClassVar[Any] = "complexity"
    higher_is_better: ClassVar[bool | None] = None
    range: ClassVar[tuple[float, float]] = (0, 6)
    needs: ClassVar[tuple[Any, ...]] = ()
    reads: ClassVar[str] = "raw"
    target: ClassVar[Any] = "any"
    paper: ClassVar[str] = ""

    def score(self, case: Case) -> Tensor:
        return case.attributions[:, 0, 0]


def measured(out: Path | None, methods: Any, metrics: Any = ("complexity",), data: Any = None, **options: Any) -> Evaluation:
    measures = metrics if isinstance(metrics, dict) else {name: metric(name) for name in metrics}
    asked = {"batch_size": 3, "classifier": CNN, **options}
    return evaluate(asked.pop("classifier"), methods, measures, data or Toys(), out=out, **asked)


def interrupted(out: Path, methods: Any, *arguments: Any, **options: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        measured(out, methods, *arguments, **options)


def stop_at(call: int) -> Spy:
    """An explainer during whose given call somebody presses Ctrl-C."""

    def stop(calls: int) -> None:
        if calls == call:
            raise KeyboardInterrupt

    return Spy(stop)


def bytes_of(folder: Path) -> list[bytes]:
    return [(folder / f"{name}.parquet").read_bytes() for name in ("scores", "curves", "images")]


def counts(found: Evaluation) -> dict[tuple[str, str], int]:
    return {(e, m): n for e, m, n in found.frame.group_by("explainer", "metric").len().iter_rows()}


def few(n: int) -> set[int]:
    """The images that a limit of n takes."""
    return {i for i, rank in enumerate(spread_order(N)) if rank < n}


# -- merged maps have no cost -------------------------------------------------------------------------------------------


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


# -- what the manifest says of tensors -----------------------------------------------------------------------------------


PIXELS = torch.linspace(0, 1, 24).view(2, 3, 4)


@pytest.mark.parametrize(
    ("one", "other", "says"),
    [
        (PIXELS, PIXELS + 1e-6, "tensor (2, 3, 4) float32 "),
        (PIXELS.bfloat16(), PIXELS.bfloat16() * 2, "tensor (2, 3, 4) bfloat16 "),
        (PIXELS.half(), PIXELS.half() * 2, "tensor (2, 3, 4) float16 "),
        (PIXELS > 0.5, PIXELS > 0.6, "tensor (2, 3, 4) bool "),
        (PIXELS.clone().requires_grad_(), PIXELS + 1e-6, "tensor (2, 3, 4) float32 "),
        (PIXELS.transpose(0, 2), PIXELS.view(4, 3, 2), "tensor (4, 3, 2) float32 "),
        (torch.zeros(2), torch.zeros(2, dtype=torch.int32), "tensor (2,) float32 "),
        (torch.tensor(1.0), torch.tensor(2.0), "tensor () float32 "),
        (np.zeros(5000), np.eye(1, 5000, 2500)[0], "array (5000,) float64 "),
        (nn.Linear(2, 2), nn.Linear(2, 2), "Linear "),
    ],
)
def test_tensors_are_recorded_by_kind_shape_and_digest(one: Any, other: Any, says: str) -> None:
    copy = one.detach().clone() if isinstance(one, Tensor) else one
    first, same, another = as_json(one), as_json(copy), as_json(other)
    assert isinstance(first, str)
    assert first.startswith(says)
    assert len(first) == len(says) + 16
    assert first == same
    assert first != another
    for wrap in (lambda v: ("black", v), lambda v: {"start": v}, lambda v: Corner(scale=v)):
        assert json.dumps(as_json(wrap(one))) == json.dumps(as_json(wrap(copy))) != json.dumps(as_json(wrap(other)))
        assert first in json.dumps(as_json(wrap(one)))


def test_other_tensors_are_other_options(tmp_path: Path) -> None:
    base = torch.full((3, 16, 16), 0.5)

    def ask(baseline: Tensor, scale: Tensor) -> Evaluation:
        methods = {"ig": explainer("integrated_gradients", CNN, baseline=baseline, steps=2)}
        return measured(tmp_path / "run", methods, {"corner": Corner(scale)})

    ask(base, torch.ones(3))
    manifest = open_run(tmp_path / "run").manifest
    assert manifest.explainers["ig"].options["baseline"].startswith("tensor (3, 16, 16) float32 ")
    assert manifest.metrics["corner"].options["scale"].startswith("tensor (3,) float32 ")
    ask(base.clone(), torch.ones(3))
    with pytest.raises(SeewhyError, match="has ig with other options"):
        ask(base + 0.001, torch.ones(3))
    with pytest.raises(SeewhyError, match="has corner with other options"):
        ask(base, torch.ones(3) * 2)


# -- several processes --------------------------------------------------------------------------------------------------


class Others:
    """Stands for Lightning Fabric in one of two processes: what the first one tells reaches the second."""

    world_size = 2

    def __init__(self, rank: int, told: list[str]) -> None:
        self.global_rank = self.local_rank = rank
        self.told, self.device, self.barriers = told, torch.device("cpu"), 0

    def broadcast(self, message: str) -> str:
        if self.global_rank == 0:
            self.told.append(message)
        return self.told[-1]

    def barrier(self) -> None:
        self.barriers += 1


def test_what_the_first_process_cannot_open_stops_the_others_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured(tmp_path / "run", {"spy": Spy()})
    told: list[str] = []
    first, second = Others(0, told), Others(1, told)
    with pytest.raises(SeewhyError, match="seed is 0 there and 1 now"):
        measured(tmp_path / "run", {"spy": Spy()}, seed=1, fabric=first)
    assert [("seed is 0 there and 1 now" in message) for message in told] == [True]
    monkeypatch.setattr(job, "read_manifest", pytest.fail)  # the second does not even look
    with pytest.raises(SeewhyError, match="seed is 0 there and 1 now"):
        measured(tmp_path / "run", {"spy": Spy()}, seed=1, fabric=second)
    assert (first.barriers, second.barriers) == (0, 0)


def test_the_first_process_tells_that_all_is_well(tmp_path: Path) -> None:
    told: list[str] = []
    measured(tmp_path / "run", {"spy": Spy()}, fabric=Others(0, told))
    assert told == [""]


EVALUATE = [
    "evaluate",
    "--model",
    "shapes",
    "--data",
    "shapes",
    "--limit",
    "6",
    "--batch-size",
    "2",
    "--quiet",
    "--metric",
    "complexity",
]


def test_other_processes_leave_quietly(tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    """But not with what they alone have met."""
    monkeypatch.setattr(devices, "processes", lambda *_: Others(1, ["no room here"]))
    assert run(capfd, *EVALUATE, "--out", tmp_path / "run") == (2, "", "")
    assert run(capfd, *EVALUATE, "--explainer", "grad_kam", "--out", tmp_path / "run") == (2, "", "")
    monkeypatch.setattr(devices, "processes", lambda *_: Others(0, []))
    assert "Did you mean 'grad_cam'" in run(capfd, *EVALUATE, "--explainer", "grad_kam", "--out", tmp_path / "run").err

    def fails(*_: object, **options: object) -> None:
        raise ShareError("process 1: all my images are broken")

    monkeypatch.setattr(devices, "processes", lambda *_: Others(1, [""]))
    monkeypatch.setattr(evaluation, "evaluate", fails)
    result = run(capfd, *EVALUATE, "--out", tmp_path / "run")
    assert result == (2, "", "seewhy: process 1: all my images are broken\n")


def test_a_share_that_fails_says_whose_it_is(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"target": "present", "data": Toys(labels=MANY_LABELS), "classifier": SEVERAL}
    with pytest.raises(ShareError, match=r"^process 1: adcc needs the explainer itself"):
        measured(tmp_path / "run", {"spy": Spy()}, ["adcc"], fabric=Others(1, [""]), **asked)


def test_two_processes_stop_at_a_folder_of_another_question(tmp_path: Path, capfd: Capture) -> None:
    assert run(capfd, *EVALUATE, "--out", tmp_path / "run").status == 0
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    script = tmp_path / "command.py"
    script.write_text("from seewhy.app.cli.main import main\nif __name__ == '__main__':\n    main()\n")
    command = [sys.executable, script, *EVALUATE, "--seed", "1", "--out", tmp_path / "run", "--devices", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=200)
    lines = [line for line in done.stderr.splitlines() if line]
    assert (done.returncode, len(lines)) == (2, 1), done.stderr
    assert "another question (seed is 0 there and 1 now)" in lines[0]
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before


# -- limits -------------------------------------------------------------------------------------------------------------


def test_limits_of_earlier_and_later_evaluations_are_kept(tmp_path: Path) -> None:
    out = tmp_path / "run"
    a, b = Spy(), Spy()
    assert counts(measured(out, {"a": a}, limits={"a": 3})) == {("a", "complexity"): 3}
    limits = {"a": 3, "b": 6, "black_deletion": 5, "b/complexity": 2, "a/black_deletion": 1}
    expected = {("a", "complexity"): 3, ("a", "black_deletion"): 1, ("b", "complexity"): 2, ("b", "black_deletion"): 5}
    assert counts(measured(out, {"a": a, "b": b}, ["complexity", "black_deletion"], limits=limits)) == expected
    later = {"a": 3, "a/sparseness": 2}
    assert counts(measured(out, {"a": a}, ["sparseness"], limits=later)) == {**expected, ("a", "sparseness"): 2}
    manifest = open_run(out).manifest
    assert {e: (about.limit, about.limits) for e, about in manifest.explainers.items()} == {
        "a": (3, {"black_deletion": 1, "sparseness": 2}),
        "b": (6, {"complexity": 2}),
    }
    assert {m: about.limit for m, about in manifest.metrics.items()} == {
        "complexity": None,
        "black_deletion": 5,
        "sparseness": None,
    }
    assert manifest.rows == 3 + 1 + 2 + 5 + 2
    whole = measured(tmp_path / "whole", {"a": Spy(), "b": Spy()}, ["complexity", "black_deletion", "sparseness"],
                     limits={**limits, "a/sparseness": 2, "b/sparseness": 0})  # fmt: skip
    assert counts(whole) == {**expected, ("a", "sparseness"): 2}
    assert bytes_of(out) == bytes_of(tmp_path / "whole")


def test_a_larger_limit_measures_what_it_adds_and_a_smaller_one_nothing(tmp_path: Path) -> None:
    out = tmp_path / "run"
    measured(out, {"a": Spy()}, limits={"a/complexity": 3})
    larger = Spy()
    measured(out, {"a": larger}, limits={"a/complexity": 6})
    measured(tmp_path / "whole", {"a": Spy()}, limits={"a/complexity": 6})
    assert bytes_of(out) == bytes_of(tmp_path / "whole")
    batches = {i // 3 for i in few(6) - few(3)}
    assert larger.indices == sorted(i for i in few(6) if i // 3 in batches), "what is there of other batches stays"
    idle = Spy()
    found = measured(out, {"a": idle}, limits={"a": 2})
    assert counts(found) == {("a", "complexity"): 2}
    assert set(found.frame["index"]) == few(2)
    measured(out, {"a": idle}, limits={"a/complexity": 6})
    assert idle.calls == 0
    assert bytes_of(out) == bytes_of(tmp_path / "whole")
    assert len(measured(out, {"a": Spy()}).frame) == N


def test_an_interrupted_pair_may_have_another_limit(tmp_path: Path) -> None:
    interrupted(tmp_path / "run", {"a": stop_at(2)}, limits={"a/complexity": 7})
    assert len(measured(tmp_path / "run", {"a": Spy()}, limits={"a/complexity": 8}).frame) == 8
    measured(tmp_path / "whole", {"a": Spy()}, limits={"a/complexity": 8})
    assert bytes_of(tmp_path / "run") == bytes_of(tmp_path / "whole")


@pytest.mark.parametrize(
    ("limits", "keep_maps", "made"),
    [
        ({"spy/complexity": 4, "spy/black_deletion": 2}, False, few(4)),
        ({"spy/complexity": 0, "spy/black_deletion": 1}, False, few(1)),
        ({"complexity": 5, "spy/complexity": 3, "black_deletion": 2}, False, few(3)),
        ({"spy/complexity": 4, "spy/black_deletion": 2, "spy": 6}, False, few(4)),
        (
            {"spy/complexity": 4, "spy/black_deletion": 2, "spy": 6},
            True,
            few(6) - {9, 10},
        ),  # of the last batch none is wanted
        ({"spy/complexity": 4, "spy/black_deletion": 2}, True, set(range(9))),
        ({}, False, set(range(N))),
    ],
)
def test_maps_are_made_of_the_images_that_a_metric_wants(
    limits: dict[str, int], keep_maps: bool, made: set[int], tmp_path: Path
) -> None:
    spy = Spy()
    found = measured(tmp_path / "run", {"spy": spy}, ["complexity", "black_deletion"], limits=limits, keep_maps=keep_maps)
    assert spy.indices == sorted(made)
    for name in ("complexity", "black_deletion"):
        most = min(limits.get(key, N) for key in ("spy", name, f"spy/{name}"))
        assert set(found.of("spy", name)["index"]) == few(most)


def test_a_metric_that_wants_few_leaves_the_small_maps_of_the_others(tmp_path: Path) -> None:
    """The report shows as many images as before."""
    measured(tmp_path / "run", {"spy": Spy()})
    before = open_run(tmp_path / "run").maps("spy")
    assert len(before) == N
    spy = Spy()
    measured(tmp_path / "run", {"spy": spy}, ["sparseness"], limits={"sparseness": 2})
    assert set(spy.indices) == few(2)
    after = open_run(tmp_path / "run").maps("spy")
    assert list(after) == list(before)
    assert all(np.array_equal(after[key], before[key]) for key in before)


# -- kept maps ----------------------------------------------------------------------------------------------------------


def test_kept_maps_are_those_of_each_class(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"target": "label", "data": Toys(labels=MANY_LABELS), "classifier": SEVERAL}
    measured(tmp_path / "run", {"spy": Spy()}, keep_maps=True, **asked)
    idle = Spy()
    found = measured(tmp_path / "run", {"spy": idle}, {"corner": Corner()}, **asked)
    assert idle.calls == 0
    lines = found.frame.filter(found.frame["metric"] == "corner")
    expected = {(i, int(c)): int(c) for i in range(N) for c in MANY_LABELS[i].nonzero()[:, 0]}
    assert len(expected) > 2 * N
    corners = Toys().batch(range(N)).images[:, 0, 0, 0] / 2
    for row in lines.iter_rows(named=True):
        key = row["index"], row["explained"]
        assert row["value"] == pytest.approx(expected.pop(key) + float(corners[row["index"]]))
    assert expected == {}


def test_a_batch_without_a_digest_is_known_by_its_names() -> None:
    names = SimpleNamespace(ids=["a", "b", "c"])
    assert batch_key(names, [0, 1]) == batch_key(SimpleNamespace(ids=["a", "b", "z"]), [0, 1]) != batch_key(names, [1, 2])


# -- Ctrl-C -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("with_folder", [True, False])
def test_ctrl_c_says_how_to_go_on(
    with_folder: bool, tmp_path: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, calls = tmp_path / "run", []
    command = [*EVALUATE, *(("--out", out) if with_folder else ())]
    true = explainers.GradCAM.explain

    def pressed(self: Any, images: Tensor, targets: Tensor) -> Tensor:
        calls.append(len(images))
        if len(calls) == 2:
            signal.raise_signal(signal.SIGINT)
        return true(self, images, targets)

    with monkeypatch.context() as patch:
        patch.setattr(explainers.GradCAM, "explain", pressed)
        says = f"seewhy: stopped{f'; the same command goes on in {out}' if with_folder else ''}\n"
        assert run(capfd, *command) == (130, "", says)
        patch.setattr(devices, "processes", lambda *_: Others(1, [""]))
        calls[:] = [0]
        assert run(capfd, *command) == (130, "", "")
    if with_folder:
        with pytest.raises(SeewhyError, match="is not finished"):
            open_run(out)
        assert run(capfd, *command).status == 0
        assert run(capfd, *EVALUATE, "--out", tmp_path / "whole").status == 0
        assert bytes_of(out) == bytes_of(tmp_path / "whole")


# -- mended pictures ----------------------------------------------------------------------------------------------------


METRICS = ["complexity", "black_deletion"]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which nothing ever failed."""
    out = tmp_path_factory.mktemp("sound") / "run"
    measured(out, {"a": Spy(), "b": Spy()}, METRICS, keep_maps=True)
    return out


@pytest.fixture
def holed(tmp_path: Path) -> Path:
    """A finished run in which two images, of the second and third batch, could not be read."""
    found = measured(tmp_path / "run", {"a": Spy(), "b": Spy()}, METRICS, Toys(broken=(4, 7)), keep_maps=True)
    assert [f.index for f in found.failures] == [4, 7]
    return tmp_path / "run"


def test_a_mended_image_is_measured_and_is_no_failure_any_more(holed: Path, sound: Path) -> None:
    a, b = Spy(), Spy()
    found = measured(holed, {"a": a, "b": b}, METRICS, keep_maps=True)
    assert found.failures == []
    assert open_run(holed).manifest.failures == []
    assert a.indices == b.indices == [3, 4, 5, 6, 7, 8]  # their batches, and no other
    assert bytes_of(holed) == bytes_of(sound)
    assert list(open_run(holed).maps("a")) == list(open_run(sound).maps("a"))
    kept = sorted(file.relative_to(sound) for file in sound.glob("maps/*/*.npz"))
    assert len(kept) == 2 * 4
    for file in kept:
        with np.load(holed / file) as one, np.load(sound / file) as other:
            assert np.array_equal(one["maps"], other["maps"])
    idle = Spy()
    measured(holed, {"a": idle, "b": idle}, METRICS)
    assert idle.calls == 0


def test_what_is_still_broken_costs_nothing(holed: Path, sound: Path) -> None:
    before, a = bytes_of(holed), Spy()
    found = measured(holed, {"a": a, "b": Spy()}, METRICS, Toys(broken=(4, 7)))
    assert a.calls == 0
    assert [f.index for f in found.failures] == [4, 7]
    assert bytes_of(holed) == before
    found = measured(holed, {"a": a, "b": Spy()}, METRICS, Toys(broken=(7,)))
    assert a.indices == [3, 4, 5]
    assert [f.index for f in found.failures] == [7]
    assert len(measured(holed, {"a": a, "b": Spy()}, METRICS).failures) == 0
    assert bytes_of(holed) == bytes_of(sound)


def test_a_batch_that_is_still_broken_does_not_stop_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seewhy.evaluation.measure.MAX_FAILURES", 3)
    for _ in range(2):  # the second time no other image is read
        found = measured(tmp_path / "run", {"a": Spy()}, data=Toys(broken=(3, 4, 5)))
        assert [f.index for f in found.failures] == [3, 4, 5]


def test_a_mended_image_stays_a_failure_until_all_that_it_lacks_is_asked_again(holed: Path, tmp_path: Path) -> None:
    found = measured(holed, {"a": Spy()}, ["sparseness"])
    assert [f.index for f in found.failures] == [4, 7]
    there = {(e, m): n for e, m, n in open_run(holed).scores.group_by("explainer", "metric").len().iter_rows()}
    assert there == {**{(e, m): N - 2 for e in "ab" for m in METRICS}, ("a", "sparseness"): N}
    both = {"a": Spy(), "b": Spy()}
    found = measured(holed, both, [*METRICS, "sparseness"])
    assert found.failures == []
    measured(tmp_path / "whole", both, [*METRICS, "sparseness"])
    assert bytes_of(holed) == bytes_of(tmp_path / "whole")


@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("who", ["a", "b"])
def test_an_interruption_while_the_mended_are_measured(call: int, who: str, holed: Path, sound: Path) -> None:
    interrupted(holed, {"a": Spy(), "b": Spy(), who: stop_at(call)}, METRICS, keep_maps=True)
    shutil.rmtree(holed / "maps")  # what is measured again is explained again
    a = Spy()
    found = measured(holed, {"a": a, "b": Spy()}, METRICS, keep_maps=True)
    assert found.failures == []
    assert bytes_of(holed) == bytes_of(sound)
    if who == "b":
        assert a.indices == ([6, 7, 8] if call == 1 else [])


def test_an_image_that_is_mended_before_the_run_has_ended(tmp_path: Path, sound: Path) -> None:
    interrupted(tmp_path / "run", {"a": Spy(), "b": stop_at(3)}, METRICS, Toys(broken=(1, 4)))
    a = Spy()
    found = measured(tmp_path / "run", {"a": a, "b": Spy()}, METRICS, Toys(broken=(4,)))
    assert [f.index for f in found.failures] == [4]
    assert a.indices == [0, 1, 2, 9, 10]
    found = measured(tmp_path / "run", {"a": Spy(), "b": Spy()}, METRICS)
    assert found.failures == []
    assert bytes_of(tmp_path / "run") == bytes_of(sound)


def test_a_mended_image_that_is_not_asked_for_is_no_failure(tmp_path: Path) -> None:
    right = {i for i, c in enumerate(measured(None, {"a": Spy()}).images["correct"]) if c}
    other = next(i for i in range(N) if i not in right)
    measured(tmp_path / "run", {"a": Spy()}, data=Toys(broken=(other,)), only="correct")
    idle = Spy()
    found = measured(tmp_path / "run", {"a": idle}, only="correct")
    assert (found.failures, idle.calls) == ([], 0)
    assert set(found.frame["index"]) == right
    assert len(found.images) == N


@pytest.mark.parametrize("table", [False, True], ids=["folder", "csv"])
def test_a_picture_that_is_mended_on_disk(table: bool, tmp_path: Path, capfd: Capture) -> None:
    """Its file has another size now; another file must not."""
    data, out = tmp_path / "pictures", tmp_path / "run"
    data.mkdir()
    batch = Shapes(n=5, size=64).batch(range(5))
    for i, image in enumerate(batch.images):
        save_image(image, data / f"{i}.png")
    if table:
        assert batch.labels is not None
        lines = ["file,index", *(f"{i}.png,{label}" for i, label in enumerate(batch.labels.tolist()))]
        (data / "labels.csv").write_text("\n".join(lines) + "\n")
    whole = (data / "2.png").read_bytes()
    (data / "2.png").write_bytes(whole[:400])
    command = [
        "evaluate",
        "--model",
        "shapes",
        "--data",
        data,
        "--metric",
        "complexity",
        "--batch-size",
        "2",
        "--quiet",
        "--metric",
        "complexity",
    ]
    result = run(capfd, *command, "--out", out)
    assert (result.status, "reading failed on 1 image: 2.png" in result.err) == (0, True)
    shutil.copytree(out, tmp_path / "copy")
    (data / "2.png").write_bytes(whole)
    result = run(capfd, *command, "--out", out)
    assert (result.status, result.err) == (0, "")
    assert open_run(out).manifest.failures == []
    assert run(capfd, *command, "--out", tmp_path / "whole").status == 0
    assert bytes_of(out) == bytes_of(tmp_path / "whole")
    assert open_run(out).manifest.asked == open_run(tmp_path / "whole").manifest.asked
    assert run(capfd, *command, "--out", out) == (0, result.out, "")
    if table:
        (data / "labels.csv").write_text("\n".join([*lines[:-1], "4.png,0" if lines[-1] != "4.png,0" else "4.png,1"]))
    else:
        save_image(batch.images[0], data / "4.png")
    for folder in (out, tmp_path / "changed"):  # another file has changed: its batch is measured again
        result = run(capfd, *command, "--out", folder)
        assert (result.status, result.err) == (0, "")
    assert bytes_of(out) == bytes_of(tmp_path / "changed")


def test_a_changed_picture_costs_its_batch_and_no_other(tmp_path: Path) -> None:
    out, sizes = tmp_path / "run", [7] * N
    measured(out, {"a": Spy(), "b": Spy()}, METRICS, Toys(sizes=sizes))
    changed, a = Toys(sizes=[*sizes[:4], 8, *sizes[5:]]), Spy()
    found = measured(out, {"a": a}, METRICS, changed)
    assert a.indices == [3, 4, 5]
    assert counts(found) == {("a", m): N for m in METRICS} | {("b", m): N - 3 for m in METRICS}, "b has old pictures there"
    b = Spy()
    found = measured(out, {"a": a, "b": b}, METRICS, changed)
    assert (a.indices, b.indices) == ([3, 4, 5], [3, 4, 5])
    measured(tmp_path / "whole", {"a": Spy(), "b": Spy()}, METRICS, changed)
    assert bytes_of(out) == bytes_of(tmp_path / "whole")


# -- kills at the end -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("added", [False, True], ids=["new folder", "added to"])
def test_a_kill_between_the_tables_and_the_manifest(added: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, names = tmp_path / "run", ["complexity", "sparseness"]
    if added:
        measured(out, {"a": Spy()}, names[:1])

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    writes = Manifest.write
    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "write", lambda self, folder: killed() if self.complete else writes(self, folder))
        interrupted(out, {"a": Spy()}, names)
    assert (out / "scores.parquet").exists()
    with pytest.raises(SeewhyError, match="is not finished"):
        open_run(out)
    a = Spy()
    found = measured(out, {"a": a}, names)
    assert a.calls == 0
    assert counts(found) == {("a", name): N for name in names}
    measured(tmp_path / "whole", {"a": Spy()}, names)
    assert bytes_of(out) == bytes_of(tmp_path / "whole")
