"""What a page shows of one run."""

import numpy as np
import pytest
from support.report_pages import SCORES
from support.run_folders import metric_about, write_run

from seewhy.evaluation.run import open_run
from seewhy.report.section import section


def test_metrics_agree_where_they_order_the_explainers_alike(tmp_path):
    numbers = {"gain": SCORES["gain"], "loss": {n: [-v for v in s] for n, s in SCORES["gain"].items()}}
    abouts = {"gain": metric_about(True), "loss": metric_about(False)}
    run = open_run(write_run(tmp_path / "run", numbers, abouts))
    assert section(run, "run", 1).agreement.values == pytest.approx(np.ones((2, 2)))
