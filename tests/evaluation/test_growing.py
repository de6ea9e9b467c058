"""A run folder grows by a larger limit, to the bit as if the larger limit had been given at once."""

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from support.command import run
from support.evaluations import CNN, Pictures, Watched, bytes_of, measured
from support.picture_folders import paint

import seewhy
from seewhy.data import Shapes
from seewhy.errors import SeewhyError
from seewhy.evaluation.evaluate import evaluate
from seewhy.evaluation.plan import Plan, growing_order
from seewhy.evaluation.run import open_run
from seewhy.explainers import explainer

N = 20


def grown(
    out: Path, limit: int | None, explain: Any = None, names: tuple[str, ...] = ("watched", "grad_cam"), **asked: Any
) -> int:
    """An evaluation of some of twenty pictures, in batches of three; how many were explained by the watched method."""
    watched = Watched() if explain is None else explain
    methods = {name: watched if name == "watched" else explainer(name, CNN) for name in names}
    metrics = asked.pop("metrics", ["complexity", "average_drop"])
    measured(out, Pictures(n=N), methods, metrics, limit=limit, **asked)
    return sum(watched.asked)


@pytest.mark.parametrize(("few", "again"), [(6, 0), (8, 2)])
def test_it_equals_a_fresh_run_and_measures_only_what_it_adds(few: int, again: int, tmp_path: Path) -> None:
    """A last batch that was not full is measured anew, since a batch of three rounds otherwise than one of two."""
    assert grown(tmp_path / "run", few) == few
    before = open_run(tmp_path / "run").scores
    assert grown(tmp_path / "run", 16) == 16 - few + again
    assert grown(tmp_path / "fresh", 16) == 16
    assert bytes_of(tmp_path / "run") == bytes_of(tmp_path / "fresh")
    after = open_run(tmp_path / "run")
    assert set(before["index"]) < set(after.scores["index"])
    assert (after.manifest.images, after.manifest.grown) == (16, [few])
    assert grown(tmp_path / "run", 16) == 0
    assert grown(tmp_path / "run", N) == 4 + 1
    assert grown(tmp_path / "all", N) == N
    assert bytes_of(tmp_path / "run") == bytes_of(tmp_path / "all")


def test_curves_grow_too(tmp_path: Path) -> None:
    for out, limit in (("run", 4), ("run", 7), ("fresh", 7)):
        grown(tmp_path / out, limit, names=("watched",), metrics=["deletion"])
    assert bytes_of(tmp_path / "run") == bytes_of(tmp_path / "fresh")
    assert open_run(tmp_path / "run").curves.height == 7


def test_killed_in_between_it_goes_on(tmp_path: Path) -> None:
    grown(tmp_path / "run", 7)

    def stop(images: Any) -> None:
        if len(stopped.asked) == 2:
            raise KeyboardInterrupt

    stopped = Watched(fails=stop)
    with pytest.raises(KeyboardInterrupt):
        grown(tmp_path / "run", 16, stopped)
    with pytest.raises(SeewhyError, match="is not finished"):
        open_run(tmp_path / "run")
    assert grown(tmp_path / "run", 16) == 16 - 7 + 1 - 3, "one batch was done before"
    grown(tmp_path / "fresh", 16)
    assert bytes_of(tmp_path / "run") == bytes_of(tmp_path / "fresh")


def test_what_is_not_asked_for_again_stays_in_the_tables(tmp_path: Path) -> None:
    """An explainer that only the smaller run had keeps all of its images, also those of the last batch."""
    out = tmp_path / "run"
    grown(out, 8)
    before = open_run(out).scores.filter(explainer="grad_cam")
    grown(out, 16, names=("watched",))
    after = open_run(out)
    assert after.scores.filter(explainer="grad_cam").equals(before)
    assert after.scores.filter(explainer="watched")["index"].n_unique() == 16
    grown(out, 18, names=("watched",))
    assert open_run(out).scores.filter(explainer="grad_cam").equals(before)
    grown(out, 18)
    grown(tmp_path / "fresh", 18)
    assert bytes_of(out) == bytes_of(tmp_path / "fresh")


def test_a_limit_of_one_method_takes_the_same_images_of_any_run(tmp_path: Path) -> None:
    limits = {"watched": 5, "average_drop": 8}
    grown(tmp_path / "run", 9, limits=limits)
    grown(tmp_path / "run", 17, limits=limits)
    grown(tmp_path / "fresh", 17, limits=limits)
    assert bytes_of(tmp_path / "run") == bytes_of(tmp_path / "fresh")
    few = open_run(tmp_path / "run").scores.filter(explainer="watched", metric="complexity")["index"]
    assert set(few) == set(growing_order(Pictures(n=N))[:5])


def test_a_folder_does_not_shrink_and_says_how_it_grows(tmp_path: Path) -> None:
    out = tmp_path / "run"
    grown(out, 10)
    before = bytes_of(out)
    with pytest.raises(
        SeewhyError, match="has 10 images, and a run folder only grows: give limit 10, or another folder for 4"
    ):
        grown(out, 4)
    with pytest.raises(SeewhyError, match=f"has 10 of these {N} images: give limit {N} to add the others"):
        grown(out, None)
    for changed in ({"seed": 1}, {"target": "label"}, {"batch_size": 4}):
        with pytest.raises(SeewhyError, match="a run of another question"):
            grown(out, 15, **changed)
    other = Pictures(n=N + 12)  # other images come first in it
    with pytest.raises(SeewhyError, match=r"another question \(images"):
        measured(out, other, {"watched": Watched()}, ["complexity", "average_drop"], limit=15)
    assert bytes_of(out) == before


def test_a_changed_picture_is_measured_again(tmp_path: Path) -> None:
    class Changed(Pictures):
        def digest(self, indices: Any) -> str:
            return super().digest(indices) + (" changed" if 0 in indices else "")

    Changed.__name__ = "Pictures"  # the dataset is the same, and one of its files has changed
    methods = {"watched": Watched()}
    measured(tmp_path / "run", Pictures(n=N), methods, ["complexity"], limit=6)
    again = Watched()
    measured(tmp_path / "run", Changed(n=N), {"watched": again}, ["complexity"], limit=9)
    assert again.asked == [3, 3], "the batch of the first picture, and the new one"


def test_metrics_that_put_images_of_a_run_beside_each_other_do_not_grow(tmp_path: Path) -> None:
    shapes = seewhy.load("shapes")

    def asked(limit: int, *metrics: str) -> None:
        evaluate(shapes, ["center"], metrics, Shapes(n=limit), out=tmp_path / "run", batch_size=4)

    asked(8, "complexity")
    asked(12, "complexity", "grid_pointing_game")
    asked(12, "complexity")
    with pytest.raises(SeewhyError, match="has 12 images, and grid_pointing_game puts images of a run beside each other"):
        asked(15, "complexity")


def test_the_images_of_a_limit_are_spread_and_nested() -> None:
    for n in (1, 5, 64, 300):
        order = growing_order(Pictures(n=n))
        assert sorted(order) == list(range(n))
        for few in (4, 10, 50):
            if few < n / 2:
                assert max(b - a for a, b in zip(sorted(order[:few]), sorted(order[:few])[1:], strict=False)) <= 4 * n / few
    assert growing_order(Shapes(n=7)) == list(range(7)), "its first pictures are those of a smaller one"
    plans = [Plan(Pictures(n=N), growing_order(Pictures(n=N))[:n], 3, ["a"], ["b"], {}, ordered=True) for n in (8, 16)]
    assert [b.key for b in plans[0].batches[:2]] == [b.key for b in plans[1].batches[:2]]


@pytest.mark.parametrize("data", ["shapes", "photos"])
def test_the_command(data: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    if data == "photos":
        Path("photos").mkdir()
        for i in range(12):
            paint(Path("photos") / f"{i:02}.png")
    base = f"evaluate --model shapes --data {data} --explainer saliency --metric complexity --batch-size 2"
    for out, limit in (("run", 4), ("run", 9), ("fresh", 9)):
        assert run(capfd, *base.split(), "--limit", limit, "--out", out).status == 0
    assert bytes_of(Path("run")) == bytes_of(Path("fresh"))
    assert pl.read_parquet("run/images.parquet").height == 9
    result = run(capfd, *base.split(), "--limit", 3, "--out", "run")
    assert result.status == 2
    assert "run has 9 images, and a run folder only grows" in result.err
