"""Pictures that could not be read and now can, and pictures that have changed."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from support.command import run
from support.toys import METRICS, Capture, N, Spy, Toys, bytes_of, counts, interrupted, measured, stop_at
from torchvision.utils import save_image

from seewhy.data import Shapes
from seewhy.evaluation.run import open_run


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
    monkeypatch.setattr("seewhy.evaluation.failures.MAX_FAILURES", 3)
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
