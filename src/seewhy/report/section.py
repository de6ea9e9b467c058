"""All that the page shows of one run."""

from collections.abc import Sequence
from typing import NamedTuple

from seewhy.evaluation.agreement import Agreement, agreement
from seewhy.evaluation.run import Run
from seewhy.report import prose as words
from seewhy.report.cost import Scatter, scatters, seconds_each
from seewhy.report.curves import Curves, curve_charts
from seewhy.report.leaderboard import Column, column, mean_ranks
from seewhy.report.map_similarity import Disagreement, Likeness, likeness
from seewhy.report.pictures import Extreme, Gallery, Sample, draw_sample, extremes
from seewhy.report.run_numbers import COST, Unread, explainers_of, read_measures


class Examples(NamedTuple):
    """Rows on which the explainer that leads by a metric is best and worst; ``of``: how many have a picture."""

    column: Column
    explainer: str
    best: list[Extreme]
    worst: list[Extreme]
    of: int


class Section(NamedTuple):
    """A run, read and laid out. ``reference``: explainers that look at no network."""

    title: str
    number: int
    run: Run
    image_ids: dict[int, str]
    explainers: list[str]
    facts: list[words.Fact]
    about_explainers: list[words.Entry]
    about_metrics: list[words.Entry]
    troubles: list[words.Trouble]
    columns: list[Column]
    unread: list[Unread]
    headlines: list[Column]
    rows: list[str]
    mean_ranks: dict[str, float]
    reference: list[str]
    curves: list[Curves]
    seed: int
    gallery: Gallery
    sample: Sample
    examples: list[Examples]
    likeness: Likeness
    disagreements: list[Disagreement]
    scatters: list[Scatter]
    seconds: dict[str, float]
    agreement: Agreement | None


def section(run: Run, title: str, number: int) -> Section:
    """Read a run and measure how sure its figures are."""
    measures, unread = read_measures(run)
    seed = run.manifest.asked.seed or 0
    columns = [column(measure) for measure in measures]
    headlines, gallery, names = headline(columns), Gallery(run), explainers_of(run)
    alike = likeness(gallery.maps)
    about = run.manifest.explainers
    looking = [name for name in names if about[name].family != "reference"]
    return Section(
        title=title,
        number=number,
        run=run,
        image_ids=dict(run.scores.select("index", "image_id").unique().iter_rows()),
        explainers=names,
        facts=words.account(run),
        about_explainers=words.explainer_entries(run),
        about_metrics=words.metric_entries(run),
        troubles=words.troubles(run),
        columns=columns,
        unread=unread,
        headlines=headlines,
        rows=ordered(names, headlines or columns),
        mean_ranks=mean_ranks(columns),
        reference=[name for name in names if name not in looking],
        curves=curve_charts(run),
        seed=seed,
        gallery=gallery,
        sample=draw_sample(run, gallery.keys, seed),
        examples=[found for each in headlines if (found := _examples(each, gallery)) is not None],
        likeness=alike,
        disagreements=[d for d in alike.lowest(looking if len(looking) > 1 else names) if run.has_picture(d.key.image)],
        scatters=scatters(run, columns),
        seconds=seconds_each(run),
        agreement=metric_agreement(columns),
    )


def headline(columns: Sequence[Column]) -> list[Column]:
    """The first metric of each family that says which explainer is better."""
    found: dict[str, Column] = {}
    for each in columns:
        if each.measure.has_ranks:
            found.setdefault(each.measure.family, each)
    return list(found.values())


def ordered(names: Sequence[str], columns: Sequence[Column]) -> list[str]:
    """Explainers as the first metric orders them; those without a figure come last."""
    first = columns[0].order if columns else []
    return [*first, *(name for name in names if name not in first)]


def _examples(each: Column, gallery: Gallery) -> Examples | None:
    """None for a metric without one number a row, and where no picture was kept of the leader."""
    explainer = each.leader or each.order[0]
    if not each.measure.by_row:
        return None
    keys = [key for key in gallery.keys if key in gallery.maps[explainer]]
    best, worst = extremes(each.measure.readings[explainer], keys, each.measure.higher_is_better is True)
    return Examples(each, explainer, best, worst, len(keys)) if best else None


def metric_agreement(columns: Sequence[Column]) -> Agreement | None:
    """Of the metrics that say which explainer is better, over the explainers that all of them have; None for too few."""
    judging = [each for each in columns if each.measure.has_ranks and each.measure.family != COST]
    if len(judging) < 2:
        return None
    shared = [name for name in judging[0].cells if all(name in each.cells for each in judging)]
    if len(shared) < 3:
        return None
    figures = {each.measure.name: {name: each.cells[name].figure.value for name in shared} for each in judging}
    return agreement(figures, {each.measure.name: each.measure.higher_is_better for each in judging})
