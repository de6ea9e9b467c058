"""The numbers of a run are read as its metrics mean them."""

from support.report_pages import HIGH, N, report
from support.run_folders import write_run

from seewhy.evaluation.run import open_run
from seewhy.report.run_numbers import read_metrics


def test_several_numbers_of_an_unknown_metric_are_not_averaged(tmp_path):
    folder = write_run(tmp_path / "run", {"gain": {"a": HIGH}, "odd": {"a": [[1.0, 2.0]] * N}})
    measures, unread = read_metrics(open_run(folder))
    assert [m.name for m in measures] == ["gain"]
    assert list(unread) == ["odd"]
    assert "odd is not in the table: it has several numbers" in report(folder).text
