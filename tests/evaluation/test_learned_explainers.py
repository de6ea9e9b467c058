"""Learned explainers in an evaluation: called by the folder, and another one after another training."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.learned_methods import register_two
from support.tiny_models import cnn, tiny

import seewhy
from seewhy.classifier.classifier import Classifier
from seewhy.data.shapes.shapes import Shapes
from seewhy.errors import SeewhyError
from seewhy.explainers import EXPLAINERS, explainer
from seewhy.explainers.learned.folder import save_explainer

SHAPES = Shapes(n=3, size=32)


def six_classes() -> Classifier:
    return replace(tiny(cnn(k=6)), classes=Shapes.classes)


@pytest.fixture(autouse=True)
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EXPLAINERS, "_entries", dict(EXPLAINERS._entries))
    register_two()


def train(folder: Path, seed: int) -> str:
    method: Any = explainer("weighed", six_classes())
    return str(save_explainer(method.untrained(seed), folder))


def test_a_folder_is_evaluated_under_its_name_and_a_retrained_one_is_another_question(tmp_path: Path) -> None:
    classifier, out = six_classes(), tmp_path / "run"
    names = [train(tmp_path / "masks", 0), "grad_cam"]
    found = seewhy.evaluate(classifier, names, ["sparseness"], SHAPES, out=out)
    assert list(found.table()) == ["masks", "grad_cam"]
    about = seewhy.open_run(out).manifest.explainers["masks"]
    assert (about.method, about.family) == ("weighed", "learned")
    assert about.options["batch_size"] == 32
    kind, digest = about.options["network"].split()
    assert kind == "OneLayer"
    assert len(digest) == 16
    again = seewhy.evaluate(classifier, names, ["sparseness"], SHAPES, out=out)
    assert again.table() == found.table()
    train(tmp_path / "masks", 1)
    with pytest.raises(SeewhyError, match="has masks with other options: give another folder, or masks another name"):
        seewhy.evaluate(classifier, names, ["sparseness"], SHAPES, out=out)


def test_an_untrained_one_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(SeewhyError, match="weighed is learned, and not trained for this network: seewhy fit weighed"):
        seewhy.evaluate(six_classes(), ["weighed"], ["sparseness"], SHAPES, out=tmp_path / "run")
