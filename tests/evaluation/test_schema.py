"""A run folder that can be read and has another form than this library writes: one line, whoever reads it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image
from support.command import as_users_run_it
from support.evaluations import CNN, Pictures
from support.run_folders import metric_about, write_run

import seewhy
from seewhy.errors import SeewhyError
from seewhy.evaluation.evaluate import evaluate
from seewhy.evaluation.run import open_run
from seewhy.report import write_report

DEEP = "[" * 5_000 + "]" * 5_000
DIGITS = "9" * 5_000


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    """A run of two explainers on four images, with curves, pictures and maps."""
    numbers = {"deletion": {"a": [1, 2, 3, 4], "b": [2, 3, 4, 5]}, "gain": {"a": [1, 2, 3, 4], "b": [2, 3, 4, 5]}}
    curves = {"deletion": {e: [[0, 1, 2]] * 4 for e in "ab"}}
    places = {"deletion": [0, 0.5, 1]}
    abouts = {"deletion": metric_about(False), "gain": metric_about()}
    return write_run(tmp_path / "run", numbers, abouts, curves=curves, places=places, pictures=3)


def said(folder: Path) -> str:
    """The line in which a report of the run is refused; nothing is left behind."""
    before = sorted(folder.rglob("*"))
    with as_users_run_it(), pytest.raises(SeewhyError) as error:
        write_report([folder])
    line = str(error.value)
    assert str(folder) in line
    assert sorted(folder.rglob("*")) == before
    return line


def test_a_sound_run_is_taken(finished: Path) -> None:
    with as_users_run_it():
        assert len(write_report([finished])) == 5


MANIFESTS: dict[str, tuple[tuple[str | int, ...], Any]] = {
    "no list of failures": (("failures",), {"a": 1}),
    "a failure without an error": (("failures",), [{"index": 0, "image_id": "a", "explainer": "a", "metric": ""}]),
    "a failure that is no object": (("failures",), ["broken"]),
    "a class that is no text": (("classes",), ["cat", 3]),
    "classes that are text": (("classes",), "cat"),
    "a metric that is no object": (("metrics", "gain"), []),
    "a metric without a family": (("metrics", "gain"), {"metric": "gain", "higher_is_better": True, "options": {}}),
    "better that is no truth value": (("metrics", "gain", "higher_is_better"), "yes"),
    "a range of one end": (("metrics", "gain", "range"), [0]),
    "three axes": (("metrics", "gain", "axes"), ["x", "y", "z"]),
    "options that are a list": (("explainers", "a", "options"), [1]),
    "a limit below 0": (("explainers", "a", "limit"), -1),
    "an explainer that leads elsewhere": (("explainers", "../../a"), {"method": "a", "family": "cam", "options": {}}),
    "a limit of a stranger": (("limits",), {"c": {"gain": 1}}),
    "a limit of a strange metric": (("limits",), {"a": {"c": 1}}),
    "curves of a stranger": (("curves", "c"), [0, 1]),
    "a place that is no number": (("curves", "deletion", 1), "0.5"),
    "a place that is infinite": (("curves", "deletion", 1), float("inf")),
    "a place beyond reason": (("curves", "deletion", 1), 10**400),
    "a time below 0": (("seconds", "explainers", "a"), -1.0),
    "a time that is NaN": (("seconds", "explainers", "a"), float("nan")),
    "no processes": (("processes",), 0),
    "no shards": (("shards",), 0),
    "a seed below 0": (("asked", "seed"), -3),
    "a seed beyond reason": (("asked", "seed"), 10**30),
    "a truth value for a number": (("images",), True),
    "a question that is a list": (("asked",), []),
    "a history of texts": (("history",), ["once"]),
    "nesting in what is free": (("details",), "DEEP"),
    "nesting in the places": (("curves", "deletion", 0), "DEEP"),
    "digits": (("rows",), "DIGITS"),
}


@pytest.mark.parametrize("what", MANIFESTS)
def test_a_manifest_of_another_form_is_refused(what: str, finished: Path) -> None:
    path, value = MANIFESTS[what]
    file = finished / "manifest.json"
    tree = json.loads(file.read_text())
    holder = tree
    for key in path[:-1]:
        holder = holder.setdefault(key, {}) if isinstance(key, str) else holder[key]
    holder[path[-1]] = value
    file.write_text(json.dumps(tree).replace('"DEEP"', DEEP).replace('"DIGITS"', DIGITS))
    assert "manifest.json" in (line := said(finished))
    assert line.endswith(": give another folder")
    with as_users_run_it(), pytest.raises(SeewhyError, match=r"manifest.json .*: give another folder"):
        evaluate(CNN, ["center"], ["complexity"], Pictures(n=2), out=finished)


@pytest.mark.parametrize(
    "content", [b"\xff\xfe{\x00}\x00", b"", b"null", b"3", b"[]", b'{"schema": 3}', b'{"schema": [3]}', DEEP.encode()]
)
def test_a_manifest_that_is_no_run(content: bytes, finished: Path) -> None:
    (finished / "manifest.json").write_bytes(content)
    said(finished)


@pytest.mark.parametrize(
    "free",
    [
        {"asked": {"classifier": {"input_size": 3, "module": []}, "dataset": {"name": {}}}},
        {"details": {"model": [1], "data": 3}},
    ],
)
def test_what_is_free_in_a_manifest_has_any_form(free: dict[str, Any], finished: Path) -> None:
    file = finished / "manifest.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **free}))
    with as_users_run_it():
        write_report([finished])


Change = Callable[[pl.DataFrame], pl.DataFrame]
TABLES: dict[str, tuple[str, Change, str]] = {
    "no column": ("scores", lambda t: t.drop("explained"), "its column explained is missing"),
    "text for numbers": ("scores", lambda t: t.with_columns(pl.col("value").cast(pl.String)), "column value has the type"),
    "numbers for text": ("scores", lambda t: t.with_columns(metric=pl.lit(1)), "column metric has the type"),
    "an empty metric": ("scores", lambda t: t.with_columns(metric=pl.lit(None, pl.String)), "column metric has empty cells"),
    "another metric": (
        "scores",
        lambda t: t.head(4).with_columns(metric=pl.lit("c")),
        "has 'c', which manifest.json does not describe",
    ),
    "another explainer": (
        "scores",
        lambda t: t.head(4).with_columns(explainer=pl.lit("c")),
        "has 'c', which manifest.json does not",
    ),
    "a number of another metric": ("scores", lambda t: t.head(4).with_columns(metric=pl.lit("c[0]")), "has 'c[0]', which"),
    "an index below 0": ("scores", lambda t: t.with_columns(index=pl.lit(-1, pl.Int32)), "index has numbers below 0"),
    "a line twice": ("scores", lambda t: pl.concat([t, t.head(1)]), "two lines have the same index, explainer"),
    "the table of something else": ("scores", lambda t: pl.DataFrame({"a": [1]}), "column index is missing"),
    "no column of curves": ("curves", lambda t: t.drop("metric"), "its column metric is missing"),
    "curves that are numbers": ("curves", lambda t: t.with_columns(values=pl.lit(1.0)), "column values has the type"),
    "curves with empty places": (
        "curves",
        lambda t: t.with_columns(values=pl.lit([None, 1.0, 2.0])),
        "lists with empty places",
    ),
    "curves of a stranger": (
        "curves",
        lambda t: t.with_columns(metric=pl.lit("c")),
        "which manifest.json does not describe",
    ),
    "no labels": ("images", lambda t: t.drop("labels"), "its column labels is missing"),
    "labels that are empty": (
        "images",
        lambda t: t.with_columns(labels=pl.lit(None, pl.List(pl.Int32))),
        "labels has empty",
    ),
    "a class below 0": ("images", lambda t: t.with_columns(predicted=pl.lit(-2, pl.Int32)), "predicted has numbers below 0"),
    "a probability that is NaN": (
        "images",
        lambda t: t.with_columns(probability=float("nan")),
        "probability has numbers that",
    ),
    "an image twice": ("images", lambda t: pl.concat([t, t]), "two lines have the same index"),
    "no truth value": ("images", lambda t: t.with_columns(correct=pl.lit(2)), "column correct has the type"),
}


@pytest.mark.parametrize("what", TABLES)
def test_a_table_of_another_form_is_refused(what: str, finished: Path) -> None:
    name, change, says = TABLES[what]
    file = finished / f"{name}.parquet"
    change(pl.read_parquet(file)).write_parquet(file)
    line = said(finished)
    assert file.name in line
    assert says in line
    assert line.endswith("give its seewhy evaluate command again, it is made anew")


def test_columns_that_are_more_are_passed_over(finished: Path) -> None:
    scores = pl.read_parquet(finished / "scores.parquet")
    scores.with_columns(more=1).select(*reversed([*scores.columns, "more"])).write_parquet(finished / "scores.parquet")
    assert open_run(finished).scores.equals(scores)


def test_numbers_that_overflow_are_left_out(finished: Path, recwarn: pytest.WarningsRecorder) -> None:
    file = finished / "scores.parquet"
    large = pl.when(pl.col("index") == 1).then(1e308).otherwise("value").alias("value")
    pl.read_parquet(file).with_columns(large).write_parquet(file)
    with as_users_run_it():
        write_report([finished])
    assert not list(recwarn)
    figures = (finished / "report.csv").read_text().splitlines()
    assert {line.split(",")[9:11][1] for line in figures[1:]} == {"1"}, "a row of each figure is left out, and said to be"


MAPS: dict[str, Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]] = {
    "fewer maps": lambda a: {**a, "maps": a["maps"][:1]},
    "more classes": lambda a: {**a, "explained": np.concatenate([a["explained"]] * 2)},
    "no index": lambda a: {k: v for k, v in a.items() if k != "index"},
    "an index of text": lambda a: {**a, "index": a["index"].astype("U9")},
    "an index of floats": lambda a: {**a, "index": a["index"] + 0.5},
    "an index below 0": lambda a: {**a, "index": a["index"] - 9},
    "flat maps": lambda a: {**a, "maps": a["maps"].reshape(len(a["maps"]), -1)},
    "maps of NaN": lambda a: {**a, "maps": a["maps"] * np.nan},
    "complex maps": lambda a: {**a, "maps": a["maps"].astype(np.complex64)},
    "maps of text": lambda a: {**a, "maps": a["maps"].astype("U9")},
    "maps of nothing": lambda a: {**a, "maps": a["maps"][:, :0]},
    "maps of another size": lambda a: {**a, "maps": a["maps"][:, :1]},
    "a single number": lambda a: {**a, "maps": np.array(3.0)},
    "objects": lambda a: {**a, "maps": np.array([None, 1], dtype=object)},
}


@pytest.mark.parametrize("what", MAPS)
def test_maps_of_another_form_are_refused(what: str, finished: Path) -> None:
    file = finished / "pictures" / "b" / "000000.npz"
    with np.load(file) as opened:
        arrays = dict(opened)
    np.savez(file, **MAPS[what](arrays))
    assert "delete it" in said(finished)


def test_maps_of_an_image_without_scores_are_shown(finished: Path) -> None:
    """Its maps were made, and every metric failed on it."""
    scores = pl.read_parquet(finished / "scores.parquet")
    scores.filter(pl.col("index") != 2).write_parquet(finished / "scores.parquet")
    with as_users_run_it():
        write_report([finished])
    assert "image2" in (finished / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff", b"P6\n9 9\n255\n", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_a_picture_that_is_none(content: bytes, finished: Path) -> None:
    (finished / "pictures" / "000001.jpg").write_bytes(content)
    assert "000001.jpg cannot be read" in said(finished)


def test_a_picture_of_another_format_is_not_opened(finished: Path) -> None:
    Image.new("RGB", (24, 24)).save(finished / "pictures" / "000001.jpg", format="PNG")
    assert "000001.jpg cannot be read" in said(finished)


# -- what an evaluation reads back -----------------------------------------------------------------------------------------


def again(out: Path, **more: Any) -> None:
    with as_users_run_it():
        evaluate(CNN, ["center"], ["complexity", "average_gain"], Pictures(n=3), out=out, batch_size=3, **more)


UNITS: dict[str, tuple[str, Change, str]] = {
    "a unit without a column": ("center.*", lambda t: t.drop("part"), "its column part is missing"),
    "a unit of other types": (
        "center.*",
        lambda t: t.with_columns(index=pl.col("index").cast(pl.Int64)),
        "index has the type",
    ),
    "a unit of another explainer": ("center.*", lambda t: t.with_columns(explainer=pl.lit("rise")), "of another explainer"),
    "a unit with a line twice": ("center.*", lambda t: pl.concat([t, t]), "two lines have the same"),
    "a number of no image": (
        "center.*",
        lambda t: t.with_columns(index=pl.lit(None, pl.Int32)),
        "a line has value, and not all",
    ),
    "seconds below 0": ("center.*", lambda t: t.with_columns(seconds=pl.lit(-1.0)), "column seconds has numbers that"),
    "a unit that has facts": ("center.*", lambda t: t.select("index", "image_id"), "is missing"),
    "facts without errors": ("facts", lambda t: t.drop("error"), "its column error is missing"),
    "facts of other images": ("facts", lambda t: t.with_columns(index=pl.col("index") + 7), "is of other images"),
    "facts twice": ("facts", lambda t: pl.concat([t, t]), "two lines have the same index"),
    "facts of a class below 0": ("facts", lambda t: t.with_columns(explained=pl.lit([-1], pl.List(pl.Int32))), "below 0"),
}


@pytest.mark.parametrize("what", UNITS)
def test_a_unit_of_another_form_is_refused(what: str, tmp_path: Path) -> None:
    pattern, change, says = UNITS[what]
    again(tmp_path / "run")
    (file,) = (tmp_path / "run" / "units").glob(f"*/{pattern}.parquet")
    change(pl.read_parquet(file)).write_parquet(file)
    with pytest.raises(SeewhyError, match=r"units/.*delete it, its work is done again$") as error:
        again(tmp_path / "run")
    assert says in str(error.value)
    file.unlink()
    again(tmp_path / "run")


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("maps", lambda a: a[:1]),
        ("maps", lambda a: a[:, :, :5]),
        ("maps", lambda a: a * np.inf),
        ("maps", lambda a: a.reshape(len(a), -1)),
        ("key", lambda a: np.arange(len(a))),
        ("key", lambda a: a[:1]),
    ],
)
def test_kept_maps_of_another_form_are_refused(
    name: str, change: Callable[[np.ndarray], np.ndarray], tmp_path: Path
) -> None:
    again(tmp_path / "run", keep_maps=True)
    (file,) = (tmp_path / "run" / "maps").glob("*/*.npz")
    with np.load(file) as opened:
        arrays = dict(opened)
    np.savez(file, **{**arrays, name: change(arrays[name])})
    for unit in (tmp_path / "run" / "units").glob("*/center.*"):
        unit.unlink()
    with pytest.raises(SeewhyError, match=r"\.npz .*: delete it, its maps are then made again$"):
        again(tmp_path / "run", keep_maps=True)


def test_an_explainer_with_a_name_that_no_folder_takes(tmp_path: Path) -> None:
    method = seewhy.explainer("center", CNN)
    for name in ("x" * 200, "é" * 100, "a/b", "\x1b[2J"):
        with as_users_run_it(), pytest.raises(SeewhyError, match="an explainer cannot be called"):
            evaluate(CNN, {name: method}, ["complexity"], Pictures(n=2), out=tmp_path / "run")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "number",
    [
        {"batch_size": 10**30},
        {"batch_size": 1.5},
        {"limit": "3"},
        {"seed": -1},
        {"seed": 10**30},
        {"threads": 10**6},
        {"pictures": -1},
    ],
)
def test_a_number_that_no_evaluation_takes(number: dict[str, Any]) -> None:
    with as_users_run_it(), pytest.raises(SeewhyError, match=f"^{next(iter(number))} is .*; give at least [01]"):
        evaluate(CNN, ["center"], ["complexity"], Pictures(n=2), **number)
