"""The report: every number on the page is one that the run folder says, and every page is whole and safe."""

import numpy as np
import pytest
from support.report_pages import HIGH, NEAR, SCORES, N, Page, report
from support.run_folders import metric_about, write_run

from seewhy.errors import SeewhyError
from seewhy.report import write_report

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


@pytest.mark.parametrize(
    ("numbers", "about", "said"),
    [
        ({"gain": {"a": [0.5]}}, True, "There is one explainer, so nothing is compared"),
        ({"gain": {"a": [0.5], "b": [0.4]}}, True, "no interval"),
        ({"gain": {"a": HIGH}}, None, "No metric of this run says which explainer is better"),
        ({"gain": {"a": [np.nan] * 3}}, True, "it has no finite score"),
        ({"gain": {"a": [0.0] * 4, "b": [0.0] * 4}}, True, "Leaderboard"),
        ({"gain": {"a": [1e9, 2e9, 3e9], "b": [-1e-9, 0, 5]}}, False, "Leaderboard"),
    ],
)
def test_a_page_of_little_is_a_page(tmp_path, numbers, about, said):
    text = report(write_run(tmp_path / "run", numbers, {"gain": metric_about(about)}, pictures=1)).text
    assert said in text
    assert "nan" not in text.lower().replace("finance", "")


def test_a_section_without_content_vanishes_and_one_line_says_what_it_takes(tmp_path):
    page = report(write_run(tmp_path / "run", {"gain": {"a": HIGH, "b": NEAR}}))
    ids = {attrs["id"] for _, attrs in page.tags if attrs.get("id")}
    assert {"run1-verdict", "run1-leaderboard", "run1-ranks", "run1-cost"} <= ids
    for absent in ("pictures", "cases", "disagreement", "curves", "agreement"):
        assert f"run1-{absent}" not in ids
        assert f"#run1-{absent}" not in {link["href"] for link in page.all("a")}
    assert not page.all("img")
    assert "Not on this page: curves (takes a metric that has a curve)" in page.text
    bare = report(write_run(tmp_path / "bare", {"gain": {"a": HIGH}}, seconds={}))
    assert "cost against quality (takes the times of the explainers" in bare.text
    whole = report(write_run(tmp_path / "whole", SCORES, pictures=N))
    assert "disagreement (takes" not in whole.text


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
    assert {"all-verdict", "all-leaderboard", "run1-leaderboard", "run2-leaderboard"} <= set(ids)


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
