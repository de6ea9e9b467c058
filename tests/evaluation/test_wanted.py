"""Wanted minus there: limits, and maps of the images that a metric wants."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.toys import MANY_LABELS, SEVERAL, Corner, N, Spy, Toys, bytes_of, counts, few, interrupted, measured, stop_at

from seewhy.errors import SeewhyError
from seewhy.evaluation.manifest import Manifest
from seewhy.evaluation.plan import batch_key
from seewhy.evaluation.run import open_run


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
