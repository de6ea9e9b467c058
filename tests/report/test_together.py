"""Several runs on the same images make one leaderboard; others are refused in one line that names what differs."""

import csv
import re

import numpy as np
import pytest
from support.report_pages import HIGH, LOW, NEAR, N, Page, board
from support.run_folders import metric_about, write_run

from seewhy.errors import SeewhyError
from seewhy.evaluation.run import open_run
from seewhy.report import write_report
from seewhy.report.section import section
from seewhy.report.together import together

ASKED = {"classifier": {"module": "Net"}, "dataset": {"name": "pets", "split": "val"}, "target": "label", "seed": 0}
ABOUTS = {
    "srg": metric_about(metric="srg"),
    "50%_gain": metric_about(family="masking", metric="average_gain"),
    **{f"extra_{i}": metric_about(family="complexity") for i in range(4)},
}


def two_runs(tmp_path, names=("res_net", "vit&co"), **asked):
    """Of the first network a is the best, of the second c; one metric was measured of the second network alone."""
    folders = []
    for i, name in enumerate(names):
        scores = {"a_1": HIGH, "b[2]": NEAR, "c": LOW} if i == 0 else {"a_1": LOW, "c": HIGH, "*d": NEAR}
        metrics = dict.fromkeys(list(ABOUTS)[: 2 + 4 * i], scores)
        given = ASKED | {"weights": f"digest {i}"} | (asked if i else {})
        folders.append(write_run(tmp_path / name, metrics, ABOUTS, asked=given, pictures=1))
    return folders


def latex_table(text: str) -> tuple[str, list[list[str]]]:
    """The only tabular of a file, strictly: its columns and its rows of cells; AssertionError where it would not compile."""
    opened: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if kind == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name, "environments are nested"
    assert not opened
    depth, code = 0, re.sub(r"(?m)(?<!\\)%.*$", "", text)  # without comments
    for letter in re.sub(r"\\[{}]", "", code):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        assert depth >= 0, "braces are nested"
    assert depth == 0
    assert len(re.findall(r"(?<!\\)\$", code)) % 2 == 0
    bare = re.sub(r"(?<!\\)\$[^$]*(?<!\\)\$", "", code)  # without formulas
    assert not re.search(r"(?<!\\)[_#^~<>|]", bare), "a letter that has to be escaped"
    assert code.isascii()
    spec, body = re.fullmatch(r".*\\begin\{tabular\}\{(l?[lr]+)\}(.*)\\end\{tabular\}.*", code, re.DOTALL).groups()
    lines = [re.sub(r"\\(top|mid|bottom)rule", "", line).strip() for line in re.split(r"\\\\", body)]
    assert lines.pop() == "", "every row is ended"
    rows = []
    for line in lines:
        assert not line.startswith(("[", "*")), "it would be an option of the row before"
        cells = [cell.strip() for cell in re.split(r"(?<!\\)&", line)]
        wide = [int(n) for n in re.findall(r"\\multicolumn\{(\d+)\}", line)]
        assert len(cells) - len(wide) + sum(wide) == len(spec), line
        rows.append(cells)
    return spec, rows


def test_one_latex_table_holds_all_networks_and_explainers(tmp_path):
    folders = two_runs(tmp_path)
    text = write_report(folders, tmp_path / "out" / "both.html")[2].read_text()
    assert text.count(r"\begin{table}") == 1
    spec, rows = latex_table(text)
    assert spec == "l" + 6 * "r"
    assert rows[0][:3] == ["explainer", r"srg $\uparrow$", r"50\%\_gain $\uparrow$"]
    assert [row[0] for row in rows[1:]] == [
        *(r"\multicolumn{7}{l}{\textit{res\_net}}", r"a\_1", "b{[}2]", "c"),
        *(r"\multicolumn{7}{l}{\textit{vit\&co}}", "c", "{*}d", r"a\_1"),
    ]
    assert rows[2][1].startswith(r"{\boldmath$0.850")
    assert rows[2][3:] == [""] * 4, "not measured of this network"
    assert r"\resizebox{\textwidth}{!}" in text
    one = write_report(folders[:1], tmp_path / "out" / "one.html")[2].read_text()
    tables = one.split(r"\begin{table}")[1:]
    assert [latex_table(r"\begin{table}" + table)[0] for table in tables] == ["lr", "lr"]


def test_the_page_and_the_other_tables_have_a_row_for_each_explainer_of_each_network(tmp_path):
    folders = two_runs(tmp_path)
    html, markdown, _, lines, _ = write_report(folders, tmp_path / "both.html")
    rows = list(csv.DictReader(lines.read_text().splitlines()))
    assert {(row["run"], row["explainer"]) for row in rows if row["metric"] == "srg"} == {
        *(("res_net", name) for name in ("a_1", "b[2]", "c")),
        *(("vit&co", name) for name in ("a_1", "c", "*d")),
    }
    said = re.sub(r"\\(.)", r"\1", markdown.read_text())
    table = said[said.index("| run | explainer | srg ↑ |") :].splitlines()
    assert [line.split(" | ")[:2] for line in table[2:8]] == [
        *(["| res_net", name] for name in ("a_1", "b[2]", "c")),
        *(["| vit&co", name] for name in ("c", "*d", "a_1")),
    ]
    found = together([section(open_run(f), f.name, i) for i, f in enumerate(folders, start=1)])
    assert [(row.title, row.name) for row in found.board.rows] == [tuple(x.split(" | ")[:2]) for x in (
        "res_net | a_1", "res_net | b[2]", "res_net | c", "vit&co | c", "vit&co | *d", "vit&co | a_1")]  # fmt: skip
    column = found.board.columns[0]
    for row in found.board.rows:
        folder = folders[row.run]
        assert column.entry(row).figure == board(folder, "srg").entries[row.name].figure
        assert column.mark(row) == board(folder, "srg").mark(row.name), "compared within its own run"
    text = " ".join(Page(html).text.split())
    assert "2 networks, the same images" in text
    assert found.conclusion in text
    assert found.conclusion in said


def test_what_the_networks_agree_on(tmp_path):
    def conclusion(first, second, **names):
        folders = [
            write_run(tmp_path / f"{i}{len(list(tmp_path.iterdir()))}", {"srg": s}, {"srg": ABOUTS["srg"]}, asked=ASKED | w)
            for i, (s, w) in enumerate(((first, {"weights": "1"}), (second, {"weights": names.get("weights", "2")})))
        ]
        return together([section(open_run(f), f"n{i}", i) for i, f in enumerate(folders, start=1)])

    top, low, least = HIGH, [v - 0.4 for v in HIGH], [v - 0.6 for v in HIGH]
    same = conclusion({"a": top, "b": low, "c": least}, {"a": HIGH, "b": low, "c": least})
    assert same.conclusion == "a is ahead on both networks, by all metrics of the verdict."
    assert same.order == {"srg": pytest.approx(1)}
    other = conclusion({"a": top, "b": low, "c": least}, {"a": least, "b": low, "c": top})
    assert other.conclusion == "No explainer is sure to be ahead on both networks: a on n1; c on n2."
    assert other.order == {"srg": pytest.approx(-1)}
    assert conclusion({"a": top, "b": low}, {"a": top, "b": low}, weights="1").runs == "runs"


@pytest.mark.parametrize(
    ("asked", "what"),
    [
        ({"dataset": {"name": "pets", "split": "train"}}, r"dataset's split is val in .*res_net and train in .*vit"),
        ({"images": "9 with the names x"}, r"images is in .*res_net and 9 with the names x in .*vit"),
        ({"target": "predicted"}, r"target is label in .*res_net and predicted in .*vit"),
        ({"scored": "label"}, "scored is"),
        ({"surrogate": {"kind": "Surrogate"}}, "surrogate is not given in .*res_net and given in"),
    ],
)
def test_runs_of_another_question_are_refused_and_nothing_is_written(tmp_path, asked, what):
    folders = two_runs(tmp_path, **asked)
    with pytest.raises(SeewhyError, match=rf"no common leaderboard \({what}") as refused:
        write_report(folders, tmp_path / "out" / "both.html")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_runs_of_other_images_or_of_another_metric_are_refused(tmp_path):
    ids = [f"image{i}" for i in range(N)]
    one = write_run(tmp_path / "one", {"gain": {"a": HIGH}}, ids=ids)
    other = write_run(tmp_path / "other", {"gain": {"a": HIGH}}, ids=["strange", *ids[1:]])
    with pytest.raises(SeewhyError, match=r"the image image0 is in .*one alone, and 1 more are not in both"):
        write_report([one, other])
    options = {"gain": metric_about(options={"size": 8})}
    with pytest.raises(SeewhyError, match=r"metric's gain's size is nothing in .*one and 8 in .*three"):
        write_report([one, write_run(tmp_path / "three", {"gain": {"a": HIGH}}, options, ids=ids)])
    failures = [{"index": 0, "image_id": "image0", "explainer": "", "metric": "", "error": "oops"}]
    lacking = write_run(
        tmp_path / "lacking", {"gain": {"a": HIGH[1:]}}, ids=ids, keys=[(i, 0) for i in range(1, N)], failures=failures
    )
    assert write_report([one, lacking])[0].exists(), "an image that one network could not read is left out of its figures"
    assert np.isfinite(board(lacking).entries["a"].figure.value)
