"""Run folders that are made by hand, so that every number on a page is known."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from seewhy.evaluation.columns import CURVES_SCHEMA, IMAGES_SCHEMA, SCORES_SCHEMA
from seewhy.evaluation.manifest import SCHEMA

CLASSES = ["cat", "dog"]
Numbers = Mapping[str, Mapping[str, Sequence[float] | Sequence[Sequence[float]]]]
"""Of each metric, of each explainer, a number (or several) for each row."""


def metric_about(higher: bool | None = True, family: str = "ordering", **more: Any) -> dict[str, Any]:
    about = {"metric": "custom", "family": family, "higher_is_better": higher, "range": [0, None], "reads": "raw"}
    return {**about, "paper": "", "axes": None, "limit": None, "options": {}, **more}


def write_run(
    folder: Path,
    numbers: Numbers,
    abouts: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    keys: Sequence[tuple[int, int]] | None = None,
    ids: Sequence[str] | None = None,
    curves: Mapping[str, Mapping[str, Sequence[Sequence[float]]]] | None = None,
    places: Mapping[str, Sequence[float]] | None = None,
    correct: Sequence[bool | None] | None = None,
    labels: Sequence[Sequence[int]] | None = None,
    pictures: int = 0,
    maps: Mapping[str, np.ndarray] | None = None,
    **manifest: Any,
) -> Path:
    """A finished run. Row r is ``keys[r]``, (image, class explained), by default (r, r % 2); maps are (r, h, w)."""
    explainers = list(dict.fromkeys(name for row in numbers.values() for name in row))
    rows = max(len(values) for row in numbers.values() for values in row.values())
    keys = keys or [(r, r % 2) for r in range(rows)]
    n = max(index for index, _ in keys) + 1
    ids = ids or [f"image{i}" for i in range(n)]
    lines, curve_lines = [], []
    for metric, row in numbers.items():
        for explainer, values in row.items():
            for (index, explained), value in zip(keys, values, strict=False):
                several = isinstance(value, Sequence)
                for j, each in enumerate(value if several else [value]):
                    name = f"{metric}[{j}]" if several else metric
                    lines.append((index, ids[index], explainer, explained, explained, name, float(each)))
            for (index, explained), curve in zip(keys, (curves or {}).get(metric, {}).get(explainer, []), strict=False):
                curve_lines.append((index, ids[index], explainer, explained, metric, list(map(float, curve))))
    folder.mkdir(parents=True)
    known = [True] * n if correct is None else correct
    true = labels or [[i % 2] for i in range(n)]
    facts = [(i, ids[i], i % 2, 0.9, true[i], known[i]) for i in range(n)]
    pl.DataFrame(lines, SCORES_SCHEMA, orient="row").write_parquet(folder / "scores.parquet")
    pl.DataFrame(curve_lines, CURVES_SCHEMA, orient="row").write_parquet(folder / "curves.parquet")
    pl.DataFrame(facts, IMAGES_SCHEMA, orient="row").write_parquet(folder / "images.parquet")
    _write_pictures(folder, keys, pictures, explainers, maps)
    content = {
        "schema": SCHEMA,
        "complete": True,
        "asked": {"classifier": {"module": "Net"}, "dataset": {"name": "pets"}, "target": "predicted", "seed": 0},
        "explainers": {name: {"method": name, "family": "gradient", "options": {}} for name in explainers},
        "metrics": {name: dict((abouts or {}).get(name) or metric_about()) for name in numbers},
        "classes": CLASSES,
        "images": n,
        "failures": [],
        "curves": dict(places or {}),
        "seconds": {"explainers": {name: float(i + 1) for i, name in enumerate(explainers)}, "metrics": {}},
        "rows": len(lines),
        **manifest,
    }
    (folder / "manifest.json").write_text(json.dumps(content))
    return folder


def _write_pictures(
    folder: Path,
    keys: Sequence[tuple[int, int]],
    pictures: int,
    explainers: Sequence[str],
    maps: Mapping[str, np.ndarray] | None,
) -> None:
    random = np.random.default_rng(0)
    shown = [key for key in keys if key[0] < pictures]
    for index, _ in shown:
        (folder / "pictures").mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 255, (24, 24, 3), dtype=np.uint8)).save(folder / "pictures" / f"{index:06d}.jpg")
    for explainer in explainers if shown else []:
        values = maps[explainer] if maps else random.normal(size=(len(keys), 24, 24))
        (folder / "pictures" / explainer).mkdir(parents=True)
        kept = values[[i for i, key in enumerate(keys) if key in shown]].astype(np.float16)
        index, explained = zip(*shown, strict=True)
        np.savez(folder / "pictures" / explainer / "000000.npz", index=index, explained=explained, maps=kept)
