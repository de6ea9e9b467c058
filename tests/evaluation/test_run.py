"""What a finished run folder holds, and how it is read."""

import json
from pathlib import Path

import numpy as np
import pytest
from support.evaluations import CURVED, METRICS, N, measured

from seewhy.errors import SeewhyError
from seewhy.evaluation.run import open_run


def test_a_run_folder_says_what_was_found_and_how(tmp_path: Path) -> None:
    found = measured(tmp_path / "a" / "run", seed=3, details={"model": "tiny"})
    there = open_run(tmp_path / "a" / "run")
    assert there.scores.equals(found.frame)
    assert there.scores.rows() == [row for i in range(N) for row in found.frame.rows() if row[0] == i]
    assert len(there.scores) == N * 2 * 3
    assert there.scores["metric"].to_list()[:6] == METRICS * 2
    assert there.images["correct"].to_list() == [int(p) == i % 5 for i, p in enumerate(there.images["predicted"].to_list())]
    assert there.images["labels"].to_list() == [[i % 5] for i in range(N)]
    assert there.manifest.asked.seed == 3
    assert there.manifest.details["model"] == "tiny"
    assert there.manifest.images == N
    assert set(there.manifest.seconds.metrics) == set(METRICS)
    assert set(there.manifest.seconds.explainers) == {"watched", "grad_cam"}
    assert there.manifest.metrics["deletion"].axes == ["share of pixels removed, highest first", "probability"]
    assert sorted(p.name for p in (tmp_path / "a" / "run").iterdir()) == [
        "curves.parquet",
        "images.parquet",
        "manifest.json",
        "pictures",
        "scores.parquet",
        "units",
    ]


def test_curves_lead_to_their_scores(tmp_path: Path) -> None:
    """The area under a recorded curve is the metric, up to the steps that it is recorded with."""
    measured(tmp_path / "run", metrics=CURVED)
    there = open_run(tmp_path / "run")
    scores = {(row["index"], row["explainer"], row["metric"]): row["value"] for row in there.scores.iter_rows(named=True)}
    assert len(there.curves) == len(scores)
    for row in there.curves.iter_rows(named=True):
        places, name = there.manifest.curves[row["metric"]], row["metric"]
        assert len(places) == len(row["values"])
        mean = np.mean(row["values"]) if name == "road" else np.trapezoid(row["values"], places)
        tolerance = 1e-6 if name in ("road", "black_deletion", "white_deletion") else 0.05
        assert mean == pytest.approx(scores[row["index"], row["explainer"], name], abs=tolerance)


def test_another_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    measured(tmp_path / "run")
    manifest = tmp_path / "run" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "schema": 7}))
    for call in (lambda: measured(tmp_path / "run"), lambda: open_run(tmp_path / "run")):
        with pytest.raises(SeewhyError, match=r"written by another version or command \(schema 7, this version reads 3\)"):
            call()
    manifest.write_text("{")
    with pytest.raises(SeewhyError, match=r"manifest.json cannot be read .*: give another folder"):
        measured(tmp_path / "run")
    assert manifest.read_text() == "{"


@pytest.mark.parametrize("name", ["run[1]", "run*", "run {a,b}", "run\x1b[2J"])
def test_a_folder_with_any_name_goes_on_and_is_read(name: str, tmp_path: Path) -> None:
    """Nothing in the name of a folder is a pattern."""
    first = measured(tmp_path / name)
    assert measured(tmp_path / name).frame.equals(first.frame)
    assert open_run(tmp_path / name).scores.equals(first.frame)
