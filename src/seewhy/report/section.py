"""Everything that the page shows of one run, read and laid out."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from seewhy.evaluation.agreement import Agreement, agreement
from seewhy.evaluation.run import Run
from seewhy.report.board import Board, board
from seewhy.report.cost import Scatter, scatters, seconds_each
from seewhy.report.curves import CurveChart, curve_charts
from seewhy.report.leaderboard import Ranking, mean_ranks, rank_explainers
from seewhy.report.map_similarity import Disagreement, MapSimilarity, map_similarity
from seewhy.report.pictures import Extreme, Gallery, Sample, draw_sample, extremes
from seewhy.report.run_numbers import read_metrics
from seewhy.report.verdict import Verdict, recommended_first, verdict


class Examples(NamedTuple):
    """The best and the worst rows of the explainer that leads by a metric; ``of``: how many rows have a picture."""

    ranking: Ranking
    explainer: str
    best: list[Extreme]
    worst: list[Extreme]
    of: int


class Section(NamedTuple):
    """A run, read and laid out.

    rankings   by all metrics, those of recommended metrics first
    headlines  the first metric of each family that says which explainer is better
    reference  the explainers that look at no network
    shown      the explainer whose maps stand beside the verdict; "" if no map was kept
    rewarded   metrics by which a map that looks at no network is the best or may be, and these maps
    """

    title: str
    number: int
    run: Run
    image_ids: dict[int, str]
    verdict: Verdict
    rankings: list[Ranking]
    board: Board
    unread: dict[str, str]
    headlines: list[Ranking]
    rows: list[str]
    mean_ranks: dict[str, float]
    reference: list[str]
    shown: str
    rewarded: dict[str, list[str]]
    curves: list[CurveChart]
    gallery: Gallery
    sample: Sample
    examples: list[Examples]
    similarity: MapSimilarity
    disagreements: list[Disagreement]
    scatters: list[Scatter]
    seconds: dict[str, float]
    agreement: Agreement | None

    @property
    def parts(self) -> dict[str, str]:
        """The parts of the page that have something to show, by their names in its address; and their titles."""
        there = {
            "verdict": ("In short", True),
            "setup": ("Setup", True),
            "leaderboard": ("Leaderboard", bool(self.rankings or self.unread)),
            "ranks": ("Ranks", bool(self.mean_ranks)),
            "curves": ("Curves", bool(self.curves)),
            "pictures": ("Pictures", bool(self.sample.images)),
            "cases": ("Best and worst", bool(self.examples)),
            "disagreement": ("Disagreement", len(self.similarity.explainers) > 1 and bool(self.similarity.keys)),
            "cost": ("Cost", bool(self.scatters)),
            "agreement": ("Agreement", self.agreement is not None),
            "manifest": ("Manifest", True),
        }
        return {name: title for name, (title, shown) in there.items() if shown}

    @property
    def left_out(self) -> list[str]:
        """What the page does not show of this run, and what that would take."""
        kept = "the pictures of seewhy evaluate --out, of which it keeps those of 200 images unless told otherwise"
        takes = {
            "ranks": "two explainers with common images, and a metric by which one figure is better than another",
            "curves": "a metric that has a curve",
            "pictures": kept,
            "cases": "pictures, and a metric that says of one image whether a map is better than another",
            "disagreement": "the maps of two explainers on one image",
            "cost": "the times of the explainers, and a metric by which one figure is better than another",
            "agreement": "two metrics by which one figure is better than another, and three explainers that have both",
        }
        titles = {"cases": "best and worst cases", "cost": "cost against quality", "agreement": "agreement of the metrics"}
        return [f"{titles.get(name, name)} (takes {what})" for name, what in takes.items() if name not in self.parts]


def section(run: Run, title: str, number: int) -> Section:
    """Read a run, and compute how sure its figures are."""
    metrics, unread = read_metrics(run)
    seed = run.manifest.asked.seed or 0
    rankings = recommended_first([rank_explainers(metric) for metric in metrics])
    judging = [ranking for ranking in rankings if ranking.metric.has_ranks]
    headlines = list({ranking.metric.family: ranking for ranking in reversed(judging)}.values())[::-1]
    gallery, about = Gallery(run), run.manifest.explainers
    similarity = map_similarity(gallery.maps)
    looking = [name for name in about if about[name].family != "reference"]
    asked = looking if len(looking) > 1 else list(about)
    reference = [name for name in about if name not in looking]
    concluded, rows = verdict(rankings, run.manifest, reference), order_rows(about, headlines or rankings)
    first = [finding.subject for finding in concluded.findings] + looking + rows
    return Section(
        title=title,
        number=number,
        run=run,
        image_ids=dict(run.images.select("index", "image_id").iter_rows()),
        verdict=concluded,
        rankings=rankings,
        board=board([(title, rankings)]),
        unread=unread,
        headlines=headlines,
        rows=rows,
        mean_ranks=mean_ranks(rankings),
        reference=reference,
        shown=next((name for name in first if gallery.maps[name]), ""),
        rewarded={r.metric.name: blind for r in rankings if (blind := _rewarded(r, reference))},
        curves=curve_charts(run),
        gallery=gallery,
        sample=draw_sample(run, gallery.keys, seed),
        examples=[found for ranking in headlines if (found := _examples(ranking, gallery)) is not None],
        similarity=similarity,
        disagreements=[d for d in similarity.lowest(asked) if run.has_picture(d.key.image)],
        scatters=scatters(run, rankings),
        seconds=seconds_each(run),
        agreement=metric_agreement(rankings),
    )


def _rewarded(ranking: Ranking, reference: Sequence[str]) -> list[str]:
    """The maps that look at no network, and that are the best by this metric or may be; none where nothing is told apart."""
    return [name for name in reference if name in ranking.entries and ranking.mark(name)]


def order_rows(names: Iterable[str], rankings: Sequence[Ranking]) -> list[str]:
    """The explainers in the order of the first metric; those without a figure come last."""
    first = rankings[0].order if rankings else []
    return [*first, *(name for name in names if name not in first)]


def _examples(ranking: Ranking, gallery: Gallery) -> Examples | None:
    """None for a metric without one number a row, and if no picture of the leader was kept."""
    explainer = ranking.leader or ranking.order[0]
    if not ranking.metric.by_row:
        return None
    keys = [key for key in gallery.keys if key in gallery.maps[explainer]]
    best, worst = extremes(ranking.metric.values[explainer], keys, ranking.metric.higher_is_better is True)
    return Examples(ranking, explainer, best, worst, len(keys)) if best else None


def metric_agreement(rankings: Sequence[Ranking]) -> Agreement | None:
    """The agreement of the metrics that say which explainer is better, over the explainers that all these metrics have.

    None for fewer than two metrics or three explainers.
    """
    judging = [ranking for ranking in rankings if ranking.metric.has_ranks]
    if len(judging) < 2:
        return None
    shared = [name for name in judging[0].entries if all(name in ranking.entries for ranking in judging)]
    if len(shared) < 3:
        return None
    figures = {ranking.metric.name: {name: ranking.entries[name].figure.value for name in shared} for ranking in judging}
    return agreement(figures, {ranking.metric.name: ranking.metric.higher_is_better for ranking in judging})
