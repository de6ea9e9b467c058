"""What makes two evaluations comparable, and a run of another question."""

from pathlib import Path
from typing import Any

import pytest
from support.evaluations import CNN, METRICS, Pictures, measured
from support.tiny_models import TINY

from seewhy.errors import SeewhyError
from seewhy.evaluation.evaluate import evaluate
from seewhy.evaluation.manifest import Identity
from seewhy.explainers import explainer


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seed": 1}, r"another question \(seed is 0 there and 1 now\): give another folder"),
        ({"batch_size": 4}, r"batch_size is 3 there and 4 now"),
        ({"target": "second"}, r"target is predicted there and second now"),
        ({"limit": 5}, "has 11 images, and a run folder only grows: give limit 11, or another folder for 5"),
        ({"methods": {"grad_cam": explainer("grad_cam", CNN, layer="0")}}, "has grad_cam with other options: give another"),
        ({"classifier": TINY["cnn_multilabel"]()}, r"\(classifier's multilabel is False there and True now\)"),
    ],
)
def test_a_run_of_another_question_is_refused_and_left_alone(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    measured(tmp_path / "run")
    before = {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()}
    asked = {"metrics": METRICS, **change}
    classifier, methods = asked.pop("classifier", CNN), asked.pop("methods", ["grad_cam"])
    with pytest.raises(SeewhyError, match=says):
        evaluate(classifier, methods, asked.pop("metrics"), Pictures(), out=tmp_path / "run", **{"batch_size": 3, **asked})
    assert {p: p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file()} == before


def test_an_entry_that_is_missing_differs_from_one_that_is_null() -> None:
    with_null, without = Identity(classifier={"resize": None}), Identity(classifier={"rezise": None})
    assert with_null.difference(without) == "classifier's resize is None there and nothing now"
    assert without.difference(with_null) == "classifier's rezise is None there and nothing now"
    assert with_null.difference(Identity(classifier={"resize": None})) is None
