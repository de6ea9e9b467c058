"""The verdict: who is ahead by the recommended metrics, by how much, and whether a map that looks at nothing is beaten."""

import numpy as np
import pytest
from support.report_pages import board, report
from support.run_folders import metric_about, write_run

from seewhy.evaluation.run import open_run
from seewhy.evaluation.statistics import compare_all, mean_interval
from seewhy.report.leaderboard import rank_explainers
from seewhy.report.run_numbers import read_metrics
from seewhy.report.section import section
from seewhy.report.verdict import recommended_first

N = 16
RANDOM = np.random.default_rng(0)
SPREAD = RANDOM.normal(0, 0.05, (8, N))
BEST, SECOND, LOW, BLIND = (center + SPREAD[i] for i, center in enumerate((0.8, 0.5, 0.3, 0.1)))


def about(name: str = "srg", family: str = "ordering", higher: bool | None = True, **more):
    return metric_about(higher, family, metric=name, **more)


def run_of(tmp_path, numbers, abouts, references=("random", "center"), **manifest):
    names = dict.fromkeys(name for row in numbers.values() for name in row)
    explainers = {n: {"method": n, "family": "reference" if n in references else "gradient", "options": {}} for n in names}
    numbers = {metric: {n: list(map(float, v)) for n, v in row.items()} for metric, row in numbers.items()}
    return write_run(tmp_path / "run", numbers, abouts, explainers=explainers, **manifest)


def verdict_of(folder):
    return section(open_run(folder), "run", 1).verdict


def test_the_differences_are_those_of_the_statistics(tmp_path):
    """By hand: the mean of the differences on the same images, its interval, and the share of images that is better."""
    scores = {"a": BEST, "b": SECOND, "random": BLIND}
    folder = run_of(tmp_path, {"srg": scores, "loss": {n: -v for n, v in scores.items()}},
                    {"srg": about(), "loss": about("average_gain", "masking", higher=False)})  # fmt: skip
    found = verdict_of(folder)
    for finding in found.findings:
        assert (finding.subject, finding.rival.second, finding.beaten) == ("a", "b", ["random"])
        for contrast, other in ((finding.rival, SECOND), (finding.references[0], BLIND)):
            mean = sum(float(x) - float(y) for x, y in zip(BEST, other, strict=True)) / N
            assert contrast.difference.value == pytest.approx(mean)
            assert contrast.difference[1:3] == pytest.approx(mean_interval(BEST - other)[1:3], abs=2e-3)
            assert contrast.better_on == np.mean([x > y for x, y in zip(BEST, other, strict=True)])
            assert contrast.sure
    assert found.sure == "sure"
    assert found.conclusion == "a is the best of 2 explainers by both recommended metrics (srg and loss)."
    assert found.reasons == [
        "By each of these metrics, a is better than random, a map that looks at no network, and that is not chance.",
        "Its lead over the next explainer is not chance either.",
    ]


def test_who_is_told_apart_is_what_the_corrected_test_says(tmp_path):
    numbers = {"a": BEST, "b": BEST + SPREAD[4] - 0.01, "c": LOW, "center": SECOND}
    folder = run_of(tmp_path, {"srg": numbers}, {"srg": about()})
    pairs = {frozenset(p[:2]): p.better for p in compare_all(numbers)}
    ranking = board(folder, "srg")
    for first, second in pairs:
        contrast = ranking.contrast(first, second)
        assert contrast.sure == (pairs[frozenset((first, second))] is not None)
        assert ranking.contrast(second, first).difference.value == pytest.approx(-contrast.difference.value)


def test_a_metric_that_makes_its_own_figure_is_compared_by_an_interval(tmp_path):
    rows = [[0.9, 0.2, 0.8, 1.0, 0.0], [0.3, 0.7, 0.8, 0.0, 1.0]] * 4
    worse = [[0.5, 0.5, 0.8, 1.0, 0.0], [0.5, 0.4, 0.8, 0.0, 1.0]] * 4
    masks = {"masks": about("class_masks", "specificity")}
    found = board(write_run(tmp_path / "run", {"masks": {"a": rows, "b": worse}}, masks), "masks").contrast("a", "b")
    assert found.difference.value == pytest.approx((0.7 + 0.4) / 2 - (0.0 - 0.1) / 2)
    assert (found.better_on, found.sure) == (None, True)
    assert found.difference.low > 0


@pytest.mark.parametrize(
    ("scores", "sure", "said"),
    [
        ({"a": BEST, "b": LOW}, "not known", "No map that looks at no network was measured"),
        ({"a": BEST, "b": LOW, "random": BLIND, "center": BEST + SPREAD[5]}, "partly sure", "no better than center"),
        ({"a": LOW, "b": BLIND, "random": BEST}, "not sure", "Do not believe a map of this run yet"),
        ({"a": BEST, "random": BLIND}, "sure", "a is better than random"),
        ({"random": BLIND, "center": LOW}, "not known", "Only random and center were measured"),
        ({"a": BEST, "b": BEST + SPREAD[4], "random": BLIND}, "partly sure", "b and a cannot be told apart"),
        (
            {"a": BEST, "b": BEST + SPREAD[4] - 0.01, "c": LOW, "d": LOW, "e": LOW, "random": BLIND},
            "sure",
            "b and a are ahead",
        ),
    ],
)
def test_how_sure_it_is(tmp_path, scores, sure, said):
    found = verdict_of(run_of(tmp_path, {"srg": scores}, {"srg": about()}))
    assert found.sure == sure
    assert said in " ".join([found.conclusion, *found.reasons])
    assert said in " ".join(report(tmp_path / "run").text.split())


def test_metrics_that_do_not_agree_are_said_to(tmp_path):
    numbers = {"srg": {"a": BEST, "b": LOW, "random": BLIND}, "average_gain": {"a": LOW, "b": BEST, "random": BLIND}}
    found = verdict_of(run_of(tmp_path, numbers, {"srg": about(), "average_gain": about("average_gain", "masking")}))
    assert found.conclusion == "No explainer is ahead by all metrics: a is ahead by srg and b is ahead by average_gain."
    assert [f.subject for f in found.findings] == ["a", "b"]


def test_one_that_is_no_better_than_chance_by_a_metric_is_not_counted(tmp_path):
    """It may lead by another metric: signed maps lead average gain as a gray veil, and their order is that of chance."""
    numbers = {
        "srg": {"a": BEST, "b": LOW, "veil": BLIND + SPREAD[6], "random": BLIND},
        "average_gain": {"a": SECOND, "b": LOW, "veil": BEST, "random": BLIND},
    }
    found = verdict_of(run_of(tmp_path, numbers, {"srg": about(), "average_gain": about("average_gain", "masking")}))
    assert found.conclusion == "a is the best of 2 explainers by both recommended metrics (srg and average_gain)."
    assert found.reasons[-1].endswith("may be no better than any map that looks at no network: veil.")
    alone = {m: {n: v for n, v in row.items() if n != "b"} for m, row in numbers.items()}
    found = verdict_of(run_of(tmp_path / "alone", alone, {"srg": about(), "average_gain": about("average_gain", "masking")}))
    assert found.conclusion.startswith("Of 2 explainers, a alone is better than a map that looks at no network by both")


def test_recommended_metrics_come_first_and_alone(tmp_path):
    """One of each question; a metric of robustness, or a variant whose mask is not the map, never says who is ahead."""
    scores = {"a": BEST, "b": LOW, "random": BLIND}
    abouts = {
        "deletion": about("deletion", higher=False),
        "sensitivity": about("max_sensitivity", "robustness", higher=False),
        "region": about("average_gain", "masking", options={"use": "region"}),
        "mass": about("relevance_mass", "localization"),
        "flipping": about("pixel_flipping"),
        "srg": about(),
    }
    folder = run_of(tmp_path, dict.fromkeys(abouts, scores), abouts)
    found = section(open_run(folder), "run", 1)
    assert [f.name for f in found.verdict.findings] == ["srg", "mass"]
    assert [r.metric.name for r in found.rankings] == ["srg", "flipping", "mass", "deletion", "sensitivity", "region"]
    rankings = [rank_explainers(m) for m in read_metrics(open_run(folder))[0]]
    assert recommended_first(recommended_first(rankings)) == recommended_first(rankings)


def test_without_a_recommended_metric_the_others_speak_and_that_is_said(tmp_path):
    folder = run_of(tmp_path, {"deletion": {"a": LOW, "b": BEST}}, {"deletion": about("deletion", higher=False)})
    found = verdict_of(folder)
    assert found.conclusion == "a is the best of 2 explainers by deletion."
    assert any("No recommended metric was measured: add --metric srg" in said for said in found.advice)


def test_the_command_that_adds_reference_maps_is_that_of_the_run(tmp_path):
    command = ["evaluate", "--model", "a b", "--explainer", "a", "--out", "runs/mine"]
    found = verdict_of(
        run_of(tmp_path, {"srg": {"a": BEST, "random": BLIND}}, {"srg": about()}, details={"command": command})
    )
    assert found.command == "seewhy evaluate --model 'a b' --explainer a --out runs/mine --explainer center"
    assert found.advice == ["Add --explainer center to the command of this run: what is there is not measured again."]
    text = " ".join(report(tmp_path / "run").text.split())
    assert found.command in text


def test_nothing_is_marked_where_nothing_is_told_apart_and_equal_figures_share_the_star(tmp_path):
    level = board(run_of(tmp_path / "level", {"srg": {"a": BEST, "b": BEST + SPREAD[4]}}, {"srg": about()}), "srg")
    assert [level.mark(name) for name in "ab"] == ["", ""]
    assert not level.tells
    equal = board(run_of(tmp_path / "equal", {"srg": {"a": BEST, "b": BEST + 1e-9, "c": LOW}}, {"srg": about()}), "srg")
    assert [equal.mark(name) for name in "abc"] == ["best", "best", ""]
    assert equal.leader == "b"
    assert not equal.contrast("a", "b").sure, "a difference that is not written is none"
    apart = board(run_of(tmp_path / "apart", {"srg": {"a": BEST, "b": BEST - 1e-2, "c": LOW}}, {"srg": about()}), "srg")
    assert [apart.mark(name) for name in "abc"] == ["best", "", ""], "told apart, however little they differ"
