"""Tables 1 to 3 of Salvage from finished run folders: explainers in rows, data sets and metrics in columns, in percent.

    seewhy evaluate --model M --data D --target label --surrogate FOLDER --explainer ... --out RUN
        --metric srg --metric r_srg --metric lif --metric mif --metric r_lif --metric r_mif
        --metric relevance_mass --metric relevance_rank
    python tools/studies/salvage_tables.py RUN... [--title NAME]... [--order METHOD,METHOD,...]

Each run is one data set. A figure is the mean over images with half of its 95 % interval. The best of a column is bold, and
so is every one whose difference to the best may be chance; the others differ from the best at the level of 95 %, corrected
for the number of pairs. A metric may have options ("srg:size=8"); its name decides. A column that no run has is left out.
"""

import argparse
from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import NamedTuple

from seewhy.evaluation.run import open_run
from seewhy.report.leaderboard import Ranking, rank_explainers
from seewhy.report.run_numbers import read_metrics

TABLES = {
    "Table 1: SRG and R-SRG, and mass and rank on the object where its region is known": {
        "SRG ↑": "srg", "R-SRG ↑": "r_srg", "RMA ↑": "relevance_mass", "RRA ↑": "relevance_rank",
    },
    "Table 2: LIF and MIF": {"LIF ↑": "lif", "MIF ↓": "mif"},
    "Table 3: R-LIF and R-MIF": {"R-LIF ↑": "r_lif", "R-MIF ↓": "r_mif"},
}  # fmt: skip


class Column(NamedTuple):
    title: str
    ranking: Ranking


def columns(folders: Sequence[Path], titles: Sequence[str], metrics: dict[str, str]) -> list[Column]:
    found = []
    for folder, title in zip(folders, titles, strict=True):
        rankings = [rank_explainers(measure) for measure in read_metrics(open_run(folder))[0]]
        for heading, name in metrics.items():
            mine = [ranking for ranking in rankings if ranking.metric.name.partition(":")[0] == name]
            found += [Column(f"{title} {heading}", ranking) for ranking in mine[:1]]
    return found


def cell(column: Column, explainer: str) -> str:
    entry = column.ranking.entries.get(explainer)
    if entry is None:
        return ""
    value, low, high = (100 * x for x in entry.figure[:3])
    text = f"{value:.2f}" + ("" if isnan(high - low) else f" ± {(high - low) / 2:.2f}")
    return f"**{text}**" if entry.standing else text


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--title", action="append", default=[], help="of each run; its folder's name by default")
    parser.add_argument("--order", default="", help="explainers in the order of the rows, the others after them")
    asked = parser.parse_args()
    titles = [*asked.title, *(run.name for run in asked.runs[len(asked.title) :])]
    for heading, metrics in TABLES.items():
        found = columns(asked.runs, titles, metrics)
        if not found:
            continue
        names = dict.fromkeys(name for column in found for name in column.ranking.entries)
        first = [name for name in asked.order.split(",") if name in names]
        print(f"{heading} (percent)\n\n| method | {' | '.join(column.title for column in found)} |")
        print(f"|---|{'---:|' * len(found)}")
        for name in (*first, *(name for name in names if name not in first)):
            print(f"| {name} | {' | '.join(cell(column, name) for column in found)} |")
        print()


if __name__ == "__main__":
    main()
