"""What evaluation leaves on disk: nothing done twice, nothing lost, nothing spoiled, whatever happens in between."""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from filelock import FileLock
from support.command import run
from support.evaluations import CURVED, METRICS, N, Pictures, Watched
from support.tiny_models import TINY
from torch import Tensor

from seewhy.classifier.classifier import Classifier
from seewhy.data import Folder, Shapes
from seewhy.errors import SeewhyError
from seewhy.evaluation.evaluate import Evaluation, evaluate
from seewhy.evaluation.plan import spread_order
from seewhy.evaluation.run import open_run
from seewhy.explainers import explainer
from seewhy.metrics import Case


def measured(
    out: Path | None, dataset: Any = None, methods: Any = None, metrics: Any = METRICS, **options: Any
) -> Evaluation:
    methods = {"watched": Watched(), "grad_cam": explainer("grad_cam", CNN)} if methods is None else methods
    return evaluate(CNN, methods, metrics, dataset or Pictures(), out=out, **{"batch_size": 3, **options})


CNN: Classifier = TINY["cnn"]()


def bytes_of(folder: Path) -> list[bytes]:
    return [(folder / f"{name}.parquet").read_bytes() for name in ("scores", "curves", "images")]


# -- what is written ----------------------------------------------------------------------------------------------------


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


def test_pictures_and_small_maps_are_upright_and_signed(tmp_path: Path) -> None:
    class Corner(Watched):
        def explain(self, images: Tensor, targets: Tensor) -> Tensor:
            maps = torch.zeros(len(images), 16, 16)
            maps[:, :4, 8:] = 500.0
            maps[:, 12:, :2] = -250.0
            return maps

    evaluate(CNN, {"corner": Corner()}, ["complexity"], Pictures(), out=tmp_path / "run", batch_size=3, pictures=4)
    there = open_run(tmp_path / "run")
    kept = there.maps("corner")
    assert len(kept) == 4
    for (index, _), m in kept.items():
        assert there.has_picture(index)
        shown = torch.from_numpy(np.asarray(there.picture(index)) / 255).permute(2, 0, 1)
        seen = Pictures().batch([index]).images[0]
        assert (shown - seen).abs().mean() < 0.7 * (shown - seen.flip(1)).abs().mean()  # JPEG spoils noise
        assert (m[:4, 8:] == 1).all()
        assert (m[12:, :2] == -0.5).all()
        assert m[5:11].any() == np.False_


def test_kept_maps_are_read_instead_of_made_again(tmp_path: Path) -> None:
    first, second = Watched(), Watched()
    evaluate(CNN, {"mine": first}, ["complexity"], Pictures(), out=tmp_path / "run", batch_size=4, keep_maps=True)
    found = evaluate(CNN, {"mine": second}, ["deletion"], Pictures(), out=tmp_path / "run", batch_size=4)
    assert (len(first.asked), second.asked) == (3, [])
    alone = evaluate(CNN, {"mine": Watched()}, ["complexity", "deletion"], Pictures(), batch_size=4)
    assert found.frame.equals(alone.frame)
    there = {}
    for file in (tmp_path / "run" / "maps").glob("Watched-*/*.npz"):
        with np.load(file) as kept:
            there |= dict(zip(kept["index"].tolist(), kept["maps"], strict=True))
    assert sorted(there) == list(range(N))
    for index, found_map in there.items():
        assert np.array_equal(found_map, Pictures().batch([index]).images[0].mean(0).numpy())


def test_explainers_can_be_added_later(tmp_path: Path) -> None:
    measured(tmp_path / "run", methods={"watched": Watched()})
    old = Watched()
    measured(tmp_path / "run", methods={"watched": old, "grad_cam": explainer("grad_cam", CNN)})
    measured(tmp_path / "other")
    assert old.asked == []
    assert bytes_of(tmp_path / "run") == bytes_of(tmp_path / "other")


# -- interruption -------------------------------------------------------------------------------------------------------


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


SCRIPT = """
import sys, time
from pathlib import Path
import torch
from support.evaluations import METRICS, Pictures, Watched
from support.tiny_models import TINY
from seewhy.evaluation.evaluate import evaluate
from seewhy.explainers import explainer
CNN = TINY["cnn"]()
methods = {"slow": Watched(wait=0.05), "grad_cam": explainer("grad_cam", CNN)}
print("begun", flush=True)
evaluate(CNN, methods, METRICS, Pictures(n=40), out=Path(sys.argv[1]), batch_size=3)
"""


def process(code: str, *arguments: object) -> "subprocess.Popen[str]":
    """A Python process of its own, which has imported all that it needs when it says so."""
    tests = str(Path(__file__).parents[1])
    around = {**os.environ, "PYTHONPATH": os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=around)
    assert started.stdout is not None
    assert started.stdout.readline() == "begun\n"
    return started


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


def names_of_pictures(folder: Path) -> set[str]:
    return {p.name for p in (folder / "pictures").iterdir() if not p.name.startswith(".")}


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


@pytest.mark.parametrize("network", ["shapes/cnn", "shapes/vit"])
def test_two_processes_find_what_one_finds(tmp_path: Path, network: str, capfd: pytest.CaptureFixture[str]) -> None:
    arguments = (
        f"evaluate --model {network} --data shapes --limit 9 --batch-size 2 --metric relevance_mass --metric lif --quiet"
    )
    assert run(capfd, *arguments.split(), "--out", tmp_path / "one").status == 0
    script = tmp_path / "command.py"  # as the installed command: a file that Lightning can start again
    script.write_text("from seewhy.app.cli.main import main\nif __name__ == '__main__':\n    main()\n")
    command = [sys.executable, script, *arguments.split(), "--out", tmp_path / "two", "--devices", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert bytes_of(tmp_path / "one") == bytes_of(tmp_path / "two")
    assert open_run(tmp_path / "two").manifest.processes == 2


# -- images that fail ---------------------------------------------------------------------------------------------------


def test_an_image_that_cannot_be_read_is_left_out_and_said(tmp_path: Path) -> None:
    found = measured(tmp_path / "run", Pictures(broken=(4, 9)))
    assert [(f.index, f.image_id, f.explainer, f.metric, f.error) for f in found.failures] == [
        (4, "image 4", "", "", "image 4 is broken"),
        (9, "image 9", "", "", "image 9 is broken"),
    ]
    assert found.images["index"].to_list() == [0, 1, 2, 3, 5, 6, 7, 8, 10]
    assert open_run(tmp_path / "run").manifest.failures[1].image_id == "image 9"
    whole = measured(None).frame.filter(~pl_index(4, 9))
    assert found.frame.drop("value").equals(whole.drop("value"))
    np.testing.assert_allclose(found.frame["value"], whole["value"], atol=1e-5)


def pl_index(*indices: int) -> Any:
    import polars as pl

    return pl.col("index").is_in(indices)


def test_an_image_that_cannot_be_explained_costs_only_itself() -> None:
    bad = Pictures().batch([7]).images[0]

    def fails(images: Tensor) -> None:
        if any(torch.equal(image, bad) for image in images):
            raise RuntimeError("it does not converge")

    found = measured(None, methods={"mine": Watched(fails=fails), "random": explainer("random", CNN)})
    assert [(f.image_id, f.explainer, f.metric, f.error) for f in found.failures] == [
        ("image 7", "mine", "", "RuntimeError: it does not converge")
    ]
    assert found.image_ids("mine", "deletion") == [f"image {i}" for i in range(N) if i != 7]
    assert len(found.image_ids("random", "deletion")) == N


@dataclass(frozen=True)
class Picky:
    """A metric that fails on dark images."""

    family: ClassVar[Any] = "masking"
    higher_is_better: ClassVar[bool | None] = True
    range: ClassVar[tuple[float, float]] = (0, 1)
    needs: ClassVar[tuple[Any, ...]] = ()
    reads: ClassVar[str] = "none"
    target: ClassVar[Any] = "any"
    paper: ClassVar[str] = ""
    limit: float = 0.5

    def score(self, case: Case) -> Tensor:
        light = case.images.mean((1, 2, 3))
        if (light < self.limit).any():
            raise ZeroDivisionError("too dark")
        return light


def test_a_metric_that_fails_on_some_images_is_known_for_the_others() -> None:
    light = torch.stack([Pictures().batch([i]).images.mean() for i in range(N)])
    limit = float(light.sort().values[3:5].mean())
    found = measured(None, metrics={"picky": Picky(limit=limit), "complexity": __import__("seewhy").metric("complexity")})
    dark = {f"image {i}" for i in (light < limit).nonzero()[:, 0].tolist()}
    assert {f.image_id for f in found.failures} == dark
    assert {f.error for f in found.failures} == {"ZeroDivisionError: too dark"}
    assert set(found.image_ids("watched", "picky")) == {f"image {i}" for i in range(N)} - dark
    assert len(found.image_ids("watched", "complexity")) == N


def test_a_method_that_never_works_stops_the_run() -> None:
    with pytest.raises(SeewhyError, match="picky of watched failed on 16 images and worked on none; image 15: Zero"):
        measured(None, Pictures(n=40), metrics={"picky": Picky(limit=2.0)})
    with pytest.raises(SeewhyError, match="reading failed on 16 images and worked on none; image 15: image 15 is broken"):
        measured(None, Pictures(n=40, broken=tuple(range(40))))


def test_broken_pictures_of_a_folder_are_reported(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = Shapes(n=5, size=64)
    for i, image in enumerate(data.batch(range(5)).images):
        from torchvision.utils import save_image

        save_image(image, tmp_path / f"{i}.png")
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:400])
    out = tmp_path / "run"
    done = run(capfd, *f"evaluate --model shapes --data {tmp_path} --metric complexity --out {out}".split())
    assert done.status == 0
    assert "reading failed on 1 image: 2.png: " in done.err
    assert len(open_run(out).scores) == 4
    assert len(Folder(tmp_path, CNN.view)) == 5


# -- what must not be spoiled -------------------------------------------------------------------------------------------


def test_nothing_is_left_of_a_run_that_could_not_begin(tmp_path: Path) -> None:
    with pytest.raises(SeewhyError, match="adcc needs the explainer itself"):
        measured(tmp_path / "deep" / "run", metrics=["adcc"], target="present")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    with pytest.raises(SeewhyError):
        measured(tmp_path / "mine", Pictures(n=3, broken=(0, 1, 2)))
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"seed": 1}, r"another question \(seed is 0 there and 1 now\): give another folder"),
        ({"batch_size": 4}, r"batch_size is 3 there and 4 now"),
        ({"target": "second"}, r"target is predicted there and second now"),
        ({"limit": 5}, "images is 11 with the names"),
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
    """A limit on the size of files stands for the disk: the write of the tables fails half way."""
    measured(tmp_path / "whole", pictures=0)
    most = max(f.stat().st_size for f in (tmp_path / "whole" / "units").glob("*/*.parquet"))
    assert most + 500 < (tmp_path / "whole" / "scores.parquet").stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for limit, done in ((most // 2, 0), (most + 200, 2 * 4)):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(SeewhyError, match=r"^cannot write to ") as error:
                measured(tmp_path / "run", pictures=0)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert "\n" not in str(error.value)
        assert len(list((tmp_path / "run" / "units").glob("*/[wg]*.parquet"))) == done
        assert not list(tmp_path.rglob("*.part"))
    signal.signal(signal.SIGXFSZ, handler)
    watched = Watched()
    measured(tmp_path / "run", methods={"watched": watched, "grad_cam": explainer("grad_cam", CNN)}, pictures=0)
    assert watched.asked == []
    assert bytes_of(tmp_path / "run") == bytes_of(tmp_path / "whole")


# -- shares -------------------------------------------------------------------------------------------------------------


def test_shards_joined_are_what_one_process_finds(tmp_path: Path) -> None:
    one = measured(tmp_path / "one", limits={"deletion": 5})
    with pytest.raises(SeewhyError, match=r"lacks 8 units, of shard 1/1: run that"):
        measured(tmp_path / "run", join=True, limits={"deletion": 5})
    assert not (tmp_path / "run").exists()
    for i in (3, 1):
        part = measured(tmp_path / "run", shard=(i, 3), limits={"deletion": 5})
        assert 0 < len(part.frame) < len(one.frame)
        with pytest.raises(SeewhyError, match="is not finished"):
            open_run(tmp_path / "run")
    with pytest.raises(SeewhyError, match=r"lacks 2 units, of shard 2/3: run that, or give the command without join"):
        measured(tmp_path / "run", join=True, limits={"deletion": 5})
    measured(tmp_path / "run", shard=(2, 3), limits={"deletion": 5})
    idle = Watched(fails=lambda _: pytest.fail("it is there"))
    methods = {"watched": idle, "grad_cam": explainer("grad_cam", CNN)}
    joined = measured(tmp_path / "run", methods=methods, join=True, limits={"deletion": 5})
    assert joined.frame.equals(one.frame)
    assert bytes_of(tmp_path / "run") == bytes_of(tmp_path / "one")
    measured(tmp_path / "run", methods=methods, shard=(2, 3), limits={"deletion": 5})
    assert open_run(tmp_path / "run").manifest.complete, "a shard that finds nothing to do leaves the folder as it is"


def test_the_next_plain_call_finishes_what_shards_have_begun(tmp_path: Path) -> None:
    measured(tmp_path / "run", shard=(2, 4))
    watched = Watched()
    measured(tmp_path / "run", methods={"watched": watched, "grad_cam": explainer("grad_cam", CNN)})
    assert len(watched.asked) == 3
    measured(tmp_path / "one")
    assert bytes_of(tmp_path / "run") == bytes_of(tmp_path / "one")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"shard": (0, 3)}, "shard 0/3: give I/N with I from 1 to N"),
        ({"shard": (4, 3)}, "shard 4/3: give I/N"),
        ({"shard": (1, 3), "join": True}, "a shard measures and join writes the tables"),
        ({"shard": (1, 3), "out": None}, "shards meet in a run folder: give out"),
        ({"join": True, "out": None}, "shards meet in a run folder: give out"),
    ],
)
def test_wrong_shards(options: dict[str, Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(SeewhyError, match=says):
        measured(**{"out": tmp_path / "run", **options})
    assert list(tmp_path.iterdir()) == []


def test_shards_on_the_command_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    options = "--limit 6 --batch-size 2 --metric complexity --explainer saliency --out"
    command = f"evaluate --model shapes --data shapes {options}".split()
    result = run(capfd, *command, tmp_path / "run", "--shard", "1/2")
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith("2 numbers of shard 1/2 in ")
    result = run(capfd, *command, tmp_path / "run", "--join")
    assert (result.status, result.out) == (2, "")
    assert "lacks 2 units, of shard 2/2" in result.err
    assert run(capfd, *command, tmp_path / "run", "--shard", "2/2", "--quiet") == (0, "", "")
    joined, alone = (run(capfd, *command, *more) for more in ((tmp_path / "run", "--join"), (tmp_path / "one",)))
    assert joined.out.splitlines()[:2] == alone.out.splitlines()[:2]
    assert bytes_of(tmp_path / "run") == bytes_of(tmp_path / "one")
    assert "--shard takes I/N with I from 1 to N" in run(capfd, *command, tmp_path / "run", "--shard", "3/2").err


# -- limits -------------------------------------------------------------------------------------------------------------


def test_a_few_images_are_spread_evenly_and_are_among_more() -> None:
    for n in (1, 2, 7, 16, 200):
        ranks = spread_order(n)
        assert sorted(ranks) == list(range(n))
        for few in (3, 5, 20):
            there = [i for i in range(n) if ranks[i] < few]
            gaps = np.diff([-1, *there, n])
            assert len(there) == min(few, n)
            assert gaps.max() <= 2 * n / few + 2


def test_slow_ones_are_asked_for_fewer_images() -> None:
    limits = {"deletion": 5, "grad_cam": 3, "watched/complexity": 0}
    found = measured(None, limits=limits)
    counts = {(e, m): len(found.image_ids(e, m)) for e in ("watched", "grad_cam") for m in METRICS}
    assert counts == {
        ("watched", "deletion"): 5,
        ("watched", "relevance_mass"): N,
        ("watched", "complexity"): 0,
        ("grad_cam", "deletion"): 3,
        ("grad_cam", "relevance_mass"): 3,
        ("grad_cam", "complexity"): 3,
    }
    assert set(found.image_ids("grad_cam", "deletion")) < set(found.image_ids("watched", "deletion"))
    whole = measured(None)
    a, b = ({r[:5]: r.value for r in e.rows} for e in (found, whole))
    assert all(b[key] == pytest.approx(value, abs=1e-5) for key, value in a.items())
    with pytest.raises(SeewhyError, match="a limit for delition, which is no explainer, metric or EXPLAINER/METRIC"):
        measured(None, limits={"delition": 3})


def test_progress_is_told_how_much_was_done_before(tmp_path: Path) -> None:
    told: list[tuple[float, int, int]] = []

    def stop(images: Tensor) -> None:
        if len(watched.asked) == 2:
            raise KeyboardInterrupt

    watched = Watched(fails=stop)
    with pytest.raises(KeyboardInterrupt):
        measured(tmp_path / "run", methods={"watched": watched})
    measured(tmp_path / "run", Pictures(broken=(7,)), methods={"watched": Watched()}, progress=lambda *a: told.append(a))
    assert told[0] == (3, N, 0)
    assert told[-1] == (N, N, 1)
    assert [t[0] for t in told] == sorted(t[0] for t in told)


def test_threads_are_as_before() -> None:
    torch.set_num_threads(2)
    try:
        measured(None, Pictures(n=3))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_images_without_finite_logits_are_failures() -> None:
    dark = Pictures().batch([2]).images[0]

    class Sick(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            logits = CNN.module(x)
            sick = torch.stack([torch.equal(image, (dark - mean) / std) * torch.ones(()) for image in x]) > 0
            return torch.where(sick[:, None], torch.nan, logits)

    mean, std = (torch.tensor(v)[:, None, None] for v in (CNN.mean, CNN.std))
    classifier = replace(CNN, module=Sick().eval(), feature_layer="", n_prefix_tokens=0)
    found = evaluate(classifier, {"watched": Watched()}, ["complexity"], Pictures(), batch_size=4)
    assert [(f.image_id, f.error[:40]) for f in found.failures] == [("image 2", "Sick returns NaN or infinite logits: che")]
    assert len(found.rows) == N - 1


@pytest.mark.parametrize("name", ["../evil", "/evil", "..", "", "a\\b", "a\nb"])
def test_a_name_cannot_lead_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(SeewhyError, match="an explainer cannot be called"):
        measured(tmp_path / "run", methods={name: Watched()}, keep_maps=True)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_file_of_maps_is_named(tmp_path: Path) -> None:
    methods = {"mine": Watched()}
    measured(tmp_path / "run", methods=methods, metrics=["complexity"], keep_maps=True)
    file = next((tmp_path / "run" / "maps").glob("*/*.npz"))
    file.write_bytes(file.read_bytes()[:-40])
    with pytest.raises(SeewhyError, match=r"npz cannot be read .*: delete it"):
        measured(tmp_path / "run", methods=methods, metrics=["sparseness"])


def test_kept_maps_are_found_under_another_name_and_not_with_other_options(tmp_path: Path) -> None:
    measured(tmp_path / "run", methods={"a": explainer("random", CNN)}, metrics=["complexity"], keep_maps=True)
    (file,) = (tmp_path / "run" / "maps").iterdir()
    measured(tmp_path / "run", methods={"b": explainer("random", CNN)}, metrics=["complexity"], keep_maps=True)
    assert [file] == list((tmp_path / "run" / "maps").iterdir())
    measured(tmp_path / "run", methods={"c": explainer("random", CNN, seed=1)}, metrics=["complexity"], keep_maps=True)
    assert len(list((tmp_path / "run" / "maps").iterdir())) == 2
