"""Run folders that are damaged: every value of the manifest, every column of a table, every file."""

import json
import shutil
from pathlib import Path
from random import Random

import numpy as np
import polars as pl
from support.command import as_users_run_it
from support.fuzz.damage import damaged_bytes, damaged_tree
from support.fuzz.trial import Trial

EVALUATE = [
    "--model",
    "shapes",
    "--data",
    "shapes",
    "--limit",
    "3",
    "--explainer",
    "grad_cam",
    "--explainer",
    "saliency",
    "--metric",
    "average_gain",
    "--metric",
    "deletion:steps=4",
    "--metric",
    "relevance_mass",
    "--out",
    "run",
    "--keep-maps",
]


def write_good_run(folder: Path) -> None:
    """A run of two explainers and three metrics on three images, with its maps."""
    import seewhy

    classifier = seewhy.load("shapes")
    dataset = seewhy.dataset("shapes", classifier, 3)
    with as_users_run_it():
        seewhy.evaluate(
            classifier,
            {name: seewhy.explainer(name, classifier) for name in ("grad_cam", "saliency")},
            {
                "average_gain": seewhy.METRICS["average_gain"](),
                "deletion:steps=4": seewhy.METRICS["deletion"](steps=4),
                "relevance_mass": seewhy.METRICS["relevance_mass"](),
            },
            dataset,
            out=folder,
            limit=3,
            keep_maps=True,
        )


def run_folder(random: Random, good: Path, work: Path) -> Trial:
    run = work / "run"
    shutil.copytree(good / "run", run)
    notes = [_damage(random, run) for _ in range(random.choice((1, 1, 1, 2)))]
    if random.random() < 0.2:
        shutil.rmtree(run / "units", ignore_errors=True)  # so that kept maps are read again
        notes.append("units gone")
    more = random.choice((["--metric", "complexity"], [], []))
    arguments = random.choice((["report", "run"], ["report", "run", "--out", "out.html"], ["evaluate", *EVALUATE, *more]))
    return Trial(["report", "run"] if arguments[-1] == "out.html" else arguments, "; ".join(notes))


def _damage(random: Random, run: Path) -> str:
    files = sorted(path for path in run.rglob("*") if path.is_file() and path.name != ".lock")
    manifest = run / "manifest.json"
    what = random.random()
    if what < 0.4 and manifest.is_file():
        try:
            tree = json.loads(manifest.read_bytes())
        except (ValueError, RecursionError):
            return ""
        text, note = damaged_tree(random, tree)
        manifest.write_bytes(text.encode("utf-8", "surrogatepass"))
        return f"manifest: {note}"
    if what < 0.75:
        tables = [path for path in files if path.suffix == ".parquet"]
        return _damage_table(random, random.choice(tables), tables) if tables else ""
    if what < 0.87:
        maps = [path for path in files if path.suffix == ".npz"]
        return _damage_maps(random, random.choice(maps), maps) if maps else ""
    file = random.choice(files)
    return f"{file.relative_to(run)}: {_damage_file(random, file)}"


def _damage_file(random: Random, file: Path) -> str:
    what = random.choice(("bytes", "bytes", "bytes", "gone", "folder", "link"))
    content = file.read_bytes()
    file.unlink()
    if what == "bytes":
        file.write_bytes(damaged_bytes(random, content))
    elif what == "folder":
        file.mkdir()
    elif what == "link":
        file.symlink_to("gone")
    return what


NUMBERS = (-1, 0, 1, 2, 5, 7, 99, 2**31 - 1, -(2**31))
TEXTS = (
    "",
    "x",
    "grad_cam",
    "deletion:steps=4",
    "deletion:steps=4[0]",
    "relevance_mass[",
    "[",
    "]",
    "\x1b[2J",
    "é" * 300,
    "\x00",
)
KINDS = (
    pl.String,
    pl.Float64,
    pl.Int64,
    pl.Boolean,
    pl.Float32,
    pl.Int8,
    pl.UInt64,
    pl.Binary,
    pl.List(pl.Int64),
    pl.List(pl.String),
)


def _damage_table(random: Random, file: Path, others: list[Path]) -> str:
    frame = _read(file)
    if frame is None:
        return ""
    column = random.choice(frame.columns or ["index"])
    what = random.choice(
        (
            "gone",
            "renamed",
            "kind",
            "kind",
            "null",
            "values",
            "values",
            "values",
            "doubled",
            "empty",
            "other",
            "more",
            "order",
        )
    )
    if not frame.columns:
        what = "other"
    if what == "gone":
        frame = frame.drop(column)
    elif what == "renamed":
        frame = frame.rename({column: random.choice(("x", "", "INDEX", f"{column} "))})
    elif what == "kind":
        kind = random.choice(KINDS)
        frame = frame.with_columns(pl.Series(column, _cast(frame[column], kind)))
    elif what == "null":
        frame = frame.with_columns(
            pl.Series(column, [None if random.random() < 0.5 else v for v in frame[column].to_list()], frame[column].dtype)
        )
    elif what == "values":
        frame = frame.with_columns(_other_values(random, frame[column]))
    elif what == "doubled":
        frame = pl.concat([frame, frame.head(random.choice((1, 5, 999)))])
    elif what == "empty":
        frame = frame.head(random.choice((0, 0, 1)))
    elif what == "order":
        frame = frame.sample(fraction=1, shuffle=True, seed=random.randrange(99))
    elif what == "more":
        frame = frame.with_columns(pl.lit("x").alias("more"))
    else:
        frame = _read(random.choice(others))
        if frame is None:
            return ""
    frame.write_parquet(file)
    return f"{file.parent.name}/{file.name}: {what} {column} {frame.schema.get(column)}"


def _read(file: Path) -> pl.DataFrame | None:
    try:
        return pl.read_parquet(file)
    except (OSError, pl.exceptions.PolarsError):
        return None


def _cast(column: pl.Series, kind: pl.DataType) -> pl.Series:
    try:
        return column.cast(kind, strict=False)
    except (pl.exceptions.PolarsError, TypeError):
        return pl.Series(column.name, [None] * len(column), kind)


def _other_values(random: Random, column: pl.Series) -> pl.Series:
    """Some of the values are others of the same type."""
    kind = column.dtype

    def other(kind: pl.DataType) -> object:
        if isinstance(kind, pl.List):
            return [other(kind.inner) for _ in range(random.choice((0, 1, 2, 5, 60)))]
        if kind == pl.Boolean:
            return random.choice((True, False))
        if kind == pl.String:
            return random.choice(TEXTS)
        return (
            random.choice((float("nan"), float("inf"), -float("inf"), 1e308, -1e308, 0.0, -0.0, 5.0))
            if kind.is_float()
            else random.choice(NUMBERS)
        )

    share = random.choice((0.1, 0.5, 1.0))
    return pl.Series(column.name, [other(kind) if random.random() < share else value for value in column.to_list()], kind)


def _damage_maps(random: Random, file: Path, others: list[Path]) -> str:
    try:
        with np.load(file) as opened:
            arrays = dict(opened)
    except Exception:  # an earlier accident has damaged it
        return ""
    name = random.choice(list(arrays) or ["maps"])
    value = arrays.get(name, np.zeros(3))
    what = random.choice(
        ("gone", "flat", "kind", "short", "long", "nan", "infinite", "text", "object", "scalar", "empty", "other", "thin")
    )
    made = {
        "flat": lambda: value.reshape(-1),
        "kind": lambda: value.astype(random.choice(("f8", "i1", "c16", "U9", "?", "M8[s]")), casting="unsafe"),
        "short": lambda: value[:1],
        "long": lambda: np.concatenate([value, value]),
        "scalar": lambda: np.array(3),
        "empty": lambda: value[:0],
        "nan": lambda: np.full(value.shape, np.nan),
        "infinite": lambda: np.full(value.shape, np.inf),
        "text": lambda: np.full(value.shape, "x"),
        "thin": lambda: value.reshape(*value.shape[:1], 1, -1),
        "object": lambda: np.array([None] * len(value.reshape(-1)[:3]), dtype=object),
    }
    if what == "gone":
        arrays.pop(name, None)
    elif what == "other":
        file.write_bytes(random.choice(others).read_bytes())
        return f"{file.parent.name}/{file.name}: that of another"
    else:
        try:
            arrays[name] = made[what]()
        except (ValueError, TypeError):
            arrays[name] = np.zeros(0)
    np.savez(file, **arrays)
    return f"{file.parent.name}/{file.name}: {name} {what}"
