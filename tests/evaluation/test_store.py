"""Units on disk: nothing done twice, nothing lost, nothing spoiled, whatever happens in between."""

import random
import resource
import shutil
import signal
import time
from pathlib import Path

import pytest
from filelock import FileLock
from support.evaluations import CNN, METRICS, SCRIPT, N, Pictures, Watched, bytes_of, measured, process
from torch import Tensor

from seewhy.errors import SeewhyError
from seewhy.evaluation.evaluate import evaluate
from seewhy.evaluation.run import open_run
from seewhy.explainers import explainer


def test_explainers_can_be_added_later(tmp_path: Path) -> None:
    measured(tmp_path / "run", methods={"watched": Watched()})
    old = Watched()
    measured(tmp_path / "run", methods={"watched": old, "grad_cam": explainer("grad_cam", CNN)})
    measured(tmp_path / "other")
    assert old.asked == []
    assert bytes_of(tmp_path / "run") == bytes_of(tmp_path / "other")


def test_a_resumed_run_repeats_nothing_that_is_done_and_ends_with_the_same_files(tmp_path: Path) -> None:
    def stop(images: Tensor) -> None:
        if len(before.asked) == 3:
            raise KeyboardInterrupt

    before, after = Watched(fails=stop), Watched()
    with pytest.raises(KeyboardInterrupt):
        evaluate(CNN, {"mine": before}, METRICS, Pictures(), out=tmp_path / "run", batch_size=3)
    with pytest.raises(SeewhyError, match="is not finished: give its seewhy evaluate command again"):
        open_run(tmp_path / "run")
    data = Pictures()
    evaluate(CNN, {"mine": after}, METRICS, data, out=tmp_path / "run", batch_size=3)
    assert after.asked == [3, 2]
    assert data.read == [6, 7, 8, 9, 10]
    evaluate(CNN, {"mine": Watched()}, METRICS, Pictures(), out=tmp_path / "whole", batch_size=3)
    assert bytes_of(tmp_path / "run") == bytes_of(tmp_path / "whole")


def names_of_pictures(folder: Path) -> set[str]:
    return {p.name for p in (folder / "pictures").iterdir() if not p.name.startswith(".")}


def test_kills_change_nothing(tmp_path: Path) -> None:
    """SIGKILL at random moments, resume, compare: every file is the same to the last byte."""
    out, moments = tmp_path / "run", random.Random(0)
    for _ in range(3):
        with process(SCRIPT, out) as started:
            time.sleep(moments.uniform(0.05, 0.9))
            started.kill()
    there = len(list(out.glob("units/*/*.parquet")))
    for folder in (out, tmp_path / "whole"):
        with process(SCRIPT, folder) as started:
            assert started.communicate()[1] == ""
    assert there < len(list(out.glob("units/*/*.parquet"))) == 3 * 14
    assert bytes_of(out) == bytes_of(tmp_path / "whole")
    assert names_of_pictures(out) == names_of_pictures(tmp_path / "whole")


def test_a_damaged_unit_is_named_and_without_it_nothing_else_is_lost(tmp_path: Path) -> None:
    methods = {"watched": Watched()}
    measured(tmp_path / "whole", methods=methods)
    unit = next((tmp_path / "whole" / "units").glob("*/watched.*.parquet"))
    for content in (b"", unit.read_bytes()[:-9], b"PAR1" + bytes(200)):
        out = tmp_path / f"damaged {len(content)}"
        shutil.copytree(tmp_path / "whole", out)
        damaged = out / unit.relative_to(tmp_path / "whole")
        damaged.write_bytes(content)
        with pytest.raises(SeewhyError, match=r"watched.* cannot be read .*: delete it, its work is done") as error:
            measured(out, methods=methods)
        assert "\n" not in str(error.value)
        damaged.unlink()
        again = Watched()
        measured(out, methods={"watched": again})
        assert len(again.asked) == 1
        assert bytes_of(out) == bytes_of(tmp_path / "whole")


def test_nothing_is_left_of_a_run_that_could_not_begin(tmp_path: Path) -> None:
    with pytest.raises(SeewhyError, match="adcc needs the explainer itself"):
        measured(tmp_path / "deep" / "run", metrics=["adcc"], target="present")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    with pytest.raises(SeewhyError):
        measured(tmp_path / "mine", Pictures(n=3, broken=(0, 1, 2)))
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_two_evaluations_at_once_do_no_harm(tmp_path: Path) -> None:
    """Each asks for a metric and an explainer that the other has not, and both for one of each."""
    both = '"slow": Watched(wait=0.05), "grad_cam": explainer("grad_cam", CNN)'
    other = SCRIPT.replace(both, '"slow": Watched(wait=0.05)')
    other = other.replace(", METRICS, Pic", ', ["complexity", "sparseness"], Pic')
    with process(SCRIPT, tmp_path / "run") as one, process(other, tmp_path / "run") as two:
        assert [one.communicate()[1], two.communicate()[1]] == ["", ""]
    with process(other, tmp_path / "run") as last:
        assert last.communicate()[1] == ""
    for code in (SCRIPT, other):
        with process(code, tmp_path / "whole") as alone:
            assert alone.communicate()[1] == ""
    counts = [open_run(tmp_path / name).scores.group_by("explainer", "metric").len() for name in ("run", "whole")]
    assert sorted(counts[0].rows()) == sorted(counts[1].rows())
    key = ["index", "explained", "explainer", "metric"]
    run, whole = (open_run(tmp_path / name).scores.sort(key) for name in ("run", "whole"))
    assert run.equals(whole)


def test_a_folder_that_is_being_finished_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured(tmp_path / "run")
    monkeypatch.setattr("seewhy.evaluation.store.LOCK_SECONDS", 0.1)
    with FileLock(tmp_path / "run" / "units" / ".lock"), pytest.raises(SeewhyError, match="another process has locked"):
        measured(tmp_path / "run")
    measured(tmp_path / "run")


def test_what_an_interrupted_run_was_asked_need_not_be_asked_again(tmp_path: Path) -> None:
    def stop(images: Tensor) -> None:
        raise KeyboardInterrupt

    methods = {"random": explainer("random", CNN), "watched": Watched(fails=stop)}
    with pytest.raises(KeyboardInterrupt):
        measured(tmp_path / "run", methods=methods)
    measured(tmp_path / "run", methods={"watched": Watched()}, metrics=["complexity"])
    there = {(e, m): n for e, m, n in open_run(tmp_path / "run").scores.group_by("explainer", "metric").len().iter_rows()}
    assert there == {**{("random", m): 3 for m in METRICS}, ("watched", "complexity"): N}
    methods = {"random": explainer("random", CNN), "watched": Watched()}
    measured(tmp_path / "run", methods=methods)
    measured(tmp_path / "whole", methods=methods)
    assert bytes_of(tmp_path / "run") == bytes_of(tmp_path / "whole")


def test_a_full_disk_keeps_what_was_done(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: the write of the largest unit fails half way."""
    measured(tmp_path / "whole", pictures=0)
    sizes = [file.stat().st_size for file in (tmp_path / "whole" / "units").glob("*/[wg]*.parquet")]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for limit in (min(sizes) - 1, max(sizes) - 1):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(SeewhyError, match=r"^cannot write to ") as error:
                measured(tmp_path / "run", pictures=0)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert "\n" not in str(error.value)
        assert not list(tmp_path.rglob("*.part"))
        assert len(list((tmp_path / "run" / "units").glob("*/[wg]*.parquet"))) < len(sizes)
    signal.signal(signal.SIGXFSZ, handler)
    kept, watched = list((tmp_path / "run" / "units").glob("*/watched*.parquet")), Watched()
    assert kept
    measured(tmp_path / "run", methods={"watched": watched, "grad_cam": explainer("grad_cam", CNN)}, pictures=0)
    assert len(watched.asked) == 4 - len(kept)
    assert bytes_of(tmp_path / "run") == bytes_of(tmp_path / "whole")


@pytest.mark.parametrize("name", ["../evil", "/evil", "..", "", "a\\b", "a\nb"])
def test_a_name_cannot_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(SeewhyError, match="an explainer cannot be called"):
        measured(tmp_path / "run", methods={name: Watched()}, keep_maps=True)
    assert list(tmp_path.iterdir()) == []
