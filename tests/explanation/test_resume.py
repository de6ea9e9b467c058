"""An interrupted ``seewhy explain`` goes on where it was, and a map that was kept answers its own question alone."""

import signal
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.command import run
from support.tiny_models import TINY
from torch import Tensor, nn

from seewhy.classifier.classifier import Classifier
from seewhy.explainers import Explainer, Random, explainer
from seewhy.explainers.base import maps_and_errors
from seewhy.explainers.learned.learned_explainer import LearnedExplainer
from seewhy.explanation.resume import FOLDER, resumable

Capture = pytest.CaptureFixture[str]
EXPLAIN = ["explain", "pictures", "--model", "factories:small", "--target", "top:2", "--explainer", "grad_cam"]
EXPLAIN += ["--explainer", "random", "--explainer", "lime", "--option", "samples=4", "--out"]


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pictures").mkdir()
    for i, name in enumerate(("cat.png", "dog.png", "elk.png", "fox.png")):
        pixels = np.random.default_rng(i).integers(0, 255, (24, 30, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / name)
    return tmp_path


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A number for each call of ``random``; Ctrl-C is pressed at those that are 3."""
    true, calls = Random.explain, list[int]()

    def counted(self: Random, images: Tensor, targets: Tensor) -> Tensor:
        calls.append(len(calls))
        if calls[-1] == 3:
            signal.raise_signal(signal.SIGINT)
        return true(self, images, targets)

    monkeypatch.setattr(Random, "explain", counted)
    return calls


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_only_what_is_missing_is_made(work: Path, capfd: Capture, calls: list[int]) -> None:
    result = run(capfd, *EXPLAIN, "run")
    assert (result.status, result.err) == (130, "seewhy: stopped; the same command goes on in run\n")
    assert names(work / "run") == [FOLDER]
    torn = next(file for file in (work / "run" / FOLDER).glob("lime-*/*.npz"))
    torn.write_bytes(torn.read_bytes()[:200])
    assert run(capfd, *EXPLAIN, "run").status == 0
    assert len(calls) == 5, "three before Ctrl-C, the one that it hit, and that one again"
    assert run(capfd, *EXPLAIN, "whole").status == 0
    assert len(calls) == 9, "what is finished is asked anew"
    assert names(work / "run") == names(work / "whole")
    for file in (work / "whole").glob("*.npy"):
        assert np.array_equal(np.load(file), np.load(work / "run" / file.name)), file.name


def test_maps_are_kept_where_the_result_cannot_be_written(work: Path, capfd: Capture, calls: list[int]) -> None:
    calls.extend([0] * 4)
    (work / "run" / "manifest.json").mkdir(parents=True)
    result = run(capfd, *EXPLAIN, "run")
    assert (result.status, result.err) == (2, "seewhy: cannot write to run: manifest.json in it is a folder\n")
    (work / "run" / "manifest.json").rmdir()
    assert run(capfd, *EXPLAIN, "run").status == 0
    assert len(calls) == 4 + 4


def changed(classifier: Classifier) -> Classifier:
    with torch.no_grad():
        next(m for m in classifier.module.modules() if isinstance(m, nn.Linear)).bias[0] += 1
    return classifier


def ask(folder: Path, classifier: Classifier, method: Explainer, images: Tensor, target: int = 1) -> Tensor:
    """One map, in a block that does not end well, so that it is kept."""
    with suppress(KeyError), resumable(folder, classifier, {"it": method}) as kept:
        found = kept["it"].explain(images, torch.tensor([target]))
        raise KeyError
    return found


def test_another_question_is_answered_anew(tmp_path: Path, calls: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    calls.extend([0] * 4)
    small, image = TINY["cnn"](), torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    random = explainer("random", small)
    first = ask(tmp_path, small, random, image)
    assert torch.equal(first, ask(tmp_path, TINY["cnn"](), random, image.clone()))
    assert len(calls) == 5, "the same question"
    ask(tmp_path, small, random, image, target=2)
    ask(tmp_path, small, random, image + 1e-6)
    ask(tmp_path, small, random, image.double())
    ask(tmp_path, small, explainer("random", small, seed=1), image)
    ask(tmp_path, changed(TINY["cnn"]()), random, image)
    assert len(calls) == 5 + 5
    monkeypatch.setattr("seewhy.explanation.resume.environment", lambda: "another version")
    ask(tmp_path, small, random, image)
    assert len(calls) == 5 + 6


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_maps_come_back_as_they_were(dtype: torch.dtype, tmp_path: Path) -> None:
    small, image = TINY["cnn"](), torch.rand(1, 3, 16, 16).to(dtype)
    random = explainer("random", small)
    made, found = (ask(tmp_path, small, random, image) for _ in range(2))
    assert found.dtype == dtype
    assert torch.equal(made, found)


def test_errors_are_kept_with_their_map(tmp_path: Path) -> None:
    """They are written by the command, and found again as they were made; so is that there are none."""
    classifier, images = TINY["vit"](), torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    classes = torch.tensor([0, 2])
    method = explainer("permutation_shapley", classifier, players="patches", size=4, samples=64)
    plain = explainer("salvage", classifier)
    assert isinstance(plain, LearnedExplainer)
    methods: dict[str, Explainer] = {"sampled": method, "plain": plain.untrained()}
    found = []
    with suppress(KeyError), resumable(tmp_path, classifier, methods) as kept:  # an interruption leaves what was made
        for one in kept.values():
            found.append(maps_and_errors(one, images, classes))
        raise KeyError
    maps, errors = maps_and_errors(method, images, classes)
    assert errors is not None
    with resumable(tmp_path, classifier, methods) as kept:
        again = [maps_and_errors(one, images, classes) for one in kept.values()]
    for (first, its), (second, others) in zip(found, again, strict=True):
        assert torch.equal(first, second)
        assert (its is None) == (others is None)
    assert torch.equal(found[0][0], maps)
    assert found[0][1] is not None
    assert torch.equal(found[0][1], errors)
    assert again[0][1] is not None
    assert torch.equal(again[0][1], errors)
    assert found[1][1] is None
