"""Draws what a number of steps is worth: the average gain of opti_cam and opti_cam_fast in runs of ``seewhy evaluate``.

    seewhy evaluate --model ... --data ... --explainer opti_cam:steps=10 --explainer opti_cam_fast:steps=10 ... \
        --metric average_gain --out RUN
    python tools/studies/steps_curve.py MobileNetV2=RUN SqueezeNet=OTHER,LATER --out docs/images/opti_cam_steps.png

Prints the same numbers, in percent, with half of the 95 % interval over images.
"""

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import seewhy
from seewhy.errors import SeewhyError
from seewhy.files import write_atomically

INK, OTHER, SOFT = "#1c1c20", "#2c6fbb", "#6e6e76"

COLORS = {"opti_cam": SOFT, "opti_cam_fast": OTHER}


def gains(folders: str) -> Mapping[str, pl.DataFrame]:
    """For each method a table of steps, mean and half, in percent; of several folders a later one overrules."""
    runs = pl.concat([seewhy.open_run(folder).scores for folder in folders.split(",")])
    scores = runs.filter(pl.col("metric") == "average_gain").unique(
        ("explainer", "image_id"), keep="last", maintain_order=True
    )
    steps = pl.col("explainer").str.extract(r"steps=(\d+)").cast(pl.Int64)
    table = (
        scores.with_columns(method=pl.col("explainer").str.split(":").list.first(), steps=steps)
        .group_by("method", "steps")
        .agg(
            n=pl.len(),
            mean=100 * pl.col("value").mean(),
            half=100 * 1.96 * pl.col("value").std() / pl.len().cast(pl.Float64).sqrt(),
        )
        .sort("steps")
    )
    missing = [name for name in COLORS if table.filter(pl.col("method") == name)["steps"].drop_nulls().is_empty()]
    if missing:
        raise SeewhyError(f"{folders} has no {missing[0]}:steps=...: evaluate it with some numbers of steps")
    return {name: table.filter((pl.col("method") == name) & pl.col("steps").is_not_null()) for name in COLORS}


def curve(ax: Axes, title: str, found: Mapping[str, pl.DataFrame]) -> None:
    for name, table in found.items():
        x, y, half = (table[key].to_numpy() for key in ("steps", "mean", "half"))
        ax.plot(x, y, color=COLORS[name], marker="o", ms=3.5, lw=1.8, label=name)
        ax.fill_between(x, y - half, y + half, color=COLORS[name], alpha=0.14, lw=0)
    last = found["opti_cam"]["mean"][-1]
    ax.axhline(last, color=INK, lw=0.8, ls=(0, (4, 3)))
    ax.set_title(f"{title} ({found['opti_cam']['n'][0]} images)", fontsize=10, color=INK)
    ax.set_xlabel("steps: a forward and a backward pass each")
    ax.set_ylim(0, 100)
    ax.spines[["top", "right"]].set_visible(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="TITLE=RUN")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    figure = Figure(figsize=(3.6 * len(given.runs), 3.4), layout="constrained")
    axes = figure.subplots(1, len(given.runs), sharey=True, squeeze=False)[0]
    for ax, (title, _, folder) in zip(axes, (run.partition("=") for run in given.runs), strict=True):
        try:
            found = gains(folder)
        except SeewhyError as problem:
            raise SystemExit(str(problem)) from None
        curve(ax, title, found)
        for name, table in found.items():
            told = (f"{r['steps']}: {r['mean']:.1f} ± {r['half']:.1f}" for r in table.iter_rows(named=True))
            print(title, name, *told, sep="  ")
    axes[0].set_ylabel("average gain, %")
    axes[0].legend(frameon=False, loc="lower right")
    write_atomically(given.out, partial(figure.savefig, format=given.out.suffix[1:] or "png", dpi=110))


if __name__ == "__main__":
    main()
