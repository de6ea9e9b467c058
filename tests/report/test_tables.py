"""The tables for other programs parse back to the numbers of the run."""

import csv
import io
import re

from support.report_pages import HIGH, LOW, NEAR, SCORES, board
from support.run_folders import write_run

from seewhy.evaluation.statistics import mean_interval
from seewhy.report import write_report


def test_the_csv_has_every_figure_in_full(tmp_path):
    folder = write_run(tmp_path / "run", SCORES)
    files = {file.name: file for file in write_report([folder])}
    assert set(files) == {"report.html", "report.md", "report.tex", "report.csv", "report.scores.csv"}
    rows = list(csv.DictReader(io.StringIO(files["report.csv"].read_text())))
    cells = board(folder).entries
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
    assert table[3][1].endswith(" ≈")
    assert "*" not in table[3][1]
    assert "*" not in table[4][1]


def test_the_latex_table_parses_back(tmp_path):
    folder = write_run(tmp_path / "run", {"50%_gain": {"a&b": HIGH, "c#": NEAR, "d": LOW}})
    text = next(f for f in write_report([folder]) if f.suffix == ".tex").read_text()
    body = text[text.index("\\midrule") : text.index("\\bottomrule")].splitlines()[1:]
    rows = [re.split(r"(?<!\\)&", line.removesuffix(r" \\")) for line in body]
    assert all(len(row) == 2 for row in rows)
    assert [row[0].strip() for row in rows] == [r"a\&b", r"c\#", "d"]
    assert re.fullmatch(r"\{\\boldmath\$0\.850 \\pm 0\.0\d\d\$\}", rows[0][1].strip())
    assert rows[1][1].strip().endswith(r"^\circ$")
    assert re.fullmatch(r"\$0\.145 \\pm 0\.0\d\d\$", rows[2][1].strip())
    assert r"50\%\_gain $\uparrow$" in text
    for opened, closed in (("{", "}"), (r"\begin", r"\end")):
        assert text.replace("\\{", "").replace("\\}", "").count(opened) == text.count(closed) - text.count("\\" + closed)


def test_no_text_of_a_run_acts(tmp_path):
    """Names of files and methods that a spreadsheet would compute, that steer a terminal, or that end a line."""
    evil = {"=1+1": HIGH, "@SUM(A1)": NEAR, "a": LOW}
    ids = [f"{'=+-@'[i % 4]}cmd{i}\x1b[31m\u202e" if i else "-0.5" for i in range(len(HIGH))]
    folder = write_run(tmp_path / "-run\x1b(B\n\u202e", {"gain": evil}, ids=ids, pictures=len(HIGH))
    texts = {file.name: file.read_text(encoding="utf-8") for file in write_report([folder])}
    rows = list(csv.DictReader(io.StringIO(texts["report.csv"], newline="")))
    assert [row["explainer"] for row in rows][:2] == ["'=1+1", "'@SUM(A1)"]
    assert {row["run"] for row in rows} == {"'-run\x1b(B\n\u202e"}
    scores = list(csv.DictReader(io.StringIO(texts["report.scores.csv"], newline="")))
    assert [row["image_id"] for row in scores][: len(ids)] == ["-0.5", *(f"'{name}" for name in ids[1:])]
    assert {row["explainer"] for row in scores} >= {"'=1+1", "'@SUM(A1)"}
    assert [float(row["value"]) for row in scores if row["explainer"] == "'=1+1"] == HIGH
    for name in ("report.html", "report.md", "report.tex"):
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", texts[name]), name
        assert "x1b" in texts[name], name
