"""A run is described in words."""

from support.report_pages import SCORES, report
from support.run_folders import write_run


def test_it_says_in_words_what_was_measured(tmp_path):
    asked = {"classifier": {"module": "Net", "input_size": [24, 24]}, "dataset": {"name": "pets", "split": "val"}}
    asked |= {"target": "label", "scored": "explained", "only": "correct", "batch_size": 4, "seed": 7}
    failures = [{"index": i, "image_id": f"image{i}", "explainer": "c", "metric": "gain", "error": "oops"} for i in (1, 2)]
    folder = write_run(tmp_path / "run", SCORES, asked=asked, failures=failures, wall_seconds=12.0, processes=2)
    text = " ".join(report(folder).text.split())
    for said in (
        *("Net, 2 classes, images of 24 × 24 pixels", "pets, split val", "the true class", "the class that is explained"),
        *("10; only those classified correctly", "12 s on the clock, 2 processes", "2 failures: what failed"),
        *("gain of c, 2 images: oops", "Random seed 7", "Of 3 explainers, a and b are ahead: by gain each is the best"),
    ):
        assert said in text, said
