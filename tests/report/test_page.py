"""The report: every number on the page is one that the run folder says, and every page is whole and safe."""

import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from support.run_folders import metric_about, write_run

from seewhy.errors import SeewhyError
from seewhy.evaluation.run import open_run
from seewhy.evaluation.statistics import figure_interval, mean_interval, median_interval
from seewhy.report import write_report
from seewhy.report.charts import round_values, scale, spread
from seewhy.report.cost import front, scatters, seconds_each
from seewhy.report.curves import curve_charts
from seewhy.report.digits import decimals, number, place, seconds
from seewhy.report.leaderboard import column
from seewhy.report.map_similarity import likeness
from seewhy.report.pictures import Gallery, draw_sample, extremes
from seewhy.report.run_numbers import Key, Reading, read_measures
from seewhy.report.section import section

N = 10
HIGH = [0.9, 0.8, 0.85, 0.95, 0.9, 0.8, 0.9, 0.7, 0.9, 0.8]
NEAR = [0.8, 0.9, 0.85, 0.9, 0.9, 0.85, 0.85, 0.75, 0.9, 0.75]
LOW = [0.1, 0.2, 0.15, 0.1, 0.2, 0.15, 0.1, 0.2, 0.15, 0.1]
SCORES = {"gain": {"a": HIGH, "b": NEAR, "c": LOW}}


class Page(HTMLParser):
    """Tags with their attributes, the texts of all cells, and what is neither tag nor style nor script."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self._silent = "", 0
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._silent += tag in ("style", "script")

    def handle_endtag(self, tag):
        self._silent -= tag in ("style", "script")

    def handle_data(self, data):
        self.text += "" if self._silent else data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def board(folder: Path, metric: str = "gain"):
    return column(next(m for m in read_measures(open_run(folder))[0] if m.name == metric))


def report(folder: Path, *more: Path) -> Page:
    return Page(write_report([folder, *more])[0])


# -- figures ------------------------------------------------------------------------------------------------------------


def test_a_figure_is_the_mean_with_the_interval_of_the_statistics(tmp_path):
    found = board(write_run(tmp_path / "run", SCORES))
    assert found.cells["a"].figure.value == pytest.approx(0.85)
    assert found.cells["c"].figure.value == pytest.approx(0.145)
    for name, scores in SCORES["gain"].items():
        assert found.cells[name].figure == pytest.approx(mean_interval(scores))
        assert found.cells[name].median == pytest.approx(median_interval(scores, trials=1000))
    assert found.cells["a"].rows == N
    assert found.cells["a"].left_out == 0


def test_the_best_and_those_that_may_be_as_good_are_marked(tmp_path):
    found = board(write_run(tmp_path / "run", SCORES))
    assert {name: cell.standing for name, cell in found.cells.items()} == {"a": "best", "b": "level", "c": ""}
    assert found.leader == "a"
    assert found.order == ["a", "b", "c"]
    assert [found.cells[name].rank.rank for name in "abc"] == [1, 2, 3]
    assert found.cells["c"].rank.low == 3


@pytest.mark.parametrize(("names", "n", "wanted"), [("ab", 5, 6), ("ab", 6, None), ("abc", 6, 7), ("abcdef", 9, 10)])
def test_too_few_images_for_the_test_are_said(tmp_path, names, n, wanted):
    """However they differ: of n images the smallest p-value is 2^(1 - n), times the number of pairs."""
    scores = {"gain": {name: [0.1 * i + 0.001 * j for j in range(n)] for i, name in enumerate(names)}}
    found = board(write_run(tmp_path / "run", scores))
    assert found.wanted == wanted
    assert bool(found.level) == (wanted is not None)
    assert (f"take at least {wanted}" in report(tmp_path / "run").text) == (wanted is not None)


def test_lower_may_be_better_and_neither_may_be(tmp_path):
    abouts = {"gain": metric_about(False), "size": metric_about(None), "seconds": metric_about(False, "cost")}
    folder = write_run(tmp_path / "run", dict.fromkeys(abouts, SCORES["gain"]), abouts)
    assert board(folder).leader == "c"
    assert {cell.standing for cell in board(folder, "size").cells.values()} == {""}
    assert board(folder, "size").cells["a"].rank is None
    cost = board(folder, "seconds").cells["a"]
    assert np.isnan(cost.figure.low), "one measurement stands in every row of its batch"
    assert (cost.figure.value, cost.median, cost.rank, cost.standing) == (pytest.approx(0.85), None, None, "")


def test_a_metric_with_several_numbers_makes_its_own_figure(tmp_path):
    # class_masks: the probabilities under the maps of two classes, without a mask, and which class is the own one
    rows = [[0.9, 0.2, 0.8, 1.0, 0.0], [0.3, 0.7, 0.8, 0.0, 1.0]] * 4
    worse = [[0.5, 0.5, 0.8, 1.0, 0.0], [0.5, 0.4, 0.8, 0.0, 1.0]] * 4
    about = metric_about(True, "specificity", metric="class_masks")
    found = board(write_run(tmp_path / "run", {"masks": {"a": rows, "b": worse}}, {"masks": about}), "masks")
    assert found.cells["a"].figure.value == pytest.approx((0.7 + 0.4) / 2)
    assert found.cells["b"].figure.value == pytest.approx((0.0 - 0.1) / 2)
    by_hand = figure_interval(rows, lambda drawn: float(((drawn[:, 0] - drawn[:, 1]) * (drawn[:, 3] - drawn[:, 4])).mean()))
    assert found.cells["a"].figure == pytest.approx(by_hand)
    assert found.cells["a"].median is None
    assert {name: cell.standing for name, cell in found.cells.items()} == {"a": "best", "b": ""}
    assert [found.cells[name].rank.rank for name in "ab"] == [1, 2]
    assert np.isnan(found.cells["a"].rank.low)


def test_several_numbers_of_an_unknown_metric_are_not_averaged(tmp_path):
    folder = write_run(tmp_path / "run", {"gain": {"a": HIGH}, "odd": {"a": [[1.0, 2.0]] * N}})
    measures, unread = read_measures(open_run(folder))
    assert [m.name for m in measures] == ["gain"]
    assert [u.name for u in unread] == ["odd"]
    assert "odd is not in the table: it has several numbers" in report(folder).text


def test_scores_that_are_not_finite_are_left_out_and_said(tmp_path):
    folder = write_run(tmp_path / "run", {"gain": {"a": [np.nan, *HIGH[1:]], "b": NEAR}, "all": {"a": [np.inf] * N}})
    found = board(folder)
    assert found.cells["a"].figure.value == pytest.approx(np.mean(HIGH[1:]))
    assert (found.cells["a"].rows, found.cells["a"].left_out) == (N - 1, 1)
    assert found.shared == N - 1
    text = report(folder).text
    assert "n = 9, 1 not finite" in text
    assert "all is not in the table: it has no finite score" in text
    assert "gain is compared on 9 images" in text


def test_the_rows_of_one_image_are_drawn_together(tmp_path):
    keys = [(i, c) for i in range(5) for c in (0, 1)]
    found = board(write_run(tmp_path / "run", SCORES, keys=keys))
    assert found.cells["a"].figure == pytest.approx(mean_interval(HIGH, images=[i for i, _ in keys]))
    assert (found.cells["a"].figure.n, found.cells["a"].rows, found.shared) == (5, 10, 5)


def test_an_explainer_with_fewer_images_is_compared_on_them(tmp_path):
    found = board(write_run(tmp_path / "run", {"gain": {"a": HIGH, "b": NEAR[:6]}}))
    assert (found.cells["a"].figure.n, found.cells["b"].figure.n, found.shared) == (10, 6, 6)
    assert found.leader == "a"


def test_one_with_few_images_does_not_leave_the_others_only_these(tmp_path):
    """It has no rank, and is compared with the best on what both have: on four images nothing can be told apart."""
    low = [value - 0.5 for value in HIGH]
    found = board(write_run(tmp_path / "run", {"gain": {"a": HIGH, "b": low, "few": low[:4]}}))
    assert found.shared == 10
    assert {name: cell.standing for name, cell in found.cells.items()} == {"a": "best", "b": "", "few": "level"}
    assert [found.cells[name].rank is None for name in ("a", "b", "few")] == [False, False, True]
    better = board(write_run(tmp_path / "other", {"gain": {"a": low, "b": low, "few": HIGH[:4]}}))
    assert better.leader in ("a", "b"), "the best is one of those that were seen on most images"


# -- tables -------------------------------------------------------------------------------------------------------------


def test_the_csv_has_every_figure_in_full(tmp_path):
    folder = write_run(tmp_path / "run", SCORES)
    files = {file.name: file for file in write_report([folder])}
    assert set(files) == {"report.html", "report.md", "report.tex", "report.csv", "report.scores.csv"}
    rows = list(csv.DictReader(io.StringIO(files["report.csv"].read_text())))
    cells = board(folder).cells
    assert [row["explainer"] for row in rows] == ["a", "b", "c"]
    for row in rows:
        cell = cells[row["explainer"]]
        assert (row["run"], row["metric"], row["better"], row["standing"]) == ("run", "gain", "higher", cell.standing)
        assert [float(row[k]) for k in ("figure", "low", "high")] == list(cell.figure[:3])
        assert [float(row[k]) for k in ("rank", "rank mean", "rank low", "rank high", "first")] == list(cell.rank)
    scores = list(csv.DictReader(io.StringIO(files["report.scores.csv"].read_text())))
    assert [float(row["value"]) for row in scores if row["explainer"] == "a"] == HIGH


def test_the_markdown_table_parses_back(tmp_path):
    folder = write_run(tmp_path / "run", {"gain|x": {"a_1": HIGH, "b*": NEAR, "c": LOW}})
    text = next(f for f in write_report([folder]) if f.suffix == ".md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    table = [[re.sub(r"\\(.)", r"\1", cell.strip()) for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert table[0] == ["explainer", "gain|x ↑"]
    assert [row[0] for row in table[2:]] == ["a_1", "b*", "c"]
    half = (mean_interval(HIGH).high - mean_interval(HIGH).low) / 2
    assert table[2][1] == f"**0.850 ± {half:.3f}** ★"
    assert table[3][1].endswith("** ≈")
    assert "*" not in table[4][1]


def test_the_latex_table_parses_back(tmp_path):
    folder = write_run(tmp_path / "run", {"50%_gain": {"a&b": HIGH, "c#\\": NEAR, "d": LOW}})
    text = next(f for f in write_report([folder]) if f.suffix == ".tex").read_text()
    body = text[text.index("\\midrule") : text.index("\\bottomrule")].splitlines()[1:]
    rows = [re.split(r"(?<!\\)&", line.removesuffix(r" \\")) for line in body]
    assert all(len(row) == 2 for row in rows)
    assert [row[0].strip() for row in rows] == [r"a\&b", r"c\#\textbackslash{}", "d"]
    assert re.fullmatch(r"\{\\boldmath\$0\.850 \\pm 0\.0\d\d\$\}", rows[0][1].strip())
    assert rows[1][1].strip().endswith(r"^\circ$")
    assert re.fullmatch(r"\$0\.145 \\pm 0\.0\d\d\$", rows[2][1].strip())
    assert r"50\%\_gain $\uparrow$" in text
    for opened, closed in (("{", "}"), (r"\begin", r"\end")):
        assert text.replace("\\{", "").replace("\\}", "").count(opened) == text.count(closed) - text.count("\\" + closed)


def test_numbers_have_as_many_digits_as_tell_them_apart():
    assert [decimals(v) for v in ([0.5, 0.51], [12.3, 4.0], [734.0, 800.0], [0.0073])] == [3, 1, 0, 5]
    assert decimals([1e-9]) is None
    assert number(-0.0004, 2) == "-0.0004", "it is not 0"
    assert [number(v, 2) for v in (0.125, 0.0, float("nan"), float("inf"))] == ["0.12", "0.00", "n/a", "inf"]
    assert [number(v, None) for v in (1234567.0, 1e-5)] == ["1.23e+06", "1e-05"]
    assert [seconds(v) for v in (0.0123, 4.5, 150.0, 20000.0)] == ["12.3 ms", "4.5 s", "2 min", "5 h 33 min"]
    assert [place(v) for v in (1.0, 2.5)] == ["1", "2.5"]


# -- the page -----------------------------------------------------------------------------------------------------------

EVIL = '<script>alert("x")</script>'


def test_whatever_a_run_says_is_escaped(tmp_path):
    scores = {f"gain{EVIL[:8]}": {"<b>bold": HIGH, "b": NEAR}}
    folder = write_run(
        tmp_path / "run",
        scores,
        ids=[f"{EVIL}{i}" for i in range(N)],
        pictures=N,
        classes=["<i>cat", "dog&"],
        failures=[{"index": 0, "image_id": EVIL, "explainer": "b", "metric": "", "error": "<img src=x onerror=alert(1)>"}],
        command=["</script><script>alert(2)</script>"],
    )
    page = report(folder)
    assert len(page.all("script")) == 2, "the page's own"
    assert all(image["src"].startswith("data:image/webp;base64,") for image in page.all("img"))
    assert EVIL in page.text
    assert "<img src=x onerror=alert(1)>" in page.text
    assert any(EVIL in (image["alt"] or "") for image in page.all("img"))


def test_a_page_asks_for_nothing_but_itself(tmp_path):
    file = write_report([write_run(tmp_path / "run", SCORES, pictures=4)])[0]
    page = Page(file)
    asked = [value for _, attrs in page.tags for key, value in attrs.items() if key in ("src", "href", "srcset", "action")]
    assert asked
    assert all(value.startswith(("#", "data:")) for value in asked)
    assert "url(" not in file.read_text()
    assert "@import" not in file.read_text()


def test_it_says_in_words_what_was_measured(tmp_path):
    asked = {"classifier": {"module": "Net", "input_size": [24, 24]}, "dataset": {"name": "pets", "split": "val"}}
    asked |= {"target": "label", "scored": "explained", "only": "correct", "batch_size": 4, "seed": 7}
    failures = [{"index": i, "image_id": f"image{i}", "explainer": "c", "metric": "gain", "error": "oops"} for i in (1, 2)]
    folder = write_run(tmp_path / "run", SCORES, asked=asked, failures=failures, wall_seconds=12.0, processes=2)
    text = " ".join(report(folder).text.split())
    for said in (
        *("Net, 2 classes, images of 24 × 24 pixels", "pets, split val", "the true class", "the class that is explained"),
        *("10; only those classified correctly", "12 s on the clock, 2 processes", "2 failures: what failed"),
        *("gain of c, 2 images: oops", "Random seed 7", "a is ahead, but the lead over b may be chance"),
    ):
        assert said in text, said


@pytest.mark.parametrize(
    ("numbers", "about", "said"),
    [
        ({"gain": {"a": [0.5]}}, True, "There is one explainer, so nothing is compared"),
        ({"gain": {"a": [0.5], "b": [0.4]}}, True, "no interval"),
        ({"gain": {"a": HIGH}}, None, "There are no ranks"),
        ({"gain": {"a": [np.nan] * 3}}, True, "it has no finite score"),
        ({"gain": {"a": [0.0] * 4, "b": [0.0] * 4}}, True, "Leaderboard"),
        ({"gain": {"a": [1e9, 2e9, 3e9], "b": [-1e-9, 0, 5]}}, False, "Leaderboard"),
    ],
)
def test_a_page_of_little_is_a_page(tmp_path, numbers, about, said):
    text = report(write_run(tmp_path / "run", numbers, {"gain": metric_about(about)}, pictures=1)).text
    assert said in text
    assert "nan" not in text.lower().replace("finance", "")


def test_what_cannot_be_shown_says_so(tmp_path):
    text = report(write_run(tmp_path / "run", {"gain": {"a": HIGH, "b": NEAR}})).text
    assert text.count("No pictures are in this run folder") == 3
    assert "None of these metrics has a curve" in text
    assert "It takes two metrics" in text
    bare = write_run(tmp_path / "bare", {"gain": {"a": HIGH}}, seconds={})
    assert "It takes the times of the explainers" in report(bare).text


def test_a_manifest_of_the_least_is_enough(tmp_path):
    folder = write_run(tmp_path / "run", SCORES, asked={}, classes=[], seconds={}, pictures=2)
    assert "class 0" in report(folder).text


def test_several_runs_share_a_page(tmp_path):
    folders = [write_run(tmp_path / name / "run", SCORES, pictures=2) for name in ("x", "y")]
    page = report(*folders)
    ids = [attrs["id"] for _, attrs in page.tags if attrs.get("id")]
    assert len(ids) == len(set(ids))
    for link in page.all("a"):
        assert link["href"][1:] in ids
    assert "run (1)" in page.text
    assert "run (2)" in page.text


def test_all_files_or_none(tmp_path):
    folder = write_run(tmp_path / "run", SCORES, pictures=2)
    before = sorted(tmp_path.rglob("*"))
    (folder / "report.tex").mkdir()
    with pytest.raises(SeewhyError, match=r"report\.tex in it is a folder"):
        write_report([folder])
    (folder / "report.tex").rmdir()
    with pytest.raises(SeewhyError, match=r"ends in \.html"):
        write_report([folder], tmp_path / "page.pdf")
    (folder / "pictures" / "000001.jpg").write_bytes(b"no picture")
    with pytest.raises(SeewhyError, match="cannot be read"):
        write_report([folder], tmp_path / "out" / "page.html")
    with pytest.raises(SeewhyError, match="at least one run"):
        write_report([])
    with pytest.raises(SeewhyError, match="no run folder"):
        write_report([tmp_path / "nowhere"])
    assert sorted(tmp_path.rglob("*")) == before


def test_the_page_goes_where_it_is_asked_to(tmp_path):
    files = write_report([write_run(tmp_path / "run", SCORES)], tmp_path / "out" / "mine.html")
    assert sorted(f.name for f in (tmp_path / "out").iterdir()) == sorted(f.name for f in files)
    assert files[0].name == "mine.html"


# -- pictures -----------------------------------------------------------------------------------------------------------


def test_the_sample_is_of_correct_images_one_a_class_and_depends_on_the_seed(tmp_path):
    labels = [[i % 12] for i in range(60)]
    correct = [i % 5 != 0 for i in range(60)]
    folder = write_run(tmp_path / "run", {"gain": {"a": [0.5] * 60}}, labels=labels, correct=correct, pictures=50)
    run = open_run(folder)
    keys = Gallery(run).keys
    samples = [draw_sample(run, keys, seed) for seed in (0, 0, 1)]
    assert samples[0] == samples[1] != samples[2]
    assert (samples[0].correct, samples[0].classes, len(samples[0].shown)) == (True, 12, 8)
    for shown in samples[0].shown:
        assert correct[shown.key.image]
        assert labels[shown.key.image] == [shown.label]
        assert shown.key.image < 50
    assert len({shown.label for shown in samples[0].shown}) == 8


def test_without_labels_the_sample_is_of_predicted_classes(tmp_path):
    run = open_run(write_run(tmp_path / "run", SCORES, labels=[[]] * N, correct=[None] * N, pictures=N))
    sample = draw_sample(run, Gallery(run).keys, 0)
    assert sample.correct is None
    assert [shown.label for shown in sample.shown] == [0, 1]


def test_best_and_worst_are_those_with_pictures_and_no_row_is_both():
    keys = [Key(i, 0) for i in range(5)]
    reading = Reading(keys, np.array([[0.1], [0.5], [0.3], [0.5], [0.9]]), 0)
    best, worst = extremes(reading, keys[:4], True)
    assert [(row.key.image, row.score) for row in best] == [(1, 0.5), (3, 0.5)]
    assert [(row.key.image, row.score) for row in worst] == [(0, 0.1), (2, 0.3)]
    assert [row.key.image for row in extremes(reading, keys, False)[0]] == [0, 2, 1]
    assert extremes(reading, keys[:1], True)[1] == []


def test_likeness_is_rank_correlation_of_coarse_maps():
    ramp = np.arange(28 * 28, dtype=np.float32).reshape(28, 28)
    key = (3, 1)
    maps = {"a": {key: ramp}, "b": {key: 5 * ramp**3}, "c": {key: -ramp}, "d": {key: np.ones((28, 28), np.float32)}, "e": {}}
    found = likeness(maps)
    assert found.explainers == ["a", "b", "c", "d"]
    assert found.means[0, :3] == pytest.approx([1, 1, -1])
    assert np.isnan(found.means[3]).all(), "a constant map orders nothing"
    lowest = found.lowest(["a", "b", "c", "d"])
    assert [(d.first, d.second, round(d.correlation, 6)) for d in lowest] == [("a", "c", -1.0)], "no image twice"
    assert found.lowest(["a", "b"])[0].correlation == pytest.approx(1)
    assert likeness({"a": {}}).lowest(["a"]) == []


# -- charts -------------------------------------------------------------------------------------------------------------


def test_the_front_is_what_nothing_beats():
    points = {"cheap": (1.0, 5.0), "good": (3.0, 1.0), "beaten": (3.5, 2.0), "same": (3.0, 1.0), "costly": (9.0, 1.0)}
    assert front(points) == ["cheap", "good", "same"]


def test_cost_is_seconds_of_a_row_and_references_do_not_compete(tmp_path):
    explainers = {n: {"method": n, "family": "reference" if n == "a" else "cam", "options": {}} for n in "abc"}
    run = open_run(write_run(tmp_path / "run", SCORES, explainers=explainers))
    assert seconds_each(run) == pytest.approx({"a": 0.1, "b": 0.2, "c": 0.3})
    chart = scatters(run, [board(run.folder)])[0]
    assert [p.name for p in chart.points if p.front] == ["b"]
    assert [p.name for p in chart.points if p.reference] == ["a"]
    assert chart.points[0].x < chart.points[1].x < chart.points[2].x
    assert chart.points[0].y < chart.points[2].y, "0.85 stands above 0.145"


def test_curves_are_means_over_images(tmp_path):
    drawn = {"gain": {"a": [[0.0, 1.0]] * N, "b": [[1.0, np.nan]] + [[1.0, 0.5]] * (N - 1)}}
    about = {"gain": metric_about(axes=["share", "probability"])}
    numbers = {"gain": {"a": HIGH, "b": NEAR}, "other": {"a": HIGH, "b": NEAR}}
    run = open_run(write_run(tmp_path / "run", numbers, about, curves=drawn, places={"gain": [0.0, 1.0]}))
    (chart,) = curve_charts(run)
    assert (chart.metric, chart.axes) == ("gain", ("share", "probability"))
    ends = [[float(xy.split(",")[1]) for xy in series.path[1:].split("L")] for series in chart.series]
    assert ends[0][0] > ends[0][1], "SVG counts downward"
    assert ends[1][0] == ends[0][1], "both are 1 there"
    assert ends[1][1] == pytest.approx((ends[0][0] + ends[0][1]) / 2)
    assert chart.series[1].said == "b: from 1 to 0.5"


def test_scales_and_ticks():
    assert round_values(0.0, 1.0) == (pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1]), 1)
    assert round_values(-3.0, 22.0)[0] == [0, 5, 10, 15, 20]
    ten = scale([1.0, 100.0], 0.0, 100.0, log=True, room=0.0)
    assert ten(10.0) == 50
    assert scale([2.0], 0.0, 100.0)(2.0) == 50
    assert scale([float("nan")], 0.0, 1.0)(0.5) == 0.5


def test_labels_keep_their_distance_and_stay_near():
    assert spread([10.0, 50.0], 5.0, 0.0, 100.0) == [10, 50]
    assert spread([50.0] * 3, 10.0, 0.0, 100.0) == [40, 50, 60]
    placed = spread([99.0, 98.0, 0.0], 10.0, 0.0, 100.0)
    assert placed == [100, 90, 0]
    many = spread([5.0] * 30, 10.0, 0.0, 100.0)
    assert min(many) >= 0
    assert max(many) <= 100


def test_metrics_agree_where_they_order_the_explainers_alike(tmp_path):
    numbers = {"gain": SCORES["gain"], "loss": {n: [-v for v in s] for n, s in SCORES["gain"].items()}}
    abouts = {"gain": metric_about(True), "loss": metric_about(False)}
    run = open_run(write_run(tmp_path / "run", numbers, abouts))
    assert section(run, "run", 1).agreement.values == pytest.approx(np.ones((2, 2)))


def test_of_several_labels_the_likeliest_is_no_mistake(tmp_path):
    folder = write_run(tmp_path / "run", {"gain": {"a": HIGH[:1]}}, labels=[[0, 1]], keys=[(0, 1)], pictures=1)
    assert "cat 90" in " ".join(report(folder).text.split())
    text = report(write_run(tmp_path / "two", {"gain": {"a": HIGH[:1]}}, labels=[[1]], correct=[False], pictures=1)).text
    assert "dog, taken for cat" in text
    assert "No image with a picture is classified correctly" in text


def test_labels_stand_in_the_order_of_the_lines(tmp_path):
    drawn = {"gain": {"a": [[1.0, 0.1, 0.5]] * 3, "b": [[1.0, 0.9, 0.5]] * 3}}
    run = open_run(
        write_run(tmp_path / "run", {"gain": {n: [0.5] * 3 for n in "ab"}}, curves=drawn, places={"gain": [0, 1, 2]})
    )
    a, b = curve_charts(run)[0].series
    assert a.end_y == b.end_y
    assert a.label_y > b.label_y, "b is above a"


def test_the_images_with_the_least_agreement_are_different_images_and_pairs():
    random = np.random.default_rng(0)
    keys = [(image, explained) for image in range(5) for explained in (0, 1)]
    maps = {name: {key: random.normal(size=(28, 28)).astype(np.float32) for key in keys} for name in "abc"}
    lowest = likeness(maps).lowest(list("abc"))
    assert len(lowest) == 3, "of three pairs"
    assert len({d.key.image for d in lowest}) == 3
    assert len({(d.first, d.second) for d in lowest}) == 3
    assert [d.correlation for d in lowest] == sorted(d.correlation for d in lowest)
    twice = {"a": {(0, 0): maps["a"][0, 0], (0, 1): maps["a"][0, 1]}, "b": maps["b"], "c": maps["c"]}
    assert len(likeness(twice).lowest(list("abc"))) == 1, "two rows of one image"
