"""Several runs on the same images: whether they are, and what they say together."""

from collections.abc import Collection, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from seewhy.describe import difference
from seewhy.errors import SeewhyError
from seewhy.evaluation.agreement import agreement
from seewhy.evaluation.run import Run
from seewhy.report.board import Board, board
from seewhy.report.prose import and_list
from seewhy.report.section import Section
from seewhy.report.verdict import many


class Together(NamedTuple):
    """What several runs say together.

    runs        what they are: "networks", or "runs" where two have the same weights
    conclusion  in one sentence
    order       by metric, whether the runs put the explainers in the same order: Kendall's tau-b, the mean of all pairs of
                runs; only metrics and explainers that all runs have
    """

    sections: Sequence[Section]
    board: Board
    runs: str
    conclusion: str
    order: dict[str, float]


def together(sections: Sequence[Section]) -> Together:
    """The leaderboard of several runs, and their common conclusion."""
    weights = [s.run.manifest.asked.weights or s.title for s in sections]
    runs = "networks" if len(set(weights)) == len(weights) else "runs"
    return Together(
        sections=sections,
        board=board([(s.title, s.rankings) for s in sections]),
        runs=runs,
        conclusion=_conclusion(sections, runs),
        order=_order(sections),
    )


def _conclusion(sections: Sequence[Section], runs: str) -> str:
    found = {s.title: s.verdict.ahead for s in sections}
    sizes = {s.title: len(s.rows) - len(s.reference) for s in sections}
    every = "both" if len(sections) == 2 else f"all {len(sections)}"
    shared = [name for name in next(iter(found.values())) if all(name in ahead for ahead in found.values())]
    vague = any(many(ahead, sizes[title]) or len(ahead) == sizes[title] for title, ahead in found.items())
    if shared and not vague:
        are = "is" if len(shared) == 1 else "are"
        return f"{and_list(shared)} {are} ahead on {every} {runs}, by all metrics of the verdict."

    def said(title: str, ahead: list[str]) -> str:
        if many(ahead, sizes[title]) or len(ahead) == sizes[title]:
            return f"{len(ahead)} of {sizes[title]} explainers may be the best on {title}"
        return f"{and_list(ahead) if ahead else 'none by all metrics'} on {title}"

    return f"No explainer is sure to be ahead on {every} {runs}: {'; '.join(said(*each) for each in found.items())}."


def _order(sections: Sequence[Section]) -> dict[str, float]:
    """Whether the runs put the explainers in the same order, by metric."""
    found = {}
    for ranking in sections[0].rankings:
        name = ranking.metric.name
        each = [r for s in sections for r in s.rankings if r.metric.name == name and r.metric.has_ranks]
        shared = [e for e in ranking.entries if all(e in r.entries for r in each)]
        if len(each) < len(sections) or len(shared) < 3:
            continue
        figures = {s.title: {e: r.entries[e].figure.value for e in shared} for s, r in zip(sections, each, strict=True)}
        values = agreement(figures, dict.fromkeys(figures, ranking.metric.higher_is_better)).values
        if np.isfinite(pairs := values[np.triu_indices(len(figures), 1)]).all():
            found[name] = float(pairs.mean())
    return found


def check_same_images(runs: Sequence[Run]) -> None:
    """SeewhyError, one line that names what differs, unless all runs have asked the same of the same images.

    The networks, the explainers and the metrics may differ. Two runs may not mean different things by one metric.
    """
    for first, other in combinations(runs, 2):
        if what := _what_differs(first, other):
            raise SeewhyError(f"these runs have no common leaderboard ({what}): evaluate them alike, or make a page of each")


def _what_differs(first: Run, other: Run) -> str:
    """What of the question or of the images differs; "" if nothing does."""
    metrics = first.manifest.metrics.keys() & other.manifest.metrics.keys()
    one, two = _question(first, metrics), _question(other, metrics)
    if one != two:
        return difference("", one, two, where=(f"in {first.folder}", f"in {other.folder}"))
    failed = {failure.index for run in (first, other) for failure in run.manifest.failures if not failure.explainer}
    here, there = ({*_images(run)} for run in (first, other))
    alone = sorted(image for image in here ^ there if image[0] not in failed)
    if not alone:
        return ""
    more = f", and {len(alone) - 1} more are not in both" if len(alone) > 1 else ""
    return f"the image {alone[0][1]} is in {(first if alone[0] in here else other).folder} alone{more}"


def _question(run: Run, metrics: Collection[str]) -> dict[str, Any]:
    """What has to be the same, so that figures stand beside each other."""
    asked, abouts = run.manifest.asked, run.manifest.metrics
    return {
        "dataset": asked.dataset,
        "images": asked.images,
        "target": asked.target,
        "scored": asked.scored,
        "only": asked.only,
        "map_classes": asked.map_classes,
        "surrogate": "given" if asked.surrogate else "not given",
        "metric": {name: {"metric": abouts[name].metric, **abouts[name].options} for name in sorted(metrics)},
    }


def _images(run: Run) -> list[tuple[int, str]]:
    """The images of a run: all, or those that were measured where the network has chosen them."""
    chosen = run.manifest.asked.only != "all"
    return (run.scores if chosen else run.images).select("index", "image_id").unique().rows()
